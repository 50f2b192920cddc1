from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import socket
import stat
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest

from supervisor.control.client import ControlClient
from supervisor.control.lock import InstanceLock
from supervisor.control.operations import HistoryEntry, LogLine, ReloadOutcome, ReloadResult, SettingsOutcome
from supervisor.control.server import ControlServer
from supervisor.control.wire import SOCKET_NAME
from supervisor.errors import ConfigurationRefused, ExitCode, Finding, LitesupError, NoDaemon, Severity
from supervisor.status import SettingsStatus
from tests.eventually import eventually
from tests.scripted_operations import ScriptedOperations

T = TypeVar("T")


@pytest.fixture
def operations() -> ScriptedOperations:
    return ScriptedOperations()


@pytest.fixture
async def server(tmp_path: Path, operations: ScriptedOperations) -> AsyncIterator[ControlServer]:
    server = ControlServer(tmp_path / SOCKET_NAME, operations)
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
def client(tmp_path: Path, server: ControlServer) -> ControlClient:
    return ControlClient(tmp_path)


async def ask(function: Callable[..., T], *arguments: Any, **named: Any) -> T:
    return await asyncio.to_thread(function, *arguments, **named)


async def test_the_status_arrives_as_it_was_given(client: ControlClient, operations: ScriptedOperations) -> None:
    assert await ask(client.status) == operations.answer


async def test_what_became_of_the_settings_arrives_too(client: ControlClient, operations: ScriptedOperations) -> None:
    settings = SettingsOutcome(("queue.size (1 → 2)",), ("admin.port (1 → 2)",), ("no",), rolls=True)
    operations.outcome = ReloadOutcome(ReloadResult.UNCHANGED, "aaaa", settings=settings)
    assert await ask(client.reload, wait=False) == operations.outcome
    status = SettingsStatus("/etc/litesup.yaml", ("admin.port (1 → 2)",), 5.0, ("no",))
    operations.answer = dataclasses.replace(operations.answer, settings=status)
    assert await ask(client.status) == operations.answer


async def test_a_field_that_a_newer_daemon_added_does_not_hinder(
    client: ControlClient, operations: ScriptedOperations
) -> None:
    from supervisor.control.wire import status_from_json

    document = json.loads(json.dumps(operations.answer.as_json()))
    document["replicas"][0]["mood"] = "fine"
    document["daemon"]["colour"] = "blue"
    assert status_from_json(document) == operations.answer


async def test_the_history_arrives_as_it_was_sent(client: ControlClient, operations: ScriptedOperations) -> None:
    assert await ask(client.history) == ()
    operations.kept = (HistoryEntry("aaaa", 20.5, 30.0, "reload", True), HistoryEntry("bbbb", 1.0, 2.0, "start", False))
    assert await ask(client.history) == operations.kept


async def test_every_operation_arrives_with_its_arguments(
    client: ControlClient, operations: ScriptedOperations
) -> None:
    operations.outcome = ReloadOutcome(ReloadResult.REFUSED, "aaaabbbbcccc", ("a.yaml:3: error: no",))
    assert await ask(client.reload, wait=True) == operations.outcome
    assert await ask(client.rollback, "3f2a", wait=True) == operations.outcome
    assert await ask(client.rollback, None, wait=False) == operations.outcome
    assert await ask(client.restart, (2,)) == (2,)
    assert await ask(client.restart, ()) == (1, 2, 3)
    await ask(client.scale, 5)
    await ask(client.drain, 1)
    await ask(client.stop)
    assert operations.asked == [
        ("reload", True),
        ("rollback", "3f2a", True),
        ("rollback", None, False),
        ("restart", (2,)),
        ("restart", ()),
        ("scale", 5),
        ("drain", 1),
        ("stop",),
    ]


async def test_an_error_keeps_its_words_and_its_exit_code(
    client: ControlClient, operations: ScriptedOperations
) -> None:
    finding = Finding(Severity.ERROR, "reference-unset", "AZURE is not set", "Set it.", Path("c.yaml"), 4)
    operations.failures = {
        "drain": LitesupError("there is no slot 9"),
        "reload": ConfigurationRefused([finding]),
    }
    with pytest.raises(LitesupError, match="there is no slot 9") as failed:
        await ask(client.drain, 9)
    assert failed.value.exit_code is ExitCode.FAILED
    with pytest.raises(LitesupError, match=r"c\.yaml:4: error: AZURE is not set") as refused:
        await ask(client.reload, wait=True)
    assert refused.value.exit_code is ExitCode.REFUSED


async def test_what_the_daemon_did_not_expect_does_not_leave_it(
    client: ControlClient, operations: ScriptedOperations
) -> None:
    operations.failures = {"scale": RuntimeError("password is hunter2")}
    with pytest.raises(LitesupError, match="its log says how") as failed:
        await ask(client.scale, 2)
    assert "hunter2" not in str(failed.value)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/scale", b'{"count": 0}'),
        ("/scale", b'{"count": true}'),
        ("/scale", b"[]"),
        ("/scale", b"{"),
        ("/drain", b"{}"),
        ("/restart", b'{"slots": "1"}'),
        ("/reload", b'{"wait": "yes"}'),
        ("/rollback", b'{"wait": 1}'),
        ("/rollback", b'{"digest": 12}'),
        ("/rollback", b'{"digest": ""}'),
        ("/nothing", b"{}"),
    ],
)
async def test_a_request_that_makes_no_sense_is_refused_and_not_carried_out(
    client: ControlClient, operations: ScriptedOperations, path: str, body: bytes
) -> None:
    with pytest.raises(LitesupError) as refused:
        await ask(client._ask, "POST", path, _Verbatim(body))
    assert refused.value.exit_code is ExitCode.USAGE
    assert operations.asked == []


