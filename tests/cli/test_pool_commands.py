from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from pydantic import SecretStr

from supervisor.control.operations import HistoryEntry, LogLine, ReloadOutcome, ReloadResult, SettingsOutcome
from supervisor.errors import LitesupError
from supervisor.history.store import History, InForce
from supervisor.litellm_config.files import Written
from supervisor.litellm_config.generation import Generation
from supervisor.status import Condition
from tests.scripted_daemon import ScriptedDaemon
from tests.scripted_operations import pool_status

Run = Callable[..., Result]


def test_status_shows_the_pool(daemon: ScriptedDaemon, run_cli: Run) -> None:
    result = run_cli("status")
    assert result.exit_code == 0
    assert result.stdout.startswith("ready  3 of 3 replicas ready")
    assert "\x1b" not in result.stdout


def test_status_as_json_is_the_document(daemon: ScriptedDaemon, run_cli: Run) -> None:
    result = run_cli("status", "--json")
    assert json.loads(result.stdout) == json.loads(json.dumps(daemon.operations.answer.as_json()))


@pytest.mark.parametrize(
    "command",
    [
        ("status",),
        ("stop",),
        ("reload",),
        ("rollback",),
        ("history",),
        ("restart",),
        ("scale", 2),
        ("drain", 1),
        ("logs",),
    ],
)
def test_without_a_daemon_every_command_says_so_and_ends_with_4(
    run_cli: Run, short_dir: Path, command: tuple[object, ...]
) -> None:
    result = run_cli(*command, "--runtime-dir", short_dir)
    assert result.exit_code == 4
    assert f"no daemon answers in {short_dir}; start one with: litesup start" in result.stderr
    assert result.stdout == ""


