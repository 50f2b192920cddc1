"""Rules about the router: its strategy, and the names that fallbacks and aliases lead to."""

from __future__ import annotations

import re
from collections.abc import Iterator

from supervisor.errors import Severity
from supervisor.litellm_config.document import ListNode, MapNode, Node, Path_, Scalar
from supervisor.litellm_config.lint.near import nearest
from supervisor.litellm_config.lint.rule import Remark, Subject, items_of, rule

# `VALID_ROUTING_STRATEGIES` in LiteLLM's router.
STRATEGIES = frozenset(
    {
        "cost-based-routing",
        "lar1",
        "latency-based-routing",
        "least-busy",
        "provider-budget-routing",
        "simple-shuffle",
        "usage-based-routing",
        "usage-based-routing-v2",
    }
)
_KINDS = ("fallbacks", "context_window_fallbacks", "content_policy_fallbacks")
_SECTIONS = ("router_settings", "litellm_settings")


@rule(
    "routing-strategy",
    Severity.ERROR,
    "A routing_strategy that LiteLLM does not have.",
    example="router_settings: {routing_strategy: round-robin}\n",
    step="Use one that it has; `simple-shuffle` is its default.",
)
def routing_strategy(subject: Subject) -> Iterator[Remark]:
    """LiteLLM refuses to start with it."""
    node = subject.setting("router_settings", "routing_strategy")
    value = subject.resolved(node)
    if isinstance(value, str) and value not in STRATEGIES:
        near = nearest(value.replace("-", "_"), {name.replace("-", "_") for name in STRATEGIES})
        known = ", ".join(sorted(STRATEGIES))
        hint = f"Did you mean `{near.replace('_', '-')}`?" if near else f"It has: {known}."
        yield Remark(node, f"LiteLLM has no routing strategy `{value}`.", hint, ("router_settings", "routing_strategy"))


@rule(
    "fallback-form",
    Severity.ERROR,
    "Fallbacks that are not written as LiteLLM reads them.",
    example="router_settings: {fallbacks: [gpt-4o-mini]}\n",
    step="Write one `- NAME: [OTHER, …]` for each model.",
)
def fallback_form(subject: Subject) -> Iterator[Remark]:
    """Each element of `fallbacks` is a mapping with one key. LiteLLM refuses to start with anything else, or, where
    it does not look, fails when the fallback is needed."""
    for path, node in (*_fallback_lists(subject), *_defaults(subject)):
        if not isinstance(node, ListNode):
            if path[-1] != "fallbacks":  # of which `wrong-type` says it
                yield Remark(node, f"`{path[-1]}` is a list.", "Write it as one.", path, Severity.WARNING)
            continue
        if path[-1] == "default_fallbacks":
            continue  # a list of names
        refused = None if path[-1] == "fallbacks" else Severity.WARNING  # it looks at the others when they are needed
        for index, item in enumerate(items_of(node)):
            where = (*path, index)
            if not isinstance(item, MapNode):
                message = "This fallback does not say for which model it is."
                hint = "Write `- NAME: [OTHER]`; or name it under `default_fallbacks`."
                yield Remark(item, message, hint, where, refused)
            elif len(item.entries) != 1:
                message = "Each element holds one model and its fallbacks."
                yield Remark(item, message, "Write one `-` for each.", where, refused)
            elif not isinstance(item.entries[0].value, ListNode):
                name = str(item.entries[0].key.value)
                message = "The fallbacks of a model are a list."
                yield Remark(item.entries[0].value, message, f"Write `- {name}: [OTHER]`.", where, Severity.WARNING)


