from __future__ import annotations

import io
import sys
import types
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from supervisor import events
from supervisor.cli.progress import StartProgress, first_model, ready_text
from supervisor.errors import AlreadyRunning, ConfigurationRefused, Finding, LitesupError, Severity
from supervisor.settings.schema import Replicas, Settings

Run = Callable[..., Result]


class FakeDaemon:
    """Stands in for supervisor.start, and notes what it was to run with."""

    def __init__(self) -> None:
        self.settings: Settings | None = None
        self.environ: Mapping[str, str] = {}
        self.error: Exception | None = None
        self.code = 0
        self.happens: Sequence[events.Event] = ()

    def run_daemon(
        self, settings: Settings, environ: Mapping[str, str], *, listeners: Sequence[Any] = (), source: Any = None
    ) -> int:
        self.settings, self.environ = settings, environ
        if self.error is not None:
            raise self.error
        for event in self.happens:
            for listener in listeners:
                listener(event)
        return self.code


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeDaemon:
    fake = FakeDaemon()
    module = types.ModuleType("supervisor.start")
    module.run_daemon = fake.run_daemon  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "supervisor.start", module)
    return fake


def test_every_option_reaches_the_settings(run_cli: Run, fake: FakeDaemon) -> None:
    options = ["--replicas", 3, "--config", "c.yaml", "--port", 9000, "--host", "127.0.0.1", "--host", "::1"]
    assert run_cli("start", *options, "--runtime-dir", "r", "--state-dir", "s").exit_code == 0
    assert fake.settings is not None
    assert (fake.settings.replicas.count, fake.settings.config, fake.settings.balancer.port) == (
        3,
        Path("c.yaml"),
        9000,
    )
    assert fake.settings.balancer.host == ("127.0.0.1", "::1")
    assert (fake.settings.runtime_dir, fake.settings.state_dir) == (Path("r"), Path("s"))


def test_the_last_good_one_is_asked_for_by_flag_or_variable_and_the_flag_wins(
    run_cli: Run, fake: FakeDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable, flags, expected in (
        ("", ["--last-good"], True),
        ("true", [], True),
        ("true", ["--no-last-good"], False),
    ):
        monkeypatch.setenv("LITESUP_LAST_GOOD", variable)
        assert run_cli("start", *flags).exit_code == 0
        assert fake.settings is not None
        assert fake.settings.rollout.last_good is expected


def test_without_options_the_settings_are_the_defaults(run_cli: Run, fake: FakeDaemon) -> None:
    run_cli("start")
    assert fake.settings == Settings()


def test_the_demo_brings_its_own_configuration(run_cli: Run, fake: FakeDaemon) -> None:
    run_cli("start", "--demo")
    assert fake.settings is not None
    assert fake.settings.config.name == "demo.yaml"
    assert first_model(fake.settings) is not None
    assert run_cli("start", "--demo", "--config", "c.yaml").exit_code == 2


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (AlreadyRunning("litesup is running already (pid 7)"), 1, "litesup: litesup is running already (pid 7)\n"),
        (LitesupError("port 8000 is taken"), 1, "litesup: port 8000 is taken\n"),
        (
            ConfigurationRefused([Finding(Severity.ERROR, "x", "no", "do it", Path("c.yaml"), 3)]),
            3,
            "c.yaml:3: error: no [x]\n    do it\n",
        ),
    ],
)
def test_what_keeps_it_from_starting_is_said_without_a_traceback(
    run_cli: Run, fake: FakeDaemon, error: Exception, code: int, said: str
) -> None:
    fake.error = error
    result = run_cli("start")
    assert (result.exit_code, result.stdout, result.stderr) == (code, "", said)


def test_refused_settings_never_reach_the_daemon(run_cli: Run, fake: FakeDaemon) -> None:
    result = run_cli("start", "--host", "0.0.0.0")
    assert result.exit_code == 3
    assert "access:" in result.stderr
    assert fake.settings is None


