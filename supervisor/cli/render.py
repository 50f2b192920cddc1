"""From values to what a person reads. Pure: no clock, no terminal, no daemon."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from supervisor.control.operations import HistoryEntry, LogLine, ReloadOutcome, ReloadResult, SettingsOutcome
from supervisor.errors import Finding, Severity
from supervisor.history.moment import moment
from supervisor.status import Condition, ReplicaStatus, Status

if TYPE_CHECKING:
    from rich.console import RenderableType

    from supervisor.doctor.diagnosis import Check

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
SEVERITY_COLOUR = {Severity.NOTE: "36", Severity.WARNING: "33", Severity.ERROR: "31"}
VERDICT_COLOUR = {"ok": "32", "warning": "33", "failed": "31", "skipped": "2"}
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
        head.append(f"  on {' and '.join(balancer.listening)}")
    why = f", {generation.reason} {ago(now - generation.since)}" if generation.reason else ""
    if generation.running and generation.running != generation.wanted:
        why += f"; {generation.running} serves meanwhile"
    versions = f"litesup {daemon.version}, LiteLLM {daemon.litellm_version}"
    traffic = f"{balancer.requests} ({balancer.failed} without an answer), {balancer.in_flight} in flight"
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
    if generation.note:
        yield generation.note.replace("\n", "\n    ")
    if daemon.launcher_note:
        yield f"replicas are started by the {daemon.launcher} launcher: {daemon.launcher_note}"
    if generation.refused_at is not None:
        since = ago(now - generation.refused_at)
        yield f"the configuration on disk was refused {since} and is not in force:"
        for problem in generation.refused:
            yield "  " + problem.replace("\n", "\n    ")
    settings = status.settings
    if settings.refused_at is not None:
        yield f"{settings.file} was refused {ago(now - settings.refused_at)}; the settings before are in force:"
        for problem in settings.refused:
            yield "  " + problem.replace("\n", "\n    ")
    if settings.needs_restart:
        yield f"needs a restart: {', '.join(settings.needs_restart)}"
    for failed in generation.failed:
        yield f"failed, and not tried again before litesup reload: generation {failed}"
    if generation.history_note:
        yield f"what serves is not kept, so that a later start cannot go back to it: {generation.history_note}"
    if generation.difference:
        yield f"what is on disk (generation {generation.on_disk}) differs from what serves:"
        for line in generation.difference:
            yield f"    {line}"


def history_table(entries: Sequence[HistoryEntry], now: float) -> RenderableType:
    """The table of `litesup history`; `now` in Unix seconds."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for name in ("GENERATION", "IN FORCE FROM", "", "BECAUSE", "LAST GOOD", ""):
        table.add_column(name, no_wrap=True)
    for entry in entries:
        table.add_row(
            entry.digest,
            moment(entry.kept_at),
            ago(now - entry.kept_at),
            entry.reason,
            ago(now - entry.stood_at),
            Text("running", "green") if entry.running else "",
        )
    return table


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
    notes = [_note(replica) for replica in replicas]
    if any(notes):
        table.add_column("NOTE", overflow="fold")
    for replica, note in zip(replicas, notes, strict=True):
        cells: list[RenderableType] = [
            str(replica.slot),
            Text(replica.state, STATE_STYLE.get(replica.state, "")),
            dash(replica.pid),
            replica.generation,
            duration(now - replica.ready_since) if replica.ready_since is not None else "-",
            str(replica.in_flight),
            size(replica.private_bytes),
            str(replica.restarts),
        ]
        table.add_row(*cells, *([note] if any(notes) else []))
    return table


def _note(replica: ReplicaStatus) -> str:
    """Its own remark, and how the slot's last one ended, where that was a failure or explains the state."""
    telling = replica.last_exit and (replica.restarts or replica.state != "ready")
    return "; ".join(part for part in (replica.note, f"last: {replica.last_exit}" if telling else "") if part)


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
    return "\n".join([_reload_text(outcome), *_settings_lines(outcome.settings)])


def _settings_lines(settings: SettingsOutcome) -> Iterable[str]:
    if settings.problems:
        yield "litesup.yaml is refused; the settings in force stay:"
        yield from settings.problems
    if settings.applied:
        yield f"applied: {', '.join(settings.applied)}"
    if settings.needs_restart:
        yield f"needs a restart: {', '.join(settings.needs_restart)}"


def _reload_text(outcome: ReloadOutcome) -> str:
    problems = "".join(f"\n{problem}" for problem in outcome.problems)
    match outcome.result:
        case ReloadResult.UNCHANGED:
            return f"unchanged: generation {outcome.generation} serves already"
        case ReloadResult.ROLLED:
            return f"generation {outcome.generation} serves"
        case ReloadResult.STARTED:
            return f"rolling out generation {outcome.generation}; see: litesup status"
        case ReloadResult.SUPERSEDED:
            return f"a newer change took the place of generation {outcome.generation}; see: litesup status{problems}"
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


def findings_text(findings: Sequence[Finding], *, refused: bool, colour: bool, directory: Path) -> str:
    """The report of `litesup check`: by file, each finding with its place, and one line that sums up."""
    lines: list[str] = []
    for file in dict.fromkeys(finding.file for finding in findings):
        lines.append(_paint(shortest(file, directory) if file is not None else "environment and options", "1", colour))
        for finding in findings:
            if finding.file == file:
                lines += _finding_lines(finding, colour)
        lines.append("")
    counts = [
        plural(number, severity.value)
        for severity in reversed(Severity)
        if (number := sum(1 for finding in findings if finding.severity is severity))
    ]
    verdict = (
        _paint("the configuration is refused", "1;31", colour)
        if refused
        else _paint("the configuration can be used", "1;32", colour)
    )
    lines.append(f"{', '.join(counts) if counts else 'nothing to remark'}: {verdict}")
    return "\n".join(lines)


def _finding_lines(finding: Finding, colour: bool) -> list[str]:
    place = ":".join(str(part) for part in (finding.line, finding.column) if part is not None)
    mark = _paint(f"{finding.severity.value:<7}", SEVERITY_COLOUR[finding.severity], colour)
    where = _paint(" ".join(part for part in (finding.path, f"[{finding.code}]") if part), "2", colour)
    hint = [f"         {part}" for part in _unindented(finding.hint)] if finding.hint else []
    return [
        f"  {place:>6} {mark} {finding.message}",
        *(f"        {line}" for line in hint),
        f"                 {where}",
    ]


def _unindented(hint: str) -> list[str]:
    """A finding's hint is written to stand four columns in."""
    return [line.removeprefix("    ") for line in hint.splitlines()]


def shortest(file: Path, directory: Path) -> str:
    """As seen from `directory` where it lies inside."""
    return str(file.relative_to(directory) if file.is_relative_to(directory) else file)


def check_lines(check: Check, *, colour: bool) -> str:
    """One check of `litesup test`, with what the other side said and what to do next."""
    mark = _paint(f"{check.verdict.value:<8}", VERDICT_COLOUR[check.verdict.value], colour)
    lines = [f"{mark}{check.name}: {check.summary}"]
    if check.said:
        lines.append(_paint(f"        it says: {check.said}", "2", colour))
    lines += [f"        - {step}" for step in check.advice]
    return "\n".join(lines)


def _paint(text: str, code: str, colour: bool) -> str:
    return f"\x1b[{code}m{text}\x1b[0m" if colour else text


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
