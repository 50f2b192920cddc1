"""How soon each kind of change is taken up by litesup alone: from the save, by the daemon's own log.

    python -m benchmarks.changes --rounds 5

One pool of three at rest, with the settings that it has by default. Three kinds of change, one of each in every round:
a new model; a variable of the environment that LiteLLM is imported with, so that it is loaded anew; and a change with
an error in it, from the save to its refusal. Nothing but the loopback interface is used.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime

from benchmarks.machine import machine
from benchmarks.peers.pool import FAST, config_text
from tests.daemon import Daemon

KINDS = {
    "a new model": "rollout_completed",
    "a new environment": "rollout_completed",
    "an error": "configuration_change_refused",
}


def text(model: int, environment: int) -> str:
    config = config_text("http://127.0.0.1:9", [f"{FAST}-{model}"])
    return f"{config}\nenvironment_variables:\n  SSL_CERT_DIR: /etc/ssl/certs-{environment}\n"


def changed(kind: str, number: int) -> str:
    """Differs from what was in force before in this one respect: each round begins where the last one ended."""
    match kind:
        case "a new model":
            return text(number, number - 1)
        case "a new environment":
            return text(number, number)
        case _:
            return text(number, number).replace("model_name:", f"model_name{number}")


async def measure(rounds: int) -> Mapping[str, Sequence[float]]:
    """Seconds by kind, one per round."""
    seconds: dict[str, list[float]] = defaultdict(list)
    daemon = Daemon(text(0, 0), environment={"AZURE_OPENAI_API_KEY": "the-azure-key"})
    failure: BaseException | None = None
    try:
        await daemon.start()
        await daemon.ready()
        for number in range(1, rounds + 1):
            for kind, event in KINDS.items():
                await daemon.settled()
                await asyncio.sleep(1.0)
                seen, saved_at = len(daemon.events), time.time()
                daemon.save(changed(kind, number))
                told = await daemon.event(event, since=seen, within=120.0)
                seconds[kind].append(datetime.fromisoformat(told["timestamp"]).timestamp() - saved_at)
    except BaseException as error:
        failure = error
        raise
    finally:
        await daemon.clean_up(failure)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, choices=range(1, 21), default=5, metavar="N", help="1 to 20 (default: 5)")
    options = parser.parse_args()
    for name, value in machine().items():
        print(f"{name:<12} {value}")
    print(f"\nseconds from the save, {options.rounds} times{'':<6}median   fastest   slowest")
    for kind, each in asyncio.run(measure(options.rounds)).items():
        print(f"{kind:<36}{statistics.median(each):>6.2f}{min(each):>10.2f}{max(each):>10.2f}")


if __name__ == "__main__":
    main()