def test_the_daemons_exit_code_is_the_commands(run_cli: Run, fake: FakeDaemon) -> None:
    fake.code = 5
    assert run_cli("start").exit_code == 5


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def ready(slot: int) -> events.ReplicaReady:
    return events.ReplicaReady(replica=slot, slot=slot, generation="gen", pid=1, seconds=0.3)


LISTENING = events.DaemonStarted("0.1.0", 1, ("127.0.0.1:8000", "[::1]:8000"))


def test_progress_tells_what_is_being_waited_for() -> None:
    now = 100.0
    progress = StartProgress(Settings(replicas=Replicas(count=3)), Terminal(), Terminal(), clock=lambda: now)
    now = 103.2
    assert progress.text() == "loading LiteLLM … 3 s"
    progress.on_event(events.ForkServerStarted(pid=2, seconds=3.0))
    assert progress.text() == "starting replicas … 3 s"
    progress.on_event(ready(2))
    assert progress.text() == "1 of 3 replicas ready … 3 s"


def test_once_all_serve_the_line_to_try_is_printed_once_on_stdout() -> None:
    stdout, stderr = Terminal(), Terminal()
    settings = Settings(replicas=Replicas(count=2))
    with StartProgress(settings, stdout, stderr, model=lambda: "demo", clock=lambda: 0.0) as progress:
        for event in (LISTENING, ready(1), ready(1)):
            progress.on_event(event)
        assert stdout.getvalue() == ""
        for event in (ready(2), ready(2), ready(3)):
            progress.on_event(event)
    first, second = stdout.getvalue().splitlines()
    assert first == "ready: 2 replicas on http://127.0.0.1:8000 after 0.0 s"
    assert second.startswith("try:   curl http://127.0.0.1:8000/v1/chat/completions ")
    assert '"model": "demo"' in second


def test_a_stop_before_that_prints_nothing() -> None:
    stdout = Terminal()
    with StartProgress(Settings(replicas=Replicas(count=1)), stdout, Terminal(), model=lambda: "m") as progress:
        progress.on_event(events.DaemonStopping("SIGINT"))
        progress.on_event(ready(1))
    assert stdout.getvalue() == ""


def test_what_is_no_terminal_gets_the_result_but_no_moving_line() -> None:
    stdout, stderr = io.StringIO(), io.StringIO()
    with StartProgress(Settings(replicas=Replicas(count=1)), stdout, stderr, model=lambda: None) as progress:
        progress.on_event(LISTENING)
        progress.on_event(ready(1))
    assert stdout.getvalue().startswith("ready: 1 replica on http://127.0.0.1:8000")
    assert stderr.getvalue() == ""


def test_a_reader_that_left_does_not_hurt_the_daemon() -> None:
    stdout = io.StringIO()
    progress = StartProgress(Settings(replicas=Replicas(count=1)), stdout, io.StringIO(), model=lambda: None)
    stdout.close()
    progress.on_event(ready(1))


def test_a_models_name_with_a_quote_in_it_stays_one_argument_of_the_shell() -> None:
    import shlex

    line = ready_text(1, ("127.0.0.1:1",), "it's", 1.0).splitlines()[1].removeprefix("try:")
    assert shlex.split(line)[-1] == '{"model": "it\'s", "messages": [{"role": "user", "content": "Hello"}]}'


@pytest.mark.parametrize(
    ("text", "model"),
    [
        ("model_list: [{model_name: '*'}, {model_name: a}]", "a"),
        ("model_list: [{model_name: '${X}'}]", None),
        ("model_list: {}", None),
        ("- x", None),
        ("model_list: [", None),
    ],
)
def test_the_model_to_try_is_the_first_that_has_a_plain_name(tmp_path: Path, text: str, model: str | None) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(text)
    assert first_model(Settings(config=file)) == model
    assert first_model(Settings(config=tmp_path / "none.yaml")) is None
