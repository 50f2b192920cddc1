"""Models that are meant for Azure OpenAI, but do not say so.

LiteLLM sends a model without a provider prefix to OpenAI, whatever its `api_base`. An entry of `model_list` that
carries an `api_version` or an Azure OpenAI host gets the prefix `azure/`, unless it says in another way what it is.
Pure.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from supervisor.errors import Finding, Severity
from supervisor.litellm_config import references
from supervisor.litellm_config.document import ListNode, MapNode, Node, Path_, Scalar, finding_at
from supervisor.litellm_config.expand import generated_name, resolved
from supervisor.litellm_config.providers import provider_prefix

_OPENAI_HOST = re.compile(r"(^|\.)openai\.azure\.(com|us|cn)$|(^|\.)cognitiveservices\.azure\.(com|us|cn)$")
_OTHER_HOST = re.compile(r"(^|\.)(services\.ai|models\.ai|inference\.ai|inference\.ml)\.azure\.(com|us|cn)$")
_GATEWAY_HOST = re.compile(r"\.azure-api\.(net|us|cn)$")
# What Azure accepts as the name of a deployment; anything else cannot be one.
_DEPLOYMENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


class Verdict(enum.Enum):
    """ADAPT: it gets the prefix. The next two are findings. LEAVE: it is none of our business."""

    ADAPT = enum.auto()
    OTHER_AZURE = enum.auto()
    UNKNOWN_PREFIX = enum.auto()
    LEAVE = enum.auto()


@dataclass(frozen=True, slots=True)
class Adapted:
    root: MapNode
    generated: Mapping[str, str]
    findings: tuple[Finding, ...]

    def __repr__(self) -> str:
        return f"Adapted(generated={sorted(self.generated)}, findings={len(self.findings)})"


def adapt(root: MapNode, environ: Mapping[str, str]) -> Adapted:
    """`root`, already expanded, with its Azure models named as such. `environ` resolves its references."""
    models = root.get("model_list")
    if not isinstance(models, ListNode):
        return Adapted(root, {}, ())
    custom = _custom_providers(root)
    generated: dict[str, str] = {}
    findings: list[Finding] = []
    items = tuple(_entry(item, n, environ, custom, generated, findings) for n, item in enumerate(models.items))
    return Adapted(root.with_value("model_list", ListNode(items, models.place)), generated, tuple(findings))


def judge(
    model: str, *, api_base: str, has_api_version: bool, provider: str, custom: frozenset[str] = frozenset()
) -> Verdict:
    """What to do with a model; all values are resolved, empty where absent."""
    if provider or "*" in model or provider_prefix(model, custom):
        return Verdict.LEAVE
    host = host_of(api_base)
    if api_base.partition("?")[0].rstrip("/").endswith("/openai/v1"):
        return Verdict.LEAVE  # Azure's OpenAI-compatible surface: LiteLLM's own default is right there
    if _OTHER_HOST.search(host):
        return Verdict.OTHER_AZURE
    if not has_api_version and _GATEWAY_HOST.search(host):
        return Verdict.OTHER_AZURE
    if not has_api_version and not _OPENAI_HOST.search(host):
        return Verdict.LEAVE
    return Verdict.ADAPT if _DEPLOYMENT.fullmatch(model) else Verdict.UNKNOWN_PREFIX


def host_of(url: str) -> str:
    """The host that a base URL names, in lower case; empty where it names none."""
    try:
        return (urlsplit(url if "://" in url else f"//{url}").hostname or "").rstrip(".")
    except ValueError:
        return ""


def is_azure_openai(url: str) -> bool:
    """Whether a base URL is that of an Azure OpenAI resource itself, and not of a gateway before it."""
    return _OPENAI_HOST.search(host_of(url)) is not None


def _entry(
    item: Node,
    index: int,
    environ: Mapping[str, str],
    custom: frozenset[str],
    generated: dict[str, str],
    findings: list[Finding],
) -> Node:
    params = item.get("litellm_params") if isinstance(item, MapNode) else None
    node = params.get("model") if isinstance(params, MapNode) else None
    if not isinstance(item, MapNode) or not isinstance(params, MapNode) or not isinstance(node, Scalar):
        return item
    model = resolved(node, environ)
    if not isinstance(model, str) or not model:
        return item
    path: Path_ = ("model_list", index, "litellm_params", "model")
    api_base = resolved(params.get("api_base"), environ)
    has_version = resolved(params.get("api_version"), environ) not in {None, ""}
    verdict = judge(
        model,
        api_base=api_base if isinstance(api_base, str) else "",
        has_api_version=has_version,
        provider=str(resolved(params.get("custom_llm_provider"), environ) or ""),
        custom=custom,
    )
    shown = f"`{node.value}`"
    if verdict is Verdict.ADAPT:
        because = "it has an api_version" if has_version else "its api_base is Azure OpenAI's"
        message = f"{shown} has no provider, and {because}: it becomes `azure/…`, or LiteLLM would ask OpenAI."
        findings.append(finding_at(node, Severity.NOTE, "azure-adapted", message, path=path))
        return item.with_value("litellm_params", params.with_value("model", _prefixed(node, model, generated)))
    if verdict is Verdict.OTHER_AZURE:
        message = f"{shown} has no provider, so LiteLLM takes it for OpenAI's; its api_base is another Azure service."
        hint = "Write azure_ai/NAME for Azure AI Foundry, azure/NAME for Azure OpenAI, or openai/NAME if that is meant."
        findings.append(finding_at(node, Severity.WARNING, "azure-other-host", message, hint=hint, path=path))
    elif verdict is Verdict.UNKNOWN_PREFIX:
        message = f"{shown} looks meant for Azure, but has no known provider, and cannot be a deployment's name."
        hint = "Write azure/NAME, NAME being the deployment's name in Azure."
        findings.append(finding_at(node, Severity.WARNING, "azure-not-a-deployment", message, hint=hint, path=path))
    return item


def _prefixed(node: Scalar, model: str, generated: dict[str, str]) -> Scalar:
    """A model that is a reference stays one, so that the rendered file shows no value of a variable."""
    name = references.litellm_reference(str(node.value))
    if name is None:
        return Scalar(f"azure/{model}", node.place, plain=False)
    variable = generated_name(f"azure/${{{name}}}")
    generated[variable] = f"azure/{model}"
    return Scalar(references.OS_ENVIRON + variable, node.place, plain=False)


def _custom_providers(root: MapNode) -> frozenset[str]:
    settings = root.get("litellm_settings")
    entries = settings.get("custom_provider_map") if isinstance(settings, MapNode) else None
    items = entries.items if isinstance(entries, ListNode) else ()
    providers = (item.get("provider") for item in items if isinstance(item, MapNode))
    return frozenset(str(node.value) for node in providers if isinstance(node, Scalar))
