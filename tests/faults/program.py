"""The `litesup` command over replicas that are not LiteLLM, in a world that a test can spoil.

    python -m tests.faults.program start …

Everything else is the product's: the command line, the daemon, the launchers. Steered by environment variables:

    TEST_CLOCK=PATH      the wall clock is wrong by as many seconds as that file says; the monotonic one is not
    TEST_NO_NAMES=1      no name can be resolved
    TEST_HURRY=1         who is worn out is looked for all the time, and nobody is too young for it
    TEST_WITHOUT=NAME    one protection is taken out: see `without`
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import os
import socket
import time
from pathlib import Path
from typing import Any


def main() -> None:
    if path := os.environ.get("TEST_CLOCK"):
        _wrong_clock(Path(path))
    if os.environ.get("TEST_NO_NAMES"):
        _no_names()
    _other_replicas()
    if os.environ.get("TEST_HURRY"):
        _hurry()
    if name := os.environ.get("TEST_WITHOUT"):
        from tests.faults.without import take_out

        take_out(name)
    from supervisor.cli import main as cli

    cli.main()


def _other_replicas() -> None:
    from supervisor.lean import load_structlog
    from tests.fake_litellm import PROGRAM

    load_structlog()  # as `start` does, before what it loads here already
    start: Any = importlib.import_module("supervisor.start")
    daemon: Any = importlib.import_module("supervisor.daemon")

    start.head_start = functools.partial(start.head_start, program=PROGRAM)
    daemon.make_launcher = functools.partial(daemon.make_launcher, program=PROGRAM)


def _hurry() -> None:
    recycler: Any = importlib.import_module("supervisor.fleet.recycler")
    recycling: Any = importlib.import_module("supervisor.policy.recycling")
    recycler.Recycler.__init__.__kwdefaults__["look_every"] = 0.1
    recycling.YOUNG = 0.0


def _wrong_clock(path: Path) -> None:
    right = time.time

    def wrong() -> float:
        with contextlib.suppress(OSError, ValueError):
            return right() + float(path.read_text())
        return right()

    time.time = wrong


def _no_names() -> None:
    """For whatever resolves through Python; numbers are no names."""
    real = socket.getaddrinfo

    def numbers_only(host: Any, *arguments: Any, **options: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else str(host or "")
        if name and not name.replace(".", "").replace(":", "").isalnum() | name[-1:].isdigit():
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return real(host, *arguments, **options)

    socket.getaddrinfo = numbers_only


if __name__ == "__main__":
    main()
