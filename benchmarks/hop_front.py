"""litesup's balancer alone, as the daemon runs it, in front of sockets that somebody else serves.

    python -m benchmarks.hop_front PORT SOCKET...

With the listeners that the daemon has (log, metrics), because what they cost is part of the hop. Runs until SIGTERM.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import uvloop
from pydantic import SecretStr

from supervisor import rules
from supervisor.balancer.server import Balancer
from supervisor.events import Events
from supervisor.garbage import spare_what_stays
from supervisor.observe.logs import set_up_logging
from supervisor.observe.metrics import Metrics
from supervisor.rotation import Upstream
from supervisor.settings.schema import Settings
from supervisor.status import Status


def _nobody_asks() -> Status:
    raise RuntimeError("no health path is asked for in this measurement")


async def serve(port: int, sockets: list[Path]) -> None:
    settings = Settings.model_validate({"balancer": {"host": ["127.0.0.1"], "port": port, "slow_start": 0}})
    logging = set_up_logging(settings.logs, os.environ)
    events = Events()
    events.subscribe(logging.log_event)
    events.subscribe(Metrics(_nobody_asks, dropped_lines=logging.dropped).count)
    rotation = rules.rotation(settings)
    balancer = Balancer(rotation=rotation, settings=settings, events=events, health=_nobody_asks)
    await balancer.start()
    for slot, path in enumerate(sockets, 1):
        rotation.add(Upstream(slot, slot, "measured", path, SecretStr("sk-measured")))
    spare_what_stays()
    over = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, over.set)
    await over.wait()
    await balancer.stop(0.1)
    logging.close()


def main() -> None:
    port, *sockets = sys.argv[1:]
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(int(port), [Path(each) for each in sockets]))


if __name__ == "__main__":
    main()
