from __future__ import annotations

import asyncio
import configparser
import dataclasses
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from supervisor.settings.schema import Settings
from supervisor.status import Condition, Status
from supervisor.systemd import Notifier, status_text, watchdog_interval
from tests.eventually import eventually
from tests.scripted_operations import pool_status

UNIT = Path(__file__).parent.parent / "systemd/litesup.service"


class Systemd:
    """The receiving end of a notify socket."""

    def __init__(self, address: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(address.replace("@", "\0", 1) if address.startswith("@") else address)
        self._socket.setblocking(False)
        self.heard: list[str] = []

    def hear(self) -> list[str]:
        while True:
            try:
                self.heard += self._socket.recv(4096).decode().split("\n")
            except BlockingIOError:
                return self.heard

    def close(self) -> None:
        self._socket.close()


@pytest.fixture(params=["file", "abstract"])
def address(request: pytest.FixtureRequest, short_dir: Path) -> str:
    return str(short_dir / "notify") if request.param == "file" else f"@litesup-test-{short_dir.name}"


@pytest.fixture
def systemd(address: str) -> Iterator[Systemd]:
    systemd = Systemd(address)
    yield systemd
    systemd.close()


class Changing:
    def __init__(self, condition: Condition) -> None:
        self.condition = condition

    def __call__(self) -> Status:
        return pool_status(self.condition)


async def test_ready_is_said_once_and_only_when_a_replica_answers(address: str, systemd: Systemd) -> None:
    status = Changing(Condition.STARTING)
    notifier = asyncio.create_task(Notifier({"NOTIFY_SOCKET": address}).run(status))
    await eventually(lambda: len(systemd.hear()) > 4)
    assert "READY=1" not in systemd.heard
    assert "EXTEND_TIMEOUT_USEC=30000000" in systemd.heard
    status.condition = Condition.DEGRADED
    await eventually(lambda: "READY=1" in systemd.hear())
    notifier.cancel()
    assert systemd.hear().count("READY=1") == 1
    assert systemd.heard[-2].startswith("STATUS=degraded: 3 of 3 replicas ready")


async def test_the_watchdog_is_fed_twice_as_often_as_it_asks(address: str, systemd: Systemd) -> None:
    environ = {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "100000", "WATCHDOG_PID": str(os.getpid())}
    notifier = asyncio.create_task(Notifier(environ).run(Changing(Condition.READY)))
    await eventually(lambda: systemd.hear().count("WATCHDOG=1") >= 5)
    notifier.cancel()


async def test_a_long_drain_is_announced_and_goes_on_being_watched(address: str, systemd: Systemd) -> None:
    environ = {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "100000"}
    notifier = Notifier(environ)
    notifier.stopping(60.0)
    assert systemd.hear() == ["STOPPING=1", "EXTEND_TIMEOUT_USEC=90000000"]
    running = asyncio.create_task(notifier.run(Changing(Condition.STOPPING)))
    await eventually(lambda: systemd.hear().count("WATCHDOG=1") >= 2)
    running.cancel()
    assert "READY=1" not in systemd.hear()


async def test_without_systemd_nothing_is_said_and_nothing_waits() -> None:
    async with asyncio.timeout(5):
        await Notifier({}).run(Changing(Condition.READY))
    Notifier({"NOTIFY_SOCKET": "/nowhere/at/all"}).send("READY=1")


@pytest.mark.parametrize(
    ("environ", "interval"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "77"}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "78"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
    ],
)
def test_the_watchdogs_interval_is_half_of_what_is_allowed(environ: dict[str, str], interval: float | None) -> None:
    assert watchdog_interval(environ, pid=77) == interval


def test_the_status_fits_on_systemctls_line() -> None:
    assert status_text(pool_status()) == "ready: 3 of 3 replicas ready, generation 3f2a91bc01d2"


def test_systemctl_shows_that_a_kept_generation_serves() -> None:
    plain = pool_status()
    generation = dataclasses.replace(plain.generation, note="serving the last good configuration")
    assert "serving from the history" in status_text(dataclasses.replace(plain, generation=generation))


def unit() -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read(UNIT)
    return parser


def test_the_unit_leaves_time_for_the_drain_and_for_the_last_flush() -> None:
    settings = Settings()
    assert float(unit()["Service"]["TimeoutStopSec"]) > settings.stop.drain + settings.replicas.stop_timeout


def test_one_replica_that_runs_out_of_memory_does_not_end_the_others() -> None:
    assert unit()["Service"]["OOMPolicy"] == "continue"


def test_what_trying_again_cannot_mend_is_not_tried_again() -> None:
    assert unit()["Service"]["RestartPreventExitStatus"].split() == ["2", "3"]
    assert unit()["Unit"]["StartLimitIntervalSec"] == "0"


def test_the_unit_starts_the_last_good_configuration_where_the_present_one_cannot_be() -> None:
    assert "--last-good" in unit()["Service"]["ExecStart"].split()


def test_the_units_directories_are_private() -> None:
    service = unit()["Service"]
    assert {service["RuntimeDirectoryMode"], service["StateDirectoryMode"]} == {"0700"}
    assert service["UMask"] == "0077"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_systemd_has_nothing_against_the_unit(tmp_path: Path) -> None:
    copy = tmp_path / "litesup.service"
    copy.write_text(UNIT.read_text().replace("/opt/litesup/bin/litesup", sys.executable))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(copy)], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
