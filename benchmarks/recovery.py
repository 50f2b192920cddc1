"""How soon a replica that is killed is back, READY and warmed up, by the daemon's own log.

    python -m benchmarks.recovery --kills 20

One pool of three on an otherwise idle machine; one replica after the other gets SIGKILL, each after the pool has come
to rest. From the moment of the signal to the event `replica_ready` of that slot. Nothing but the loopback interface is
used.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import statistics
import time
from datetime import datetime

from benchmarks.machine import machine
from tests.daemon import Daemon


async def measure(kills: int) -> list[float]:
    """Seconds, one per kill."""
    seconds: list[float] = []
    daemon = Daemon(None, flags=["--demo"], settings={"restart": {"early": 0.1}})
    failure: BaseException | None = None
    try:
        await daemon.start()
        await daemon.ready()
        for number in range(kills):
            await asyncio.sleep(1.0)
            victim = await daemon.replica(number % 3 + 1)
            seen = len(daemon.events)
            killed_at = time.time()
            os.kill(victim["pid"], signal.SIGKILL)
            ready = await daemon.event("replica_ready", since=seen, slot=victim["slot"])
            seconds.append(datetime.fromisoformat(ready["timestamp"]).timestamp() - killed_at)
    except BaseException as error:
        failure = error
        raise
    finally:
        await daemon.clean_up(failure)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, choices=range(1, 101), default=20, metavar="N", help="1 to 100 (20)")
    options = parser.parse_args()
    for name, value in machine().items():
        print(f"{name:<12} {value}")
    seconds = asyncio.run(measure(options.kills))
    print(f"\nkill -9 to READY and warm, {len(seconds)} times: median {statistics.median(seconds):.2f} s,")
    print(f"fastest {min(seconds):.2f} s, slowest {max(seconds):.2f} s")


if __name__ == "__main__":
    main()
