"""What clients see while replicas are killed or stopped, again and again.

    python -m benchmarks.faults                                 kill -9, 20 times in 60 s
    python -m benchmarks.faults --signal STOP --hold 2          stopped for 2 s each, 20 times in 60 s
    python -m benchmarks.faults --signal STOP --blows 4         stopped for good: each is found hung, and replaced

One pool of three of the real LiteLLM with the default settings, before a provider that takes 0.3 s to answer; 16
clients, half of them with streams of about a second. A replica that serves is picked at random (--seed). Nothing but
the loopback interface is used. Ends with 1 if it does not hold: if a plain request failed, a stream did not begin, or
ended elsewhere than on a replica that was struck, or a first byte took too long (--longest).
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
import time
from collections import Counter

from benchmarks.command import INTERRUPTED
from benchmarks.left_over import nothing_left
from benchmarks.machine import machine
from benchmarks.peers.pool import config_text
from tests.assault import Assault, Report
from tests.daemon import Daemon
from tests.fake_azure import Answer, FakeAzure

KEY = "the-azure-key"
ANSWER = Answer(delay=0.3, chunks=10, pause=0.1)
SIGNALS = {"KILL": signal.SIGKILL, "STOP": signal.SIGSTOP}


async def measure(options: argparse.Namespace) -> tuple[Report, Counter[str], float]:
    """What the clients saw, how often each of the daemon's events came, and how many seconds it took."""
    number = SIGNALS[options.signal]
    for_good = number is signal.SIGSTOP and options.hold is None
    async with FakeAzure(api_key=KEY, answer=ANSWER) as azure:
        daemon = Daemon(config_text(azure.url), environment={"AZURE_OPENAI_API_KEY": KEY})
        async with daemon:
            since = len(daemon.events)
            async with Assault(daemon, clients=options.clients, seed=options.seed) as assault:
                begun = time.monotonic()
                for turn in range(options.blows):
                    await asyncio.sleep(max(0.0, begun + turn * options.seconds / options.blows - time.monotonic()))
                    await assault.strike(number, hold=options.hold)
                    if for_good:
                        # It still looks ready until its next probe, so this waits for what litesup says of it.
                        await daemon.event("replica_killed", since=since, within=60, replica=assault.blows[-1].replica)
                        await daemon.settled()
                await assault.settled()
            events = Counter(str(event.get("event")) for event in daemon.events[since:])
            events.update(f"retried: {event['reason']}" for event in daemon.find("request_retried", since=since))
            return assault.report(), events, time.monotonic() - begun


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--signal", choices=sorted(SIGNALS), default="KILL", help="what the replicas get (KILL)")
    parser.add_argument("--blows", type=int, choices=range(1, 201), default=20, metavar="N", help="1 to 200 (20)")
    parser.add_argument("--seconds", type=float, default=60.0, help="over which the blows are spread (60)")
    parser.add_argument("--hold", type=float, help="of STOP: seconds after which the replica goes on; unset: never")
    parser.add_argument("--clients", type=int, choices=range(2, 129), default=16, metavar="N", help="2 to 128 (16)")
    parser.add_argument("--longest", type=float, default=10.0, help="seconds that a first byte may take (10)")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    if options.hold is not None and options.signal != "STOP":
        parser.error("--hold is for --signal STOP: what is killed does not go on")
    for name, value in machine().items():
        print(f"{name:<16} {value}")
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with nothing_left():
            report, events, seconds = asyncio.run(measure(options))
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    finally:
        signal.signal(signal.SIGTERM, before)
    print(f"\n{options.blows} times SIG{options.signal}, {options.clients} clients, {seconds:.0f} s in all")
    for line in report.lines():
        print(line)
    told = ("replica_suspect", "replica_recovered", "replica_killed", "replica_exited", "replica_ready")
    for name in (*told, *sorted(name for name in events if name.startswith("retried: "))):
        print(f"{name:<24} {events[name]}")
    for result in report.failed[:5]:
        print(f"failed: {result}", file=sys.stderr)
    if report.longest > options.longest:
        print(f"failed: a request waited longer than {options.longest:g} s for its first byte", file=sys.stderr)
    broken = report.failed or report.unexplained or report.unseen or report.longest > options.longest
    print("does not hold" if broken else "holds")
    sys.exit(1 if broken else 0)


if __name__ == "__main__":
    main()
