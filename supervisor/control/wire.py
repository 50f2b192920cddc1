"""The values that cross the control socket, to JSON and back. Pure; shared by both ends, and light to import."""

from __future__ import annotations

import dataclasses
from typing import Any

from supervisor.control.operations import HistoryEntry, LogLine, ReloadOutcome, ReloadResult, SettingsOutcome
from supervisor.status import (
    BalancerStatus,
    Condition,
    DaemonStatus,
    GenerationStatus,
    ReplicaStatus,
    SettingsStatus,
    Status,
)

SOCKET_NAME = "control.sock"


def status_from_json(document: dict[str, Any]) -> Status:
    """Reads the status document; fields that a newer daemon added are ignored. Raises KeyError or TypeError."""
    daemon = _known(DaemonStatus, document["daemon"])
    generation: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in _known(GenerationStatus, document["generation"]).items()
    }
    balancer = _known(BalancerStatus, document["balancer"])
    return Status(
        daemon=DaemonStatus(**{**daemon, "condition": Condition(daemon["condition"])}),
        generation=GenerationStatus(**generation),
        wanted_replicas=document["wanted_replicas"],
        ready_replicas=document["ready_replicas"],
        replicas=tuple(ReplicaStatus(**_known(ReplicaStatus, replica)) for replica in document["replicas"]),
        balancer=BalancerStatus(**{**balancer, "listening": tuple(balancer["listening"])}),
        settings=SettingsStatus(**_with_tuples(_known(SettingsStatus, document.get("settings", {})))),
        version=document["version"],
    )


def outcome_to_json(outcome: ReloadOutcome) -> dict[str, Any]:
    return {
        "result": outcome.result.value,
        "generation": outcome.generation,
        "problems": list(outcome.problems),
        "settings": dataclasses.asdict(outcome.settings),
    }


def outcome_from_json(document: dict[str, Any]) -> ReloadOutcome:
    settings = _known(SettingsOutcome, document.get("settings", {}))
    return ReloadOutcome(
        ReloadResult(document["result"]),
        document["generation"],
        tuple(document.get("problems", ())),
        SettingsOutcome(**_with_tuples(settings)),
    )


def history_to_json(entries: tuple[HistoryEntry, ...]) -> dict[str, Any]:
    return {"generations": [dataclasses.asdict(entry) for entry in entries]}


def history_from_json(document: dict[str, Any]) -> tuple[HistoryEntry, ...]:
    return tuple(HistoryEntry(**_known(HistoryEntry, entry)) for entry in document["generations"])


def log_line_to_json(line: LogLine) -> dict[str, Any]:
    return dataclasses.asdict(line)


def log_line_from_json(document: dict[str, Any]) -> LogLine:
    return LogLine(**_known(LogLine, document))


def _known(kind: type[Any], values: dict[str, Any]) -> dict[str, Any]:
    names = {field.name for field in dataclasses.fields(kind)}
    return {name: value for name, value in values.items() if name in names}


def _with_tuples(values: dict[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
