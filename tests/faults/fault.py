"""One thing that is done to litesup on purpose: what it is, what a client may see at most, and why no more."""

from __future__ import annotations

from dataclasses import dataclass

NOTHING = "nothing"
WAIT = "a wait"


@dataclass(frozen=True, slots=True)
class Fault:
    """`held_by` is `module:attribute` below `supervisor`; `test` and `real` are `file::function`."""

    name: str
    done: str
    seen: str
    held_by: str
    test: str
    real: str = ""


def in_file(
    file: str, *faults: tuple[str, str, str, str, str] | tuple[str, str, str, str, str, str]
) -> tuple[Fault, ...]:
    """Those whose tests are there; each is told as a `Fault` is, its test without file and `test_`."""
    return tuple(Fault(*fault[:4], f"{file}::test_{fault[4]}", *fault[5:]) for fault in faults)
