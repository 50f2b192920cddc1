"""What the provider of a soak says."""

from __future__ import annotations

import random
from collections.abc import Callable

from tests.fake_azure import Answer, FakeAzure, Outcome, Seen

LONG_ANSWER = 1_000_000  # characters
STREAM_CHUNKS = 8


def answers(azure: FakeAzure, seed: int) -> Callable[[Seen], Answer]:
    """What the provider says: the token of the request, after a while. Forgets what it has answered."""
    source = random.Random(f"{seed}/azure")

    def choose(seen: Seen) -> Answer:
        if len(azure.requests) > 500:
            azure.requests[:] = still_open(azure)
        what, _, token = seen.prompt.partition(" ")
        delay = source.uniform(0.01, 0.5)
        if what == "long":
            return Answer(text=f"{token} {'x' * LONG_ANSWER}", delay=delay)
        return Answer(text=token, delay=delay, chunks=STREAM_CHUNKS, pause=source.uniform(0.01, 0.2))

    return choose


def still_open(azure: FakeAzure) -> list[Seen]:
    return [seen for seen in azure.requests if seen.outcome is Outcome.OPEN]
