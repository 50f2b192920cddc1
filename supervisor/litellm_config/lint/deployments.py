"""Rules about one entry of `model_list`: who serves it, where, and at what price."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from urllib.parse import urlsplit

from supervisor.errors import Severity
from supervisor.litellm_config.azure import host_of, is_azure_openai
from supervisor.litellm_config.document import MapNode
from supervisor.litellm_config.lint.near import nearest
from supervisor.litellm_config.lint.rule import Deployment, Remark, Subject, rule
from supervisor.litellm_config.providers import PROVIDERS

_V1 = "/openai/v1"
# Those of whose base LiteLLM makes a URL by adding the route.
_OPENAI_LIKE = frozenset({"hosted_vllm", "litellm_proxy", "openai", "text-completion-openai"})
_ROUTE = re.compile(r"/(chat/completions|completions|embeddings|responses)/?$")
# Prefixes below a provider that choose a route or a region, and are no part of a deployment's name.
_WITHIN_AZURE = re.compile(r"^(responses|o_series|gpt5_series|global|global-standard|eu|us)/")
# LiteLLM knows fine-tuned models by these.
_FINE_TUNED = re.compile(r"^ft:|ft:gpt-")


@rule(
    "unknown-provider",
    Severity.WARNING,
    "A model whose provider LiteLLM does not know.",
    example="model_list: [{model_name: a, litellm_params: {model: opneai/gpt-4o}}]\n",
    step="Write PROVIDER/NAME with a provider of LiteLLM's, as openai/NAME for anything that speaks OpenAI's API.",
)
def unknown_provider(subject: Subject) -> Iterator[Remark]:
    """LiteLLM leaves out, without a word to the operator, a deployment whose provider it cannot tell; requests for
    that name are then refused. Without a prefix it knows the names of its price map only."""
    for deployment in subject.deployments():
        model = deployment.model
        if deployment.provider or "*" in model or _FINE_TUNED.search(model):
            continue
        prefix, slash, rest = model.partition("/")
        path = deployment.path("litellm_params", "model")
        near = nearest(prefix, PROVIDERS) if slash else None
        if near is not None:
            yield Remark(
                deployment.params.get("model"), f"LiteLLM has no provider `{prefix}`.", _meant(near, rest), path
            )
        elif _says_nothing(subject.text(deployment.params, "api_base")) and _is_unpriced(subject, model):
            message = "LiteLLM cannot tell the provider of this model, and leaves it out."
            hint = "Write `model: PROVIDER/NAME`; openai/NAME with an api_base for anything that speaks OpenAI's API."
            yield Remark(deployment.params.get("model"), message, hint, path)


def _meant(provider: str, rest: str) -> str:
    return f"Did you mean `{provider}/{rest}`?"


def _says_nothing(api_base: str) -> bool:
    """Whether an address tells LiteLLM no provider: there is none, or it is one of the operator's own network."""
    host = host_of(api_base)
    try:
        return not host or "." not in host or ipaddress.ip_address(host).version > 0
    except ValueError:
        return False  # a provider's, of which LiteLLM knows some by their address


def _is_unpriced(subject: Subject, model: str) -> bool:
    prices = subject.around.prices
    return prices is not None and prices.name_of(model) is None


@rule(
    "azure-no-api-version",
    Severity.WARNING,
    "An Azure deployment without api_version.",
    example="model_list: [{model_name: a, litellm_params: {model: azure/gpt-4o, api_base: 'https://x.openai.azure.com'}}]\n",
    step='Add api_version: "2024-10-21", or the one that your deployment needs, in quotes.',
)
def azure_no_api_version(subject: Subject) -> Iterator[Remark]:
    """LiteLLM then takes a version of its own choice, mostly a preview, that changes when LiteLLM is updated, and for
    some calls none at all."""
    everywhere = subject.text(subject.section("litellm_settings"), "api_version") or subject.environ.get(
        "AZURE_API_VERSION"
    )
    for deployment in subject.deployments():
        params = deployment.params
        base = subject.text(params, "api_base").rstrip("/")
        given = everywhere or params.get("api_version") or params.get("litellm_credential_name") or _is_mocked(params)
        if deployment.provider == "azure" and not given and not base.endswith(_V1) and "*" not in deployment.model:
            hint = 'Add `api_version: "2024-10-21"`, or the one that the deployment needs; in quotes.'
            message = "Without api_version LiteLLM takes one of its own choice, which changes when it is updated."
            yield Remark(params.key("model"), message, hint, deployment.path("litellm_params"))


@rule(
    "api-base-path",
    Severity.WARNING,
    "An api_base that holds the route, which LiteLLM adds itself.",
    example="model_list: [{model_name: a, litellm_params: {model: openai/x, api_base: 'http://127.0.0.1:1/v1/chat/completions'}}]\n",
    step="Cut it off: https://NAME.openai.azure.com for Azure, http://HOST/v1 for what speaks OpenAI's API.",
)
def api_base_path(subject: Subject) -> Iterator[Remark]:
    """The route would be there twice, and the provider answers 404. Azure's portal shows a whole URL; LiteLLM wants
    the part of it before /openai."""
    for deployment in subject.deployments():
        for name in ("api_base", "base_url"):
            base = subject.text(deployment.params, name)
            path = _path_of(base)
            where = deployment.path("litellm_params", name)
            at = deployment.params.get(name)
            if deployment.provider == "azure" and is_azure_openai(base) and path and not path.endswith(_V1):
                message = "LiteLLM adds the route to an Azure api_base itself; with this one Azure answers 404."
                yield Remark(at, message, "End it after the host: https://NAME.openai.azure.com", where)
            elif deployment.provider in _OPENAI_LIKE and (route := _ROUTE.search(path)):
                message = f"LiteLLM adds `{route[0].rstrip('/')}` itself; with this {name} it would be there twice."
                yield Remark(at, message, f"End it before `{route[0].rstrip('/')}`.", where)


