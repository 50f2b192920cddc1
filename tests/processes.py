"""The processes that a test has started in its own."""

from __future__ import annotations

import contextlib

import psutil


def children() -> list[int]:
    """Those that run. Launchers adopt orphans, so what other tests killed may still lie here, waiting to be reaped."""
    living = []
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.NoSuchProcess):
            if child.status() != psutil.STATUS_ZOMBIE:
                living.append(child.pid)
    return living
