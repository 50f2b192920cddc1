from __future__ import annotations

import json
import logging
import os
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import structlog
from pydantic import SecretStr

from supervisor import events
from supervisor.litellm_config.generation import Generation
from supervisor.observe.logs import LEVEL_OF_EVENT, Logging, event_name, set_up_logging
from supervisor.settings.schema import LogFormat, LogLevel
from supervisor.settings.schema import Logs as LogSettings

SECRET = "Zq9-very-secret-value"


class Output:
    """A log towards a file, and what is in it."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_APPEND)

    def text(self, log: Logging) -> str:
        assert log.sink.flush(30.0)
        return self.file.read_text()

    def records(self, log: Logging) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.text(log).splitlines()]


@pytest.fixture
def output(tmp_path: Path) -> Iterator[Output]:
    output = Output(tmp_path / "log")
    yield output
    os.close(output.descriptor)


@pytest.fixture
def start(output: Output) -> Iterator[Callable[..., Logging]]:
    started: list[Logging] = []

    def start(environ: Mapping[str, str] | None = None, **settings: Any) -> Logging:
        log = set_up_logging(LogSettings(**settings), environ or {}, descriptor=output.descriptor)
        started.append(log)
        return log

    yield start
    for log in reversed(started):
        log.close()


Start = Callable[..., Logging]


def test_what_is_no_terminal_gets_json_lines(start: Start, output: Output) -> None:
    log = start()
    structlog.get_logger().info("started", port=8000, where=Path("/x"), text="naïve")
    (record,) = output.records(log)
    assert (record["event"], record["level"], record["port"], record["text"]) == ("started", "info", 8000, "naïve")
    assert record["timestamp"].endswith("Z")
    assert list(record)[:3] == ["timestamp", "level", "event"]


def test_text_can_be_asked_for(start: Start, output: Output) -> None:
    log = start(format=LogFormat.TEXT)
    structlog.get_logger().warning("replica_suspect", slot=2)
    text = output.text(log)
    assert "replica_suspect" in text
    assert "slot=2" in text
    assert "\x1b" not in text


def test_the_level_is_a_threshold_for_everything(start: Start, output: Output) -> None:
    log = start(level=LogLevel.WARNING)
    structlog.get_logger().info("quiet")
    logging.getLogger("aiohttp.server").info("quiet too")
    structlog.get_logger().error("loud")
    assert [record["event"] for record in output.records(log)] == ["loud"]


def test_the_standard_librarys_log_takes_the_same_way(start: Start, output: Output) -> None:
    log = start()
    try:
        raise RuntimeError(f"with {SECRET}")
    except RuntimeError:
        logging.getLogger("asyncio").exception("Task exception was never retrieved: %s", 5)
    (record,) = output.records(log)
    assert record["event"] == "Task exception was never retrieved: 5"
    assert record["logger"] == "asyncio"
    assert "RuntimeError" in record["exception"]


def test_the_hunt_no_record_lets_a_secret_through(start: Start, output: Output) -> None:
    log = start({"PROVIDER_API_KEY": SECRET})
    logger = structlog.get_logger()
    logger.info("plain " + SECRET)  # noqa: G003 - the secret is to be part of the event itself
    logger.info("field", value=SECRET, nested={"x": [SECRET]}, bound=("y", SECRET), given=Exception(SECRET))
    logging.getLogger("x").warning("standard %s", SECRET)
    warnings.warn(f"warned {SECRET}", stacklevel=1)
    try:
        try:
            raise ValueError(SECRET)
        except ValueError as error:
            raise RuntimeError(f"outer {SECRET}") from error
    except RuntimeError:
        logger.exception("failed")
        logging.getLogger("y").exception("failed too")
        sys.excepthook(*sys.exc_info())
    log.log_event(events.ReplicaSuspect(1, 1, "gen", reason=f"said {SECRET}"))
    log.logbook.take(slot=1, replica=1, generation="gen", text=f"key={SECRET}")
    text = output.text(log)
    assert text.count("***") >= 12
    assert SECRET not in text


def test_a_generation_brings_its_secrets(start: Start, output: Output) -> None:
    log = start()
    generation = Generation(
        digest="aaaabbbbcccc",
        config_text="",
        environment={"NEW_API_KEY": "brand-new-secret"},
        master_key=SecretStr("master-key-without-shape"),
        source=Path("/x"),
        watched=(),
        adaptations=(),
    )
    log.hide(generation)
    structlog.get_logger().info("brand-new-secret", key="master-key-without-shape")
    (record,) = output.records(log)
    assert (record["event"], record["key"]) == ("***", "***")


def test_an_uncaught_exception_in_a_thread_is_a_record(start: Start, output: Output) -> None:
    log = start()

    def fail() -> None:
        raise RuntimeError("in a thread")

    thread = threading.Thread(target=fail)
    thread.start()
    thread.join()
    (record,) = output.records(log)
    assert (record["event"], record["level"]) == ("uncaught_exception", "critical")
    assert "in a thread" in record["exception"]


def test_the_file_watchers_own_remarks_are_not_told_and_its_warnings_are(start: Start, output: Output) -> None:
    log = start(level=LogLevel.DEBUG)
    watcher = logging.getLogger("watchfiles.main")
    watcher.info("1 change detected")
    watcher.warning("something is wrong")
    assert [record["event"] for record in output.records(log)] == ["something is wrong"]
    log.close()
    assert watcher.getEffectiveLevel() == logging.getLogger().level


def test_closing_gives_back_what_was_taken_over(start: Start) -> None:
    before = (sys.excepthook, threading.excepthook, logging.getLogger().handlers[:], logging.getLogger().level)
    log = start()
    assert sys.excepthook is not before[0]
    log.close()
    log.close()
    assert before == (sys.excepthook, threading.excepthook, logging.getLogger().handlers[:], logging.getLogger().level)


def test_in_the_journal_every_line_carries_its_priority(start: Start, output: Output) -> None:
    status = os.fstat(output.descriptor)
    log = start({"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}, format=LogFormat.TEXT)
    try:
        raise RuntimeError("broken")
    except RuntimeError:
        structlog.get_logger().exception("failed")
    lines = output.text(log).splitlines()
    assert len(lines) > 2
    assert {line[:3] for line in lines} == {"<3>"}


def test_every_event_becomes_one_record_with_its_fields(start: Start, output: Output) -> None:
    log = start(level=LogLevel.DEBUG)
    log.log_event(events.ReplicaReady(replica=7, slot=2, generation="gen", pid=99, seconds=0.4))
    log.log_event(events.ReplicaExited(replica=7, slot=2, generation="gen", pid=99, status="SIGKILL", expected=False))
    log.log_event(events.ReplicaExited(replica=8, slot=2, generation="gen", pid=98, status="exit 0", expected=True))
    log.log_event(events.RequestFinished("POST", "chat", 200, "answered", 1, 1, 0.1, "id"))
    log.log_event(events.RequestFinished("POST", "chat", 503, "unavailable", None, 1, 0.1, "id"))
    records = output.records(log)
    assert [(record["event"], record["level"]) for record in records] == [
        ("replica_ready", "info"),
        ("replica_exited", "warning"),
        ("replica_exited", "info"),
        ("request_finished", "debug"),
        ("request_finished", "warning"),
    ]
    assert {name: records[0][name] for name in ("replica", "slot", "generation", "pid", "seconds")} == {
        "replica": 7,
        "slot": 2,
        "generation": "gen",
        "pid": 99,
        "seconds": 0.4,
    }


def test_events_have_distinct_names_in_snake_case() -> None:
    kinds = [kind for kind in vars(events).values() if isinstance(kind, type) and issubclass(kind, events.Event)]
    names = [event_name(kind) for kind in kinds]
    assert len(set(names)) == len(names)
    assert "fork_server_lost" in names
    assert set(LEVEL_OF_EVENT) <= set(kinds)


def test_other_settings_apply_from_then_on_and_the_form_stays(start: Start, output: Output) -> None:
    log = start(level=LogLevel.WARNING, keep_lines=2)
    logger = structlog.get_logger()
    logger.info("before")
    log.log_event(events.DaemonStopping("before"))
    log.rule(LogSettings(level=LogLevel.INFO, keep_lines=5, buffer_lines=7, format=LogFormat.TEXT))
    logger.info("after")
    log.log_event(events.DaemonStopping("after"))
    assert [(record["event"], record.get("reason")) for record in output.records(log)] == [
        ("after", None),
        ("daemon_stopping", "after"),
    ]
    for number in range(9):
        log.logbook.take(slot=1, replica=1, generation="g", text=f"line {number}")
    assert [line.text for line in log.logbook._lines] == [f"line {number}" for number in range(4, 9)]


def test_what_litellm_says_of_a_request_waits_for_other_lines_and_nothing_else_does(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = start()
    written: list[tuple[str, bool]] = []
    monkeypatch.setattr(log.sink, "write", lambda line, *, soon: written.append((json.loads(line)["event"], soon)))
    for text in ('INFO:     127.0.0.1:0 - "POST /v1/chat/completions HTTP/1.1" 200 OK', "WARNING:  it is late"):
        log.logbook.take(slot=1, replica=1, generation="gen", text=text)
    structlog.get_logger().info("replica_ready")
    assert written == [("litellm", False), ("litellm", True), ("replica_ready", True)]