@rule(
    "unknown-fallback",
    Severity.WARNING,
    "A fallback that names no model.",
    example=(
        "model_list: [{model_name: gpt-4, litellm_params: {model: openai/gpt-4o}}]\n"
        "router_settings: {fallbacks: [{gpt-4: [gpt-4-mini]}]}\n"
    ),
    step="Name a model_name of model_list.",
)
def unknown_fallback(subject: Subject) -> Iterator[Remark]:
    """A fallback is tried when everything else has failed; this one fails too, and hides the first error behind its
    own. The names are those of `model_list`, not those of providers."""
    known = _Names(subject)
    for path, node in _fallback_lists(subject):
        for index, item in enumerate(items_of(node)):
            for entry in item.entries if isinstance(item, MapNode) else ():
                here = (*path, index, str(entry.key.value))
                if entry.key.value != "*" and not known.has(str(entry.key.value)):
                    message = f"No model is called `{entry.key.value}`, so these fallbacks are never used."
                    yield Remark(entry.key, message, known.hint(str(entry.key.value)), here)
                for number, target in enumerate(items_of(entry.value)):
                    yield from _target(subject, known, target, (*here, number))
    for path, node in _defaults(subject):
        for number, target in enumerate(items_of(node)):
            yield from _target(subject, known, target, (*path, number))


def _target(subject: Subject, known: _Names, node: Node, path: Path_) -> Iterator[Remark]:
    # A mapping brings parameters of its own, which may name a model that is not in the list.
    name = subject.resolved(node) if isinstance(node, Scalar) else None
    if isinstance(name, str) and not known.has(name):
        yield Remark(node, f"No model is called `{name}`.", known.hint(name), path)


@rule(
    "unknown-alias",
    Severity.WARNING,
    "An alias that leads to no model.",
    example=(
        "model_list: [{model_name: gpt-4, litellm_params: {model: openai/gpt-4o}}]\n"
        "router_settings: {model_group_alias: {gpt-4-turbo: gpt-5}}\n"
    ),
    step="Name a model_name of model_list.",
)
def unknown_alias(subject: Subject) -> Iterator[Remark]:
    """A request for the alias is refused as if there were no such model."""
    known = _Names(subject)
    aliases = subject.setting("router_settings", "model_group_alias")
    for entry in aliases.entries if isinstance(aliases, MapNode) else ():
        node = entry.value.get("model") if isinstance(entry.value, MapNode) else entry.value
        name = subject.resolved(node)
        if isinstance(name, str) and not known.has(name):
            path = ("router_settings", "model_group_alias", str(entry.key.value))
            yield Remark(node, f"No model is called `{name}`.", known.hint(name), path)


def _fallback_lists(subject: Subject) -> Iterator[tuple[Path_, Node]]:
    for section in _SECTIONS:
        for kind in _KINDS:
            node = subject.setting(section, kind)
            if node is not None:
                yield (section, kind), node


def _defaults(subject: Subject) -> Iterator[tuple[Path_, Node]]:
    for section in _SECTIONS:
        node = subject.setting(section, "default_fallbacks")
        if node is not None:
            yield (section, "default_fallbacks"), node


class _Names:
    """What a request may ask for: names, patterns and aliases. Models kept in a database may have any name."""

    def __init__(self, subject: Subject) -> None:
        self._names: set[str] = set()
        for _, entry in subject.models():
            self._names.add(subject.text(entry, "model_name"))
            info = entry.get("model_info")
            self._names |= {
                subject.text(info, key) for key in ("id", "team_public_model_name") if isinstance(info, MapNode)
            }
        aliases = subject.setting("router_settings", "model_group_alias")
        self._names |= {str(entry.key.value) for entry in aliases.entries} if isinstance(aliases, MapNode) else set()
        groups = items_of(subject.setting("router_settings", "routing_groups"))
        self._names |= {subject.text(group, "group_name") for group in groups if isinstance(group, MapNode)}
        self._names.discard("")
        self._patterns = [re.compile(re.escape(name).replace(r"\*", ".*")) for name in self._names if "*" in name]
        self._open = subject.setting("general_settings", "store_model_in_db") is not None or not self._names

    def has(self, name: str) -> bool:
        return self._open or name in self._names or any(pattern.fullmatch(name) for pattern in self._patterns)

    def hint(self, name: str) -> str:
        near = nearest(name, self._names)
        return f"Did you mean `{near}`?" if near else "Name a model_name of model_list."
