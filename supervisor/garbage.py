"""That looking for garbage holds up nobody.

A full collection passes through every object there is, and nothing else happens meanwhile: 15 ms and more for what the
daemon consists of, at any moment, with requests in flight. What it consists of stays until it ends, so collections may
leave that out. They are made as often as ever: requests leave nothing to be collected (a test holds them to that), but
failures do, and what is found late is memory that grows.
"""

from __future__ import annotations

import gc


def spare_what_stays() -> None:
    """For this process, from now on: whatever there is stays out of collections. Call it once, when all is built."""
    gc.collect()
    gc.freeze()
    # A full collection waits until what is new has become a quarter of what the last one has left. That counted all of
    # this: the first one would come after 17,000 new objects, each of which may hold a body. Now nothing is left.
    gc.collect()
