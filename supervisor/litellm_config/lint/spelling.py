"""Rules about names: settings that LiteLLM does not have, and what stands in the wrong place.

LiteLLM refuses next to no name. What it does not know in `router_settings` it ignores, in `litellm_settings` it stores
where nobody looks, and in `litellm_params` it sends to the provider.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator

from supervisor.errors import Severity
from supervisor.litellm_config import names
from supervisor.litellm_config.document import MapNode
from supervisor.litellm_config.lint.near import did_you_mean, nearest
from supervisor.litellm_config.lint.rule import Remark, Subject, rule

_SECTIONS = {
    "general_settings": names.GENERAL_SETTINGS,
    "litellm_settings": names.LITELLM_SETTINGS,
    "router_settings": names.ROUTER_SETTINGS,
}
_ENTRY = frozenset({"model_name", "litellm_params", "model_info", "blocked"})
_LEFTOVER = frozenset({"deployment_id", "mode"})
# LiteLLM refuses to start with these in `router_settings`.
_REFUSED = frozenset({"health_check_interval", "health_check_concurrency"})


@rule(
    "unknown-setting",
    Severity.WARNING,
    "A setting that LiteLLM does not have in this section.",
    example="router_settings: {num_retires: 3}\n",
    step="Correct the name, or move the line to the section that has it.",
)
def unknown_setting(subject: Subject) -> Iterator[Remark]:
    """LiteLLM starts all the same, and the setting has no effect. A name that resembles none is only a note: a newer
    LiteLLM, or a callback of your own, may know it."""
    for section, known in _SECTIONS.items():
        found = subject.section(section)
        for entry in found.entries if found is not None else ():
            name = str(entry.key.value)
            if name in known:
                continue
            elsewhere = [other for other, theirs in _SECTIONS.items() if name in theirs]
            hint = f"Move it to `{elsewhere[0]}`." if elsewhere else did_you_mean(name, known)
            refused = section == "router_settings" and name in _REFUSED
            severity = Severity.ERROR if refused else Severity.WARNING if hint else Severity.NOTE
            effect = "and refuses to start with it" if refused else "so this has no effect"
            yield Remark(
                entry.key,
                f"LiteLLM has no `{name}` in `{section}`, {effect}.",
                hint or "If nothing of yours reads it, remove it.",
                (section, name),
                severity,
            )


@rule(
    "unknown-parameter",
    Severity.WARNING,
    "A parameter of a model that looks like a misspelling.",
    example="model_list: [{model_name: a, litellm_params: {model: openai/gpt-4o, api_bse: 'http://127.0.0.1:1/v1'}}]\n",
    step="Correct the name.",
)
def unknown_parameter(subject: Subject) -> Iterator[Remark]:
    """What LiteLLM does not know in `litellm_params` it sends to the provider as part of every request, which mostly
    refuses it. Providers have parameters of their own, so only a name that is close to a known one is remarked
    upon."""
    for index, entry in subject.models():
        for section, known in (("litellm_params", names.LITELLM_PARAMS), ("model_info", names.MODEL_INFO)):
            yield from _misspelt(entry.get(section), known, ("model_list", index, section))
    cache = subject.section("litellm_settings", "cache_params")
    yield from _misspelt(cache, names.CACHE_PARAMS, ("litellm_settings", "cache_params"))


_nearest = functools.lru_cache(maxsize=256)(nearest)  # many models have the same parameters


def _misspelt(section: object, known: frozenset[str], path: tuple[str | int, ...]) -> Iterator[Remark]:
    for entry in section.entries if isinstance(section, MapNode) else ():
        name = str(entry.key.value)
        if name in known or name in _LEFTOVER or "cost" in name:
            continue
        near = _nearest(name, known)
        if near is not None:
            message = f"`{name}` is nothing that LiteLLM knows."
            yield Remark(entry.key, message, f"Did you mean `{near}`?", (*path, name))


@rule(
    "misplaced-parameter",
    Severity.WARNING,
    "A key beside litellm_params that belongs into it.",
    example="model_list: [{model_name: a, api_key: os.environ/KEY, litellm_params: {model: openai/gpt-4o}}]\n",
    step="Indent it, so that it stands under litellm_params (or model_info).",
)
def misplaced_parameter(subject: Subject) -> Iterator[Remark]:
    """An entry of `model_list` has `model_name`, `litellm_params` and `model_info`; LiteLLM does not use anything
    else there. A parameter that lost its indentation is the usual reason."""
    for index, entry in subject.models():
        for item in entry.entries:
            name = str(item.key.value)
            if name in _ENTRY:
                continue
            if name in names.LITELLM_PARAMS:
                hint = f"Move `{name}` under `litellm_params`."
            elif name in names.MODEL_INFO:
                hint = f"Move `{name}` under `model_info`."
            else:
                hint = did_you_mean(name, _ENTRY)
            if hint:
                message = f"LiteLLM does not read `{name}` here."
                yield Remark(item.key, message, hint, ("model_list", index, name))


@rule(
    "leftover-parameter",
    Severity.WARNING,
    "`deployment_id` or `mode` in litellm_params.",
    example="model_list: [{model_name: a, litellm_params: {model: openai/gpt-4o, mode: chat}}]\n",
    step="Name an Azure deployment in `model: azure/NAME`; move `mode` to model_info.",
)
def leftover_parameter(subject: Subject) -> Iterator[Remark]:
    """Both come from older examples. `deployment_id` makes LiteLLM treat the model as Azure's and replaces its name
    in some calls but not in others. `mode` describes a model to LiteLLM's health check when it stands in
    `model_info`; in `litellm_params` it is sent to the provider with every request."""
    for deployment in subject.deployments():
        params = deployment.params
        for name, hint in (
            ("deployment_id", "Write `model: azure/NAME` with the deployment's name, and remove this line."),
            ("mode", "Move it to `model_info`."),
        ):
            key = params.key(name)
            if key is not None:
                effect = "replaces `model` in some calls only" if name == "deployment_id" else "is sent to the provider"
                yield Remark(key, f"`{name}` {effect}.", hint, deployment.path("litellm_params", name))
