"""From values to what a person reads. Pure: no clock, no terminal, no daemon."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from supervisor.control.operations import LogLine, ReloadOutcome, ReloadResult
from supervisor.status import Condition, ReplicaStatus, Status

if TYPE_CHECKING:
    from rich.console import RenderableType

CONDITION_STYLE = {
    Condition.STARTING: "bold yellow",
    Condition.READY: "bold green",
    Condition.DEGRADED: "bold yellow",
    Condition.ROLLING: "bold cyan",
    Condition.UNAVAILABLE: "bold red",
    Condition.STOPPING: "bold yellow",
}
STATE_STYLE = {
    "ready": "green",
    "starting": "yellow",
    "warming": "yellow",
    "suspect": "red",
    "draining": "cyan",
    "stopping": "cyan",
    "exited": "red",
}
SLOT_COLOURS = (36, 35, 32, 33, 34)
"""Terminal codes, so that a slot's lines are told apart at a glance."""


def status_view(status: Status, now: float) -> RenderableType:
    """The screen of `litesup status`; `now` in Unix seconds."""
    from rich.console import Group
    from rich.text import Text

    daemon, generation, balancer = status.daemon, status.generation, status.balancer
    head = Text()
    head.append(daemon.condition.value, CONDITION_STYLE[daemon.condition])
    head.append(f"  {status.ready_replicas} of {plural(status.wanted_replicas, 'replica')} ready")
    if balancer.listening:
        head.append(f"  {'  '.join(balancer.listening)}")
    why = f", {generation.reason} {ago(now - generation.since)}" if generation.reason else ""
    versions = f"litesup {daemon.version}, LiteLLM {daemon.litellm_version}"
    traffic = f"{balancer.requests} ({balancer.failed} failed), {balancer.in_flight} in flight"
    facts = [
        ("daemon", f"{versions}, pid {daemon.pid}, up {duration(daemon.uptime_seconds)}"),
        ("config", f"{daemon.config} (generation {generation.wanted}{why})"),
        ("requests", f"{traffic}, {balancer.waiting} waiting, {balancer.policy}"),
    ]
    lines: list[RenderableType] = [head]
    lines += [Text.assemble((f"{name:<10}", "dim"), text) for name, text in facts]
    lines += [Text(f"! {text}", "yellow") for text in _remarks(status, now)]
    lines += [Text(""), _replica_table(status.replicas, now)]
    return Group(*lines)


def _remarks(status: Status, now: float) -> Iterable[str]:
    daemon, generation = status.daemon, status.generation
    if daemon.launcher_note:
        yield f"replicas are started by the {daemon.launcher} launcher: {daemon.launcher_note}"
    if generation.refused_at is not None:
        since = ago(now - generation.refused_at)
        yield f"the configuration on disk was refused {since} and is not in force:"
        for problem in generation.refused:
            yield "  " + problem.replace("\n", "\n    ")
    for failed in generation.failed:
        yield f"failed, and not tried again before litesup reload: generation {failed}"


def _replica_table(replicas: Sequence[ReplicaStatus], now: float) -> RenderableType:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for name, right in (
        ("SLOT", True),
        ("STATE", False),
        ("PID", True),
        ("GENERATION", False),
        ("READY FOR", True),
        ("IN FLIGHT", True),
        ("MEMORY", True),
        ("RESTARTS", True),
    ):
        table.add_column(name, justify="right" if right else "left", no_wrap=True)
    noted = any(replica.note or replica.last_exit for replica in replicas)
    if noted:
        table.add_column("NOTE", overflow="fold")
    for replica in replicas:
        cells: list[RenderableType] = [
            str(replica.slot),
            Text(replica.state, STATE_STYLE.get(replica.state, "")),
            dash(replica.pid),
            replica.generation,
            duration(now - replica.ready_since) if replica.ready_since is not None else "-",
            str(replica.in_flight),
            size(replica.rss_bytes),
            str(replica.restarts),
        ]
        if noted:
            exited = f"last: {replica.last_exit}" if replica.last_exit else ""
            cells.append("; ".join(part for part in (replica.note, exited) if part))
        table.add_row(*cells)
    return table


def stopping_line(status: Status | None) -> str:
    """One line of progress while the daemon ends."""
    if status is None:
        return "stopping …"
    running = sum(1 for replica in status.replicas if replica.state != "exited")
    flying = status.balancer.in_flight
    return f"stopping: {plural(running, 'replica')} running, {plural(flying, 'request')} in flight"


def rolling_line(status: Status | None) -> str:
    """One line of progress while replicas are replaced."""
    if status is None:
        return "waiting for the daemon …"
    each = ", ".join(f"{replica.slot} {replica.state}" for replica in status.replicas)
    return f"{status.ready_replicas} of {status.wanted_replicas} ready ({each})"


def reload_lines(outcome: ReloadOutcome) -> str:
    problems = "".join(f"\n{problem}" for problem in outcome.problems)
    match outcome.result:
        case ReloadResult.UNCHANGED:
            return f"unchanged: generation {outcome.generation} serves already"
        case ReloadResult.ROLLED:
            return f"generation {outcome.generation} serves"
        case ReloadResult.STARTED:
            return f"rolling out generation {outcome.generation}; see: litesup status"
        case ReloadResult.SUPERSEDED:
            return f"a newer change took the place of generation {outcome.generation}; see: litesup status"
        case ReloadResult.REFUSED:
            return f"refused; the configuration in force stays:{problems}"
        case ReloadResult.ROLLED_BACK:
            return f"generation {outcome.generation} failed; the one before serves on:{problems}"


def log_line(line: LogLine, *, colour: bool) -> str:
    """One line of `litesup logs`; the time is local."""
    clock = time.strftime("%H:%M:%S", time.localtime(line.at))
    who = f"{line.slot}/{line.replica}"
    if colour:
        number = SLOT_COLOURS[line.slot % len(SLOT_COLOURS)]
        return f"\x1b[2m{clock}\x1b[0m \x1b[{number}m{who:>6}\x1b[0m {line.text}"
    return f"{clock} {who:>6} {line.generation} {line.text}"


def plural(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def dash(value: object) -> str:
    return "-" if value is None else str(value)


def duration(seconds: float) -> str:
    """The two largest units: "3 h 12 min"."""
    whole = max(0, int(seconds))
    units = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))
    for index, (length, name) in enumerate(units):
        if whole >= length or length == 1:
            text = f"{whole // length} {name}"
            if index + 1 < len(units):
                smaller, smaller_name = units[index + 1]
                rest = whole % length // smaller
                return f"{text} {rest} {smaller_name}" if rest else text
            return text
    return "0 s"


def ago(seconds: float) -> str:
    return f"{duration(seconds)} ago"


def size(count: int | None) -> str:
    if count is None:
        return "-"
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"
