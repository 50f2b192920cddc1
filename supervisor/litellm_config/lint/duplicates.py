"""Rules about entries that share a `model_name`.

Sharing one is how LiteLLM spreads requests, and mostly meant. What is said here is what is hardly ever meant.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from supervisor.errors import Severity
from supervisor.litellm_config.document import MapNode, plain_value
from supervisor.litellm_config.lint.deployments import family
from supervisor.litellm_config.lint.rule import Deployment, Remark, Subject, rule

# What decides where a request goes; two entries that agree in these are the same deployment.
_TARGET = frozenset(
    {
        "api_base",
        "api_key",
        "azure_ad_token",
        "base_url",
        "client_id",
        "custom_llm_provider",
        "extra_headers",
        "headers",
        "litellm_credential_name",
        "model",
        "organization",
        "project",
        "region_name",
        "tenant_id",
        "watsonx_region_name",
    }
)
_TARGET_PREFIXES = ("aws_", "vertex_")
# What tells two entries for the same deployment apart on purpose.
_APART = frozenset({"order", "tags", "tag_regex", "weight"})
_APART_INFO = frozenset({"access_groups", "id", "team_id", "team_public_model_name", "tier"})
_TALKS = frozenset({"chat", "completion", "responses"})


@rule(
    "duplicate-deployment",
    Severity.WARNING,
    "The same deployment twice under one name, with different parameters.",
    example=(
        "model_list:\n"
        "  - {model_name: a, litellm_params: {model: openai/gpt-4o, api_key: os.environ/KEY, timeout: 10}}\n"
        "  - {model_name: a, litellm_params: {model: openai/gpt-4o, api_key: os.environ/KEY, timeout: 600}}\n"
    ),
    step="Remove one of the two, or give the second another model_name.",
)
def duplicate_deployment(subject: Subject) -> Iterator[Remark]:
    """Requests go to one entry or the other by chance, and get the one set of parameters or the other. Entries that
    differ in `weight`, `order`, `tags` or team are left alone; two that do not differ at all are a note."""
    for group in _groups(subject):
        first: dict[str, Deployment] = {}
        for deployment in group:
            target = repr(sorted(_part(deployment, target=True).items(), key=lambda item: item[0]))
            other = first.setdefault(target, deployment)
            if other is deployment or _told_apart(deployment) or _told_apart(other):
                continue
            ours, theirs = _part(deployment, target=False), _part(other, target=False)
            differing = sorted(name for name in {*ours, *theirs} if ours.get(name) != theirs.get(name))
            line = other.entry.place.line
            if differing:
                message = f"This is the deployment of line {line} again, with another {', '.join(differing)}."
                hint = "Which of the two a request gets is left to chance: remove one, or give it another model_name."
            else:
                message = f"This is the deployment of line {line} once more."
                hint = "Remove one; to give a deployment more of the requests, use `weight`."
            severity = None if differing else Severity.NOTE
            yield Remark(deployment.entry, message, hint, deployment.path(), severity)


@rule(
    "mixed-modes",
    Severity.WARNING,
    "Models for different purposes under one name.",
    example=(
        "model_list:\n"
        "  - {model_name: a, litellm_params: {model: openai/gpt-4o}}\n"
        "  - {model_name: a, litellm_params: {model: openai/text-embedding-3-small}}\n"
    ),
    step="Give each purpose a model_name of its own.",
)
def mixed_modes(subject: Subject) -> Iterator[Remark]:
    """LiteLLM picks among the entries of a name without looking at what a request wants, so that every second one
    fails: a chat cannot be answered by a model for embeddings."""
    for group in _groups(subject):
        first, purpose = group[0], _purpose(subject, group[0])
        for deployment in group[1:]:
            theirs = _purpose(subject, deployment)
            if purpose and theirs and theirs != purpose:
                message = f"This model is for {theirs}, and that of line {first.entry.place.line} for {purpose}."
                hint = "Requests go to either by chance: give one of them another model_name."
                yield Remark(deployment.params.get("model"), message, hint, deployment.path("model_name"))
                break


@rule(
    "mixed-models",
    Severity.NOTE,
    "Different models of one provider under one name.",
    example=(
        "model_list:\n"
        "  - {model_name: a, litellm_params: {model: openai/gpt-4o}}\n"
        "  - {model_name: a, litellm_params: {model: openai/gpt-4o-mini}}\n"
    ),
    step="If it is meant, nothing. Otherwise give the second another model_name, and name it under `fallbacks`.",
)
def mixed_models(subject: Subject) -> Iterator[Remark]:
    """Each request gets one or the other by chance. Where the second was meant for when the first fails, `fallbacks`
    or `order` says so."""
    for group in _groups(subject):
        first = group[0]
        for deployment in group[1:]:
            if deployment.provider != first.provider or _told_apart(deployment) or _told_apart(first):
                continue
            if family(deployment) != family(first) and _is_priced(subject, deployment) and _is_priced(subject, first):
                message = f"`{deployment.name}` is served by {first.model} and by {deployment.model}, by chance."
                hint = "If one is meant for when the other fails, use `fallbacks` or `order`."
                yield Remark(deployment.params.get("model"), message, hint, deployment.path("model_name"))
                break


def _groups(subject: Subject) -> Iterator[Sequence[Deployment]]:
    """The deployments of each name that has more than one."""
    groups: dict[str, list[Deployment]] = {}
    for deployment in subject.deployments():
        groups.setdefault(deployment.name, []).append(deployment)
    return (group for name, group in groups.items() if name and len(group) > 1)


def _part(deployment: Deployment, *, target: bool) -> dict[str, object]:
    """The parameters that name the target, or the others; as written, so that no secret is compared or kept."""
    return {
        str(entry.key.value): plain_value(entry.value)
        for entry in deployment.params.entries
        if (str(entry.key.value) in _TARGET or str(entry.key.value).startswith(_TARGET_PREFIXES)) is target
    }


def _told_apart(deployment: Deployment) -> bool:
    info = deployment.entry.get("model_info")
    keys = info.entries if isinstance(info, MapNode) else ()
    return any(deployment.params.get(name) is not None for name in _APART) or any(
        entry.key.value in _APART_INFO for entry in keys
    )


def _purpose(subject: Subject, deployment: Deployment) -> str:
    info = deployment.entry.get("model_info")
    mode = subject.text(info, "mode") if isinstance(info, MapNode) else ""
    prices = subject.around.prices
    if not mode and prices is not None:
        name = prices.name_of(deployment.model) or prices.name_of(deployment.bare, deployment.provider)
        mode = prices.modes[name] if name else ""
    return "chat" if mode in _TALKS else mode.replace("_", " ")


def _is_priced(subject: Subject, deployment: Deployment) -> bool:
    prices = subject.around.prices
    return prices is not None and prices.name_of(deployment.bare, deployment.provider) is not None
