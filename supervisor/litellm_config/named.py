"""The model names that replicas of a generation have to serve, read from its rendered text. Pure.

LiteLLM leaves out a deployment that it cannot make sense of, as one of a provider that it does not know, and starts
all the same. So whoever wants to know whether a configuration does what it says has to compare.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from supervisor.errors import ConfigurationRefused, Finding, Severity
from supervisor.litellm_config.generation import Generation

MOST_SHOWN = 5


def named_models(config_text: str) -> frozenset[str]:
    """What LiteLLM lists if it takes every entry; wildcards, and what it leaves out on purpose, not counted."""
    return frozenset(_names(_document(config_text).get("model_list")))


def shown(names: frozenset[str]) -> str:
    """For a sentence."""
    some = ", ".join(f"`{name}`" for name in sorted(names)[:MOST_SHOWN])
    return f"{some} and {len(names) - MOST_SHOWN} more" if len(names) > MOST_SHOWN else some


def refuse_loss_of_all(new: Generation, present: Generation | None) -> None:
    """Half a file may read as a whole one that has lost its models, and so may a misspelt `model_list`.

    Raises ConfigurationRefused when `present` names models and `new` has no list of them; an empty list is one.
    """
    lost = frozenset() if present is None else named_models(present.config_text)
    if lost and _document(new.config_text).get("model_list") is None:
        message = f"There is no `model_list` any more, and the configuration in force serves {shown(lost)}."
        hint = "Check its spelling, and whether the file is complete. If this is meant: model_list: []"
        finding = Finding(Severity.ERROR, "models-gone", message, hint, file=new.source)
        raise ConfigurationRefused([finding], watched=new.watched)


def _document(config_text: str) -> Mapping[str, Any]:
    document = yaml.load(config_text, Loader=_LOADER)  # noqa: S506  a safe loader, if there is one in C
    return document if isinstance(document, dict) else {}


_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def _names(models: object) -> Iterator[str]:
    for entry in models if isinstance(models, list) else ():
        if not isinstance(entry, dict):
            continue
        name, params, info = entry.get("model_name"), entry.get("litellm_params"), entry.get("model_info")
        texts = [name, params.get("model") if isinstance(params, dict) else None]
        special = isinstance(info, dict) and not info.keys().isdisjoint({"supported_environments", "team_id"})
        if isinstance(name, str) and not special and not any(_is_open(text) for text in texts):
            yield name


def _is_open(text: object) -> bool:
    return isinstance(text, str) and ("*" in text or text.startswith("os.environ/"))
