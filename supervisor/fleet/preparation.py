"""Getting the launcher ready for a generation before any replica of it is asked for.

Loading LiteLLM takes seconds in which nothing of a roll-out is to happen yet, and in which the old generation has to be
launchable as ever. Owned by the pool, which says which generations may be launched; what becomes of it is told as a
message.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Protocol

from supervisor.errors import LaunchFailed
from supervisor.fleet.launch.spec import Launcher
from supervisor.fleet.messages import Message, Prepared
from supervisor.litellm_config.generation import Generation


class Group(Protocol):
    """Of `asyncio.TaskGroup`, what is used here."""

    def create_task(self, coroutine: Coroutine[Any, Any, None], *, name: str) -> Task | None: ...


class Task(Protocol):
    def cancel(self) -> bool: ...

    def done(self) -> bool: ...


class Preparation:
    """Without a launcher there is nothing to get ready."""

    def __init__(self, launcher: Launcher | None, post: Callable[[Message], None]) -> None:
        self._launcher = launcher
        self._post = post
        self._launchable: tuple[str, ...] = ()
        self._loading = ""
        self._failed: dict[str, str] = {}
        self._tasks: list[Task] = []

    def follow(self, launchable: Sequence[Generation], group: Group | None) -> None:
        """These may be launched from now on, the one that is wanted first. Does nothing while that stays so."""
        digests = tuple(generation.digest for generation in launchable)
        if self._launcher is None or group is None or digests == self._launchable:
            return
        before, self._launchable = self._launchable, digests
        self._failed = {digest: why for digest, why in self._failed.items() if digest in digests}
        wanted = launchable[0] if launchable and digests[0] not in before else None
        self._loading = digests[0] if wanted is not None else self._loading if self._loading in digests else ""
        task = group.create_task(self._prepare(self._launcher, tuple(launchable), wanted), name="prepare")
        if task is not None:
            self._tasks = [*(each for each in self._tasks if not each.done()), task]

    def stop(self) -> None:
        """Nobody needs it any more."""
        for task in self._tasks:
            task.cancel()

    def loading(self, digest: str) -> bool:
        return self._loading == digest

    def failure(self, digest: str) -> str:
        """Why nothing of this generation can be launched, or ""."""
        return self._failed.get(digest, "")

    def note(self, message: Prepared) -> None:
        if self._loading == message.generation:
            self._loading = ""
        if message.error and message.generation in self._launchable:
            self._failed[message.generation] = message.error

    async def _prepare(self, launcher: Launcher, launchable: Sequence[Generation], wanted: Generation | None) -> None:
        await launcher.keep([generation.environment for generation in launchable])
        if wanted is None:
            return
        error = ""
        try:
            await launcher.prepare(wanted.environment)
        except (LaunchFailed, OSError) as failed:
            error = str(failed)
        except Exception as bug:  # of ours, and no reason to wait for ever
            error = f"internal error: {type(bug).__name__}: {bug}"
        self._post(Prepared(wanted.digest, error))