def _path_of(url: str) -> str:
    try:
        return urlsplit(url if "://" in url else f"//{url}").path.rstrip("/")
    except ValueError:
        return ""


@rule(
    "cost-unknown",
    Severity.WARNING,
    "An Azure deployment whose price LiteLLM cannot know.",
    example="model_list: [{model_name: a, litellm_params: {model: azure/our-chat, api_version: '2024-10-21'}}]\n",
    step="Add model_info: {base_model: azure/NAME}, NAME being the model that is deployed, as azure/gpt-4o-2024-08-06.",
)
def cost_unknown(subject: Subject) -> Iterator[Remark]:
    """LiteLLM looks up a price by the deployment's name. One that it does not find costs nothing in its books, unless
    the provider's answer happens to name a model that it knows: spend reports and budgets are then too low."""
    prices = subject.around.prices
    for deployment in subject.deployments():
        if prices is None or deployment.provider != "azure" or "*" in deployment.model or _is_mocked(deployment.params):
            continue
        info = deployment.entry.get("model_info")
        info = info if isinstance(info, MapNode) else None
        if subject.text(info, "base_model") or subject.text(deployment.params, "base_model"):
            continue
        name = _WITHIN_AZURE.sub("", deployment.bare)
        if prices.name_of(f"azure/{name}") is None and not _has_own_price(deployment.params, info):
            message = f"LiteLLM's price map has no azure/{name}: what it costs may not be counted."
            hint = "Add `model_info: {base_model: azure/NAME}`, NAME being the model that is deployed there."
            yield Remark(deployment.params.get("model"), message, hint, deployment.path("model_info", "base_model"))


@rule(
    "base-model-unknown",
    Severity.WARNING,
    "A base_model that the price map does not have.",
    example=(
        "model_list: [{model_name: a, litellm_params: {model: azure/our-chat, api_version: '2024-10-21'},"
        " model_info: {base_model: azure/gpt-4oo}}]\n"
    ),
    step="Correct the name; LiteLLM's price map has azure/gpt-4o-2024-08-06 and the like.",
)
def base_model_unknown(subject: Subject) -> Iterator[Remark]:
    """`base_model` is there to find a price. One that is not in the map finds none."""
    prices = subject.around.prices
    for deployment in subject.deployments():
        info = deployment.entry.get("model_info")
        name = subject.text(info, "base_model") if isinstance(info, MapNode) else ""
        if prices is None or not name or not isinstance(info, MapNode) or _has_own_price(deployment.params, info):
            continue
        if prices.name_of(name, deployment.provider) is None:
            near = nearest(name, prices.modes)
            hint = f"Did you mean `{near}`?" if near else "Name a model of the price map, as azure/gpt-4o-2024-08-06."
            message = f"LiteLLM's price map has no `{name}`: what it costs is not counted."
            yield Remark(info.get("base_model"), message, hint, deployment.path("model_info", "base_model"))


def _has_own_price(*sections: MapNode | None) -> bool:
    return any("cost_per" in str(entry.key.value) for section in sections if section for entry in section.entries)


def _is_mocked(params: MapNode) -> bool:
    return params.get("mock_response") is not None


@rule(
    "unknown-credential",
    Severity.WARNING,
    "A litellm_credential_name that is not in credential_list.",
    example="model_list: [{model_name: a, litellm_params: {model: openai/gpt-4o, litellm_credential_name: absent}}]\n",
    step="Correct the name, or add the credential.",
)
def unknown_credential(subject: Subject) -> Iterator[Remark]:
    """The model is then used without any credential of its own. With a database the name may be there, and this is a
    note."""
    held = subject.root.get("credential_list")
    known = {subject.text(item, "credential_name") for item in getattr(held, "items", ()) if isinstance(item, MapNode)}
    has_database = subject.has_database
    for deployment in subject.deployments():
        name = subject.text(deployment.params, "litellm_credential_name")
        if name and name not in known:
            near = nearest(name, known)
            yield Remark(
                deployment.params.get("litellm_credential_name"),
                f"`credential_list` has no `{name}`.",
                f"Did you mean `{near}`?" if near else "Add it there.",
                deployment.path("litellm_params", "litellm_credential_name"),
                Severity.NOTE if has_database else None,
            )


def family(deployment: Deployment) -> str:
    """The model without provider, date and version: what two deployments of the same model have in common."""
    name = deployment.bare.rpartition("/")[2]
    return re.sub(r"(-\d{4}-\d{2}-\d{2}|-\d{8}|@\d+|-latest|-v\d+(:\d+)?)+$", "", name)