class _Verbatim(dict[str, Any]):
    """A body that is not what the client would send."""

    def __init__(self, text: bytes) -> None:
        super().__init__()
        self.text = text


@pytest.fixture(autouse=True)
def _verbatim_bodies(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = json.dumps

    def dumps(value: Any, **options: Any) -> str:
        return value.text.decode() if isinstance(value, _Verbatim) else plain(value, **options)

    monkeypatch.setattr("supervisor.control.client.json.dumps", dumps)


async def test_the_socket_is_its_owners_alone_from_its_first_moment(tmp_path: Path, server: ControlServer) -> None:
    assert stat.S_IMODE((tmp_path / SOCKET_NAME).stat().st_mode) == 0o600


async def test_a_socket_that_a_dead_daemon_left_behind_is_replaced(
    tmp_path: Path, operations: ScriptedOperations
) -> None:
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as dead:
        dead.bind(str(tmp_path / SOCKET_NAME))
    with pytest.raises(NoDaemon):
        ControlClient(tmp_path).status()
    server = ControlServer(tmp_path / SOCKET_NAME, operations)
    await server.start()
    assert await ask(ControlClient(tmp_path).status) == operations.answer
    await server.stop()
    assert not (tmp_path / SOCKET_NAME).exists()


def test_without_a_daemon_the_client_says_how_to_start_one(tmp_path: Path) -> None:
    with pytest.raises(NoDaemon, match=f"no daemon answers in {tmp_path}; start one with: litesup start"):
        ControlClient(tmp_path).status()


async def test_what_was_begun_is_finished_though_its_client_leaves(
    tmp_path: Path, server: ControlServer, operations: ScriptedOperations
) -> None:
    operations.hold = asyncio.Event()
    _reader, writer = await asyncio.open_unix_connection(str(tmp_path / SOCKET_NAME))
    writer.write(b"POST /restart HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{}")
    await eventually(lambda: operations.asked == [("restart", ())])
    writer.transport.abort()
    await eventually(lambda: not server._runner.server.connections)  # type: ignore[union-attr]
    operations.hold.set()
    await eventually(lambda: operations.completed == ["restart"])


async def test_stopping_does_not_wait_for_operations_or_followers(
    tmp_path: Path, server: ControlServer, client: ControlClient, operations: ScriptedOperations
) -> None:
    operations.hold = asyncio.Event()
    waiting = asyncio.create_task(ask(client.restart, ()))
    following = asyncio.create_task(ask(lambda: list(client.log_lines((), follow=True))))
    await eventually(lambda: bool(operations.asked) and operations.followers == 1)
    async with asyncio.timeout(10):
        await server.stop()
        await server.stop()
        with pytest.raises(LitesupError):
            await waiting
        assert await following == []
    assert operations.followers == 0


def line(number: int, slot: int = 1, text: str = "ready ✓") -> LogLine:
    return LogLine(at=1000.0 + number, slot=slot, replica=slot + 10, generation="3f2a91bc01d2", text=text)


async def test_log_lines_arrive_in_order_and_of_the_slots_that_were_named(
    client: ControlClient, operations: ScriptedOperations
) -> None:
    operations.lines = [line(1, 1), line(2, 2), line(3, 3)]
    assert await ask(lambda: list(client.log_lines((), follow=False))) == operations.lines
    assert await ask(lambda: list(client.log_lines((1, 3), follow=False))) == [line(1, 1), line(3, 3)]


async def test_a_follower_that_left_is_let_go_at_once(client: ControlClient, operations: ScriptedOperations) -> None:
    operations.lines = [line(1)]
    lines = client.log_lines((), follow=True)
    assert await ask(next, lines) == line(1)
    assert operations.followers == 1
    lines.close()  # type: ignore[attr-defined]
    await eventually(lambda: operations.followers == 0)


async def test_readers_of_the_log_are_not_without_number(
    client: ControlClient, operations: ScriptedOperations, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("supervisor.control.server.MOST_READERS", 1)
    operations.lines = [line(1)]
    first = client.log_lines((), follow=True)
    assert await ask(next, first) == line(1)
    with pytest.raises(LitesupError, match="1 readers of the log"):
        await ask(list, client.log_lines((), follow=True))
    first.close()  # type: ignore[attr-defined]


async def test_a_client_that_reads_nothing_is_cut_off(
    tmp_path: Path, server: ControlServer, operations: ScriptedOperations, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("supervisor.control.server.WRITE_TIMEOUT", 0.2)
    operations.lines = [line(number, text="x" * 1000) for number in range(3000)]
    _reader, writer = await asyncio.open_unix_connection(str(tmp_path / SOCKET_NAME), limit=1)
    writer.transport.pause_reading()  # type: ignore[attr-defined]
    writer.write(b"GET /logs?follow=1 HTTP/1.1\r\nhost: x\r\n\r\n")
    await eventually(lambda: operations.followers == 1)
    await eventually(lambda: operations.followers == 0)
    assert await ask(ControlClient(tmp_path).status) == operations.answer
    writer.transport.abort()


async def test_waiting_for_the_end_waits_for_the_process_and_not_only_for_its_socket(
    tmp_path: Path, server: ControlServer, client: ControlClient
) -> None:
    lock = InstanceLock(tmp_path)
    lock.acquire()
    await server.stop()
    seen = client.wait_gone(30.0)
    assert await ask(next, seen) is None
    lock.release()
    assert await ask(list, seen) == []
    assert client.gone()
