"""Everything that is done to litesup on purpose, as data.

`docs/faults.md` is written from here (`python -m tests.faults.page`). Each fault has a test with real processes in this
directory, and names the protection without which that test would fail. `real` is a test of the same with the real
LiteLLM.
"""

from __future__ import annotations

from tests.faults.fault import Fault
from tests.faults.of_the_pool import ANSWERS, LAUNCH, REPLICAS
from tests.faults.of_the_rest import CHANGES, CLIENTS, DAEMON

SECTIONS: dict[str, tuple[Fault, ...]] = {
    "Replicas that die, hang or are in a bad way": REPLICAS,
    "Answers that are none": ANSWERS,
    "Changes and files": CHANGES,
    "The fork server": LAUNCH,
    "The daemon, and the machine under it": DAEMON,
    "Clients": CLIENTS,
}
FAULTS: tuple[Fault, ...] = tuple(fault for faults in SECTIONS.values() for fault in faults)


def named(name: str) -> Fault:
    """Raises KeyError."""
    return {fault.name: fault for fault in FAULTS}[name]
