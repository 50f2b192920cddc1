"""That looking for garbage holds up nobody.

A full collection passes through every object there is, and nothing else happens meanwhile: 15 ms and more for what the
daemon consists of, at any moment, with requests in flight. What it consists of stays until it ends, so collections may
leave that out. Requests leave nothing to be collected (a test holds them to that); failures may, a little.
"""

from __future__ import annotations

import gc

YOUNG = 10_000
"""Objects that come to be, beyond those that go, before the first of them are looked at: two megabytes at most."""


def spare_what_stays() -> None:
    """For this process, from now on: whatever there is stays out of collections. Call it once, when all is built."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG, *gc.get_threshold()[1:])
