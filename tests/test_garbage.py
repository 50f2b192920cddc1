"""What collections of garbage look at, and what they find."""

from __future__ import annotations

import subprocess
import sys

CHILD = """\
import gc
import time
import weakref

import supervisor.daemon
from supervisor.garbage import spare_what_stays

class Loop:
    def __init__(self):
        self.me = self

before = len(gc.get_objects())
spare_what_stays()
assert len(gc.get_objects()) < before / 10, "what is there is still looked at"
assert gc.isenabled()
lost = weakref.ref(Loop())
left = [Loop() for _ in range(2 * gc.get_threshold()[0])]
assert lost() is None, "what became garbage since is not found"

lives = Loop()
lost = weakref.ref(lives)
gc.collect(1)  # it is old now, and only a full collection finds it
gc.set_threshold(10, 2, 2)
del lives
left += [Loop() for _ in range(1000)]
assert lost() is None, "what became garbage late is found only among ten thousands"
"""


def test_what_the_daemon_is_built_of_is_spared_and_what_becomes_garbage_later_is_found():
    done = subprocess.run([sys.executable, "-c", CHILD], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