def test_the_daemon_is_found_by_option_by_variable_and_by_litesup_yaml(
    daemon: ScriptedDaemon, run_cli: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LITESUP_RUNTIME_DIR")
    assert run_cli("status", "--runtime-dir", daemon.runtime_dir).exit_code == 0
    monkeypatch.setenv("RUNTIME_DIRECTORY", f"{daemon.runtime_dir}:/elsewhere")
    assert run_cli("status").exit_code == 0
    monkeypatch.delenv("RUNTIME_DIRECTORY")
    Path("litesup.yaml").write_text(f"runtime_dir: {daemon.runtime_dir}\n")
    assert run_cli("status").exit_code == 0
    Path("litesup.yaml").write_text("runtime_die: /x\n")
    refused = run_cli("status")
    assert refused.exit_code == 3
    assert "Did you mean runtime_dir?" in refused.stderr


def test_stop_waits_until_the_daemon_is_gone(daemon: ScriptedDaemon, run_cli: Run) -> None:
    daemon.end_after(daemon.operations.stopped)
    result = run_cli("stop")
    assert (result.exit_code, result.stdout) == (0, "stopped\n")
    assert daemon.operations.asked == [("stop",)]


def test_stop_says_so_when_the_daemon_takes_longer(daemon: ScriptedDaemon, run_cli: Run) -> None:
    result = run_cli("stop", "--timeout", 0.1)
    assert result.exit_code == 5
    assert "still stopping after 0.1 s" in result.stderr


@pytest.mark.parametrize(
    ("outcome", "code", "said"),
    [
        (ReloadOutcome(ReloadResult.UNCHANGED, "aaaa"), 0, "unchanged"),
        (ReloadOutcome(ReloadResult.ROLLED, "aaaa"), 0, "generation aaaa serves"),
        (ReloadOutcome(ReloadResult.STARTED, "aaaa"), 0, "rolling out"),
        (ReloadOutcome(ReloadResult.SUPERSEDED, "aaaa"), 3, "newer change"),
        (ReloadOutcome(ReloadResult.REFUSED, "", ("c.yaml:3: error: no",)), 3, "c.yaml:3: error: no"),
        (ReloadOutcome(ReloadResult.ROLLED_BACK, "aaaa", ("exit 1",)), 3, "exit 1"),
    ],
)
def test_reload_ends_as_the_roll_out_did(
    daemon: ScriptedDaemon, run_cli: Run, outcome: ReloadOutcome, code: int, said: str
) -> None:
    daemon.operations.outcome = outcome
    result = run_cli("reload", "--wait")
    assert result.exit_code == code
    assert said in (result.stderr if code else result.stdout)
    assert (result.stdout if code else result.stderr) == ""
    assert daemon.operations.asked == [("reload", True)]


@pytest.mark.parametrize(
    ("arguments", "asked"),
    [
        ((), (None, False)),
        (("3f2a",), ("3f2a", False)),
        (("--wait",), (None, True)),
        (("3f2a", "--wait"), ("3f2a", True)),
    ],
)
def test_rollback_asks_for_the_one_before_or_the_named_one(
    daemon: ScriptedDaemon, run_cli: Run, arguments: tuple[str, ...], asked: tuple[object, ...]
) -> None:
    daemon.operations.outcome = ReloadOutcome(ReloadResult.ROLLED, "aaaa")
    result = run_cli("rollback", *arguments)
    assert (result.exit_code, result.stdout) == (0, "generation aaaa serves\n")
    assert daemon.operations.asked == [("rollback", *asked)]


@pytest.mark.parametrize("result", [ReloadResult.REFUSED, ReloadResult.ROLLED_BACK, ReloadResult.SUPERSEDED])
def test_a_rollback_that_does_not_serve_ends_with_3_and_the_reason(
    daemon: ScriptedDaemon, run_cli: Run, result: ReloadResult
) -> None:
    daemon.operations.outcome = ReloadOutcome(result, "aaaa", ("no good generation is kept",))
    ended = run_cli("rollback", "--wait")
    assert (ended.exit_code, ended.stdout) == (3, "")
    assert "no good generation is kept" in ended.stderr


def test_an_empty_history_is_said(daemon: ScriptedDaemon, run_cli: Run) -> None:
    result = run_cli("history")
    assert (result.exit_code, result.stdout.split(";")[0]) == (0, "no good generation is kept yet")
    assert json.loads(run_cli("history", "--json").stdout) == {"generations": []}


def test_the_history_is_a_table_that_says_which_one_runs(daemon: ScriptedDaemon, run_cli: Run) -> None:
    daemon.operations.kept = (
        HistoryEntry("aaaa11112222", 1_800_000_000.0, 1_800_000_005.0, "file changed", running=False),
        HistoryEntry("bbbb11112222", 1_700_000_000.0, 1_800_000_009.0, "start", running=True),
    )
    _, newest, oldest = run_cli("history").stdout.splitlines()
    assert newest.startswith("aaaa11112222  2027-01-15 08:00:00 UTC")
    assert "file changed" in newest
    assert "running" not in newest
    assert oldest.rstrip().endswith("running")
    document = json.loads(run_cli("history", "--json").stdout)
    assert document["generations"][1] == {
        "digest": "bbbb11112222",
        "kept_at": 1_700_000_000.0,
        "stood_at": 1_800_000_009.0,
        "reason": "start",
        "running": True,
    }


@pytest.fixture
def kept(short_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where an earlier daemon kept a generation of ./litellm.config.yaml; none runs now."""
    monkeypatch.setenv("LITESUP_RUNTIME_DIR", str(short_dir))
    source, state_dir = Path("litellm.config.yaml").absolute(), short_dir / "state"
    generation = Generation(
        "aaaa11112222", "", {}, SecretStr("k"), source, (), (), written=Written({source: "a: 1\n"}, {})
    )
    History(state_dir, source).keep(InForce(generation, "file changed"))
    return state_dir


def test_without_a_daemon_the_history_is_read_where_it_lies_and_that_is_said(kept: Path, run_cli: Run) -> None:
    before = {file: file.read_bytes() for file in kept.rglob("*.json")}
    result = run_cli("history", "--state-dir", kept)
    assert result.exit_code == 0
    assert (
        f"no daemon answers; this is what {kept / 'history'} holds of {Path.cwd()}/litellm.config.yaml" in result.stderr
    )
    _, entry = result.stdout.splitlines()
    assert (entry.split()[0], "file changed" in entry, "running" in entry) == ("aaaa11112222", True, False)
    (generation,) = json.loads(run_cli("history", "--state-dir", kept, "--json").stdout)["generations"]
    assert (generation["digest"], generation["running"]) == ("aaaa11112222", False)
    assert {file: file.read_bytes() for file in kept.rglob("*.json")} == before


def test_without_a_daemon_the_state_directory_is_that_of_litesup_yaml(kept: Path, run_cli: Run) -> None:
    Path("litesup.yaml").write_text(f"state_dir: {kept}\n")
    assert "aaaa11112222" in run_cli("history").stdout


def test_without_a_daemon_a_kept_file_that_cannot_be_read_is_named(kept: Path, run_cli: Run) -> None:
    (kept / "history" / "cut.json").write_text("{")
    result = run_cli("history", "--state-dir", kept)
    assert result.exit_code == 0
    assert "skipped: " in result.stderr
    assert "cut.json" in result.stderr


def test_without_a_daemon_and_with_nothing_kept_both_are_said(kept: Path, run_cli: Run) -> None:
    Path("litesup.yaml").write_text("config: another.yaml\n")
    result = run_cli("history", "--state-dir", kept)
    assert (result.exit_code, result.stdout) == (4, "")
    assert "no daemon answers" in result.stderr
    assert f"Nothing is kept of {Path.cwd()}/another.yaml in {kept / 'history'}" in result.stderr


def test_reload_says_what_was_applied_and_what_waits(daemon: ScriptedDaemon, run_cli: Run) -> None:
    settings = SettingsOutcome(("queue.size (10 → 20)", "stop.drain (30 → 5)"), ("balancer.port (8000 → 8080)",))
    daemon.operations.outcome = ReloadOutcome(ReloadResult.UNCHANGED, "aaaa", settings=settings)
    result = run_cli("reload")
    assert result.exit_code == 0
    assert "applied: queue.size (10 → 20), stop.drain (30 → 5)" in result.stdout
    assert "needs a restart: balancer.port (8000 → 8080)" in result.stdout


def test_reload_ends_with_3_when_litesup_yaml_is_refused(daemon: ScriptedDaemon, run_cli: Run) -> None:
    settings = SettingsOutcome(problems=("litesup.yaml:3: error: no",))
    daemon.operations.outcome = ReloadOutcome(ReloadResult.ROLLED, "aaaa", settings=settings)
    result = run_cli("reload")
    assert result.exit_code == 3
    assert "generation aaaa serves" in result.stderr
    assert "litesup.yaml:3: error: no" in result.stderr


def test_a_litesup_yaml_that_was_broken_since_does_not_hide_the_daemon(
    daemon: ScriptedDaemon, run_cli: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LITESUP_RUNTIME_DIR")
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(daemon.runtime_dir))
    Path("litesup.yaml").write_text("queue: [\n")
    assert run_cli("status").exit_code == 0


def test_restart_scale_and_drain_ask_for_it(daemon: ScriptedDaemon, run_cli: Run) -> None:
    assert run_cli("restart").stdout == "restarted slots 1, 2, 3\n"
    assert run_cli("restart", 2).stdout == "restarted slot 2\n"
    assert "scaling to 5 replicas" in run_cli("scale", 5).stdout
    assert "draining slot 2" in run_cli("drain", 2).stdout
    assert daemon.operations.asked == [("restart", ()), ("restart", (2,)), ("scale", 5), ("drain", 2)]


def test_what_the_daemon_refuses_is_said_once_without_a_traceback(daemon: ScriptedDaemon, run_cli: Run) -> None:
    daemon.operations.failures = {"drain": LitesupError("there is no slot 9")}
    result = run_cli("drain", 9)
    assert (result.exit_code, result.stdout, result.stderr) == (1, "", "litesup: there is no slot 9\n")


@pytest.mark.parametrize(
    "command",
    [
        ("scale", 0),
        ("scale", "many"),
        ("drain",),
        ("drain", 0),
        ("restart", "x"),
        ("restart", 0),
        ("logs", 0),
        ("statu",),
        ("--wat",),
    ],
)
def test_a_wrong_use_ends_with_2(run_cli: Run, command: tuple[object, ...]) -> None:
    assert run_cli(*command).exit_code == 2


def test_a_misspelt_command_is_answered_with_the_nearest(run_cli: Run) -> None:
    assert "did you mean status?" in run_cli("statsu").stderr


def test_logs_are_shown_with_their_slot(daemon: ScriptedDaemon, run_cli: Run) -> None:
    daemon.operations.lines = [
        LogLine(1000.0, 1, 11, "gen", "hello"),
        LogLine(1001.0, 2, 12, "gen", "wörld"),
    ]
    assert [line.split(" ", 1)[1] for line in run_cli("logs").stdout.splitlines()] == [
        "  1/11 gen hello",
        "  2/12 gen wörld",
    ]
    assert len(run_cli("logs", 2).stdout.splitlines()) == 1
    assert json.loads(run_cli("logs", "--json", 2).stdout)["text"] == "wörld"


def test_following_ends_with_the_daemon(daemon: ScriptedDaemon, run_cli: Run) -> None:
    daemon.operations.lines = [LogLine(1000.0, 1, 11, "gen", "hello")]
    daemon.end_after(daemon.operations.followed)
    result = run_cli("logs", "-f")
    assert result.exit_code == 0
    assert "hello" in result.stdout


def test_a_pool_without_replicas_can_be_shown(daemon: ScriptedDaemon, run_cli: Run) -> None:
    daemon.operations.answer = pool_status(Condition.STARTING, ())
    assert run_cli("status").stdout.startswith("starting  0 of 3 replicas ready")
