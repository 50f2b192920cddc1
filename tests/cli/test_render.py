from __future__ import annotations

import dataclasses
import io
from pathlib import Path

import pytest
from rich.console import Console

from supervisor.cli import render
from supervisor.control.operations import LogLine
from supervisor.errors import Finding, Severity
from supervisor.status import Condition, SettingsStatus, Status
from tests.scripted_operations import NOW, pool_status, replica_status


def shown(status: Status, *, width: int = 120, colour: bool = False) -> str:
    out = io.StringIO()
    Console(file=out, width=width, force_terminal=colour, highlight=False).print(render.status_view(status, NOW))
    return out.getvalue()


def test_the_status_screen_is_aligned() -> None:
    replicas = (
        replica_status(1),
        replica_status(10, state="draining", pid=123456, private_bytes=3 * 2**30, restarts=12),
    )
    text = shown(pool_status(Condition.DEGRADED, replicas))
    head, first, second = text.splitlines()[-3:]
    assert head.index("STATE") == first.index("ready") == second.index("draining")
    assert head.index("PID") + 3 == first.index("4001") + 4 == second.index("123456") + 6
    assert "3.0 GiB" in second


def test_the_screen_says_everything_that_is_asked_first() -> None:
    text = shown(pool_status())
    for piece in (
        "ready",
        "3 of 3",
        "127.0.0.1:8000",
        "LiteLLM 1.106.2",
        "pid 3999",
        "1 h 1 min",
        "3f2a91bc01d2",
        "1200",
    ):
        assert piece in text


def test_what_is_wrong_is_said_in_words() -> None:
    plain = pool_status()
    generation = dataclasses.replace(
        plain.generation, refused_at=NOW - 65, refused=("c.yaml:3: error: no\n    do it",), failed=("bbbb: exit 3",)
    )
    daemon = dataclasses.replace(plain.daemon, launcher="plain", launcher_note="two threads")
    text = shown(dataclasses.replace(plain, generation=generation, daemon=daemon))
    assert "! the configuration on disk was refused 1 min 5 s ago" in text
    assert "c.yaml:3: error: no" in text
    assert "generation bbbb: exit 3" in text
    assert "plain launcher: two threads" in text


def test_what_serves_instead_of_the_file_is_said_with_the_difference() -> None:
    plain = pool_status()
    generation = dataclasses.replace(
        plain.generation,
        note="rolled back by the operator; the file on disk differs",
        running="bbbb",
        on_disk="cccc",
        difference=("--- bbbb", "+++ cccc", "-  num_retries: 1"),
        history_note="/var/lib/litesup/history: No space left on device",
    )
    text = shown(dataclasses.replace(plain, generation=generation))
    for piece in (
        "! rolled back by the operator; the file on disk differs",
        "bbbb serves meanwhile",
        "what is on disk (generation cccc) differs from what serves:",
        "-  num_retries: 1",
        "No space left on device",
    ):
        assert piece in text


def test_what_of_litesup_yaml_is_not_in_force_is_said() -> None:
    settings = SettingsStatus("/etc/litesup.yaml", ("balancer.port (8000 → 8080)",), NOW - 65, ("line 3: no",))
    text = shown(dataclasses.replace(pool_status(), settings=settings))
    assert "! /etc/litesup.yaml was refused 1 min 5 s ago" in text
    assert "line 3: no" in text
    assert "! needs a restart: balancer.port (8000 → 8080)" in text


def test_a_remark_about_a_replica_gets_a_column_only_when_there_is_one() -> None:
    assert "NOTE" not in shown(pool_status())
    assert "NOTE" not in shown(pool_status(Condition.READY, (replica_status(1, last_exit="exit 0"),)))
    noted = replica_status(
        1,
        state="exited",
        restarts=3,
        note="crash-looping: next try in 8 s",
        last_exit="exit 1",
        pid=None,
        ready_since=None,
        rss_bytes=None,
        private_bytes=None,
    )
    text = shown(pool_status(Condition.UNAVAILABLE, (noted,)))
    assert "crash-looping: next try in 8 s; last: exit 1" in text


def test_colours_are_for_terminals() -> None:
    assert "\x1b[" in shown(pool_status(), colour=True)
    assert "\x1b[" not in shown(pool_status())


@pytest.mark.parametrize("condition", Condition)
def test_every_condition_has_a_colour(condition: Condition) -> None:
    assert condition.value in shown(pool_status(condition))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-3, "0 s"),
        (0.4, "0 s"),
        (59, "59 s"),
        (60, "1 min"),
        (61, "1 min 1 s"),
        (7200, "2 h"),
        (11520, "3 h 12 min"),
        (200000, "2 d 7 h"),
    ],
)
def test_durations_have_two_units_at_most(seconds: float, text: str) -> None:
    assert render.duration(seconds) == text


def test_the_report_of_check_is_by_file_with_places_and_a_sum() -> None:
    findings = [
        Finding(
            Severity.ERROR,
            "reference-unset",
            "A is not set.",
            "Set it.\n    7 | key: ${A}",
            Path("/w/c.yaml"),
            7,
            16,
            "x.key",
        ),
        Finding(Severity.NOTE, "azure-adapted", "becomes azure.", "", Path("/w/c.yaml"), 4, 14, "x.model"),
        Finding(Severity.ERROR, "setting-unknown", "no such variable", "", None, None, None, "LITESUP_X"),
    ]
    text = render.findings_text(findings, refused=True, colour=False, directory=Path("/w"))
    assert text.splitlines()[0] == "c.yaml"
    assert "    7:16 error   A is not set." in text
    assert "                 7 | key: ${A}" in text
    assert "environment and options" in text
    assert text.splitlines()[-1] == "2 errors, 1 note: the configuration is refused"


def test_a_clean_check_is_one_line() -> None:
    assert (
        render.findings_text([], refused=False, colour=False, directory=Path("/w"))
        == "nothing to remark: the configuration can be used"
    )


def test_a_log_line_names_its_slot_and_replica_and_colours_by_slot() -> None:
    line = LogLine(1000.0, 2, 12, "gen", "text")
    assert render.log_line(line, colour=False).endswith("  2/12 gen text")
    assert "\x1b[" in render.log_line(line, colour=True)


def test_progress_lines_count() -> None:
    assert render.stopping_line(pool_status()) == "stopping: 3 replicas running, 6 requests in flight"
    assert render.stopping_line(None) == "stopping …"
    assert render.rolling_line(pool_status()) == "3 of 3 ready (1 ready, 2 ready, 3 ready)"
