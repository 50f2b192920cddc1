"""Rules about single values: their type, and the master key."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator

from supervisor.errors import Severity
from supervisor.litellm_config import master_key as keys
from supervisor.litellm_config.document import ListNode, MapNode, Node, Path_, Scalar, read_scalar
from supervisor.litellm_config.fields import Kind, kind_of
from supervisor.litellm_config.lint.rule import Remark, Subject, rule


@rule(
    "wrong-type",
    Severity.ERROR,
    "A value is of a type that LiteLLM cannot use there.",
    example="router_settings: {num_retries: '3'}\n",
    step="Write a number without quotes, a text that looks like a number or a date with them.",
)
def wrong_type(subject: Subject) -> Iterator[Remark]:
    """LiteLLM checks few types when it starts. With a text for `num_retries` it starts, and every request is a 500;
    with a text for `rpm` that is no number it leaves the model out."""
    yield from _wrong_types(subject, subject.root, ())


def _wrong_types(subject: Subject, node: Node, path: Path_) -> Iterator[Remark]:
    kind = kind_of(path)
    value = subject.resolved(node) if isinstance(node, Scalar) else None
    empty = isinstance(node, Scalar) and value is None
    if kind is not None and not empty and not _fits(kind, node, value):
        yield _remark(kind, node, value, path)
    elif isinstance(node, MapNode):
        for entry in node.entries:
            yield from _wrong_types(subject, entry.value, (*path, str(entry.key.value)))
    elif isinstance(node, ListNode):
        for index, item in enumerate(node.items):
            yield from _wrong_types(subject, item, (*path, index))


def _fits(kind: Kind, node: Node, value: object) -> bool:
    if kind is Kind.MAP:
        return isinstance(node, MapNode)
    if kind is Kind.LIST:
        return isinstance(node, ListNode)
    if not isinstance(node, Scalar):
        return False
    if kind is Kind.TEXT:
        return isinstance(value, str)
    if kind is Kind.FLAG:
        return isinstance(value, bool)
    return isinstance(value, int | float) and not isinstance(value, bool)


def _remark(kind: Kind, node: Node, value: object, path: Path_) -> Remark:
    name = str(path[-1])
    severity = Severity.ERROR
    wanted = Kind.NUMBER.value if kind is Kind.COERCED else kind.value
    hint = f"Make it {wanted}."
    if isinstance(value, str) and kind in {Kind.NUMBER, Kind.COERCED, Kind.FLAG}:
        if _fits(kind, node, read_scalar(value)):
            hint = f"Remove the quotes: {name} has to be {wanted}."
            severity = Severity.ERROR if kind is Kind.NUMBER else Severity.WARNING
    elif isinstance(node, Scalar) and kind is Kind.TEXT:
        hint = f"Put it in quotes: without them YAML reads {_described(node)}."
    return Remark(node, f"`{name}` has to be {wanted}, and is {_described(node)}.", hint, path, severity)


def _described(node: Node) -> str:
    if isinstance(node, MapNode):
        return "a mapping"
    if isinstance(node, ListNode):
        return "a list"
    if isinstance(node.value, bool):
        return "true or false"
    if isinstance(node.value, dt.date):
        return "a date"
    return "a text" if isinstance(node.value, str) else "a number"


@rule(
    "master-key",
    Severity.ERROR,
    "A master key that LiteLLM refuses.",
    example="general_settings: {master_key: sk-1234}\n",
    step="Remove the line, and litesup makes a key (`litesup key` shows it); or name a variable.",
)
def master_key(subject: Subject) -> Iterator[Remark]:
    """LiteLLM does not start without a key, nor with one that was published as an example. One that does not begin
    with `sk-` is a warning: some clients refuse it."""
    general = subject.section("general_settings")
    node = general.get("master_key") if general else None
    if general is None or not isinstance(node, Scalar):
        return
    path = ("general_settings", "master_key")
    if node.value is None:
        hint = "Remove the line, and litesup makes a key; or name a variable: os.environ/LITELLM_MASTER_KEY."
        yield Remark(general.key("master_key"), "The master key has no value, so LiteLLM refuses to start.", hint, path)
        return
    value = subject.resolved(node)
    if not isinstance(value, str):
        return  # a reference that is not set, or a wrong type: said elsewhere
    weak = subject.resolved(general.get("dangerously_permit_weak_or_unset_master_key")) is True
    objection = keys.objection_to(value, weak_permitted=weak)
    if objection:
        yield Remark(node, objection.message, objection.hint, path, objection.severity)
