"""The processes that a test has started: which run, and the end of some."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal

import psutil


class Children:
    """Calling it gives the children that run, without those that were there when it was made.

    Pools that the whole session shares are children too; and launchers adopt orphans, so that what other tests killed
    may still lie here, waiting to be reaped.
    """

    def __init__(self) -> None:
        self._older = {child.pid for child in psutil.Process().children()}

    def __call__(self) -> list[int]:
        living = []
        for child in psutil.Process().children():
            with contextlib.suppress(psutil.NoSuchProcess):
                if child.pid not in self._older and child.status() != psutil.STATUS_ZOMBIE:
                    living.append(child.pid)
        return living


async def kill(*pids: int) -> None:
    """Kills these processes (SIGKILL); returns when the last thread of each is gone, and its sockets are closed.

    A process counts as a zombie as soon as its first thread is one; until the others are, it can still be sent requests.
    """
    descriptors = [os.pidfd_open(pid) for pid in pids]
    try:
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        async with asyncio.timeout(30):
            for descriptor in descriptors:
                await _readable(descriptor)
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


async def _readable(descriptor: int) -> None:
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    loop.add_reader(descriptor, readable.set)
    try:
        await readable.wait()
    finally:
        loop.remove_reader(descriptor)
