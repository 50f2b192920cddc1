"""What happened: typed, immutable records, and the one place where they are announced.

Logging, metrics and whoever follows the log are listeners; nothing in here knows them. An event never carries a
secret. Durations are in seconds.
"""

from __future__ import annotations

import contextlib
import enum
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar


class Event:
    """The base of all events. The class name, in snake case, is the event's name in logs and metrics."""

    __slots__ = ()
    __dataclass_fields__: ClassVar[dict[str, Any]]  # each of them is a dataclass


@dataclass(frozen=True, slots=True)
class DaemonStarted(Event):
    version: str
    pid: int
    listening: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DaemonStopping(Event):
    reason: str


@dataclass(frozen=True, slots=True)
class ForkServerStarted(Event):
    pid: int
    seconds: float


@dataclass(frozen=True, slots=True)
class ForkServerLost(Event):
    reason: str


@dataclass(frozen=True, slots=True)
class MemoryTight(Event):
    """A second fork server is loaded beside the one that runs, and there is less memory than that one takes."""

    available_bytes: int
    needed_bytes: int


@dataclass(frozen=True, slots=True)
class LauncherFellBack(Event):
    """The fork server cannot be used, so replicas are started plainly from now on."""

    reason: str


@dataclass(frozen=True, slots=True)
class ReplicaEvent(Event):
    """Something about one replica. `replica` is the process's number, `slot` the place that it fills."""

    replica: int
    slot: int
    generation: str


@dataclass(frozen=True, slots=True)
class ReplicaSpawned(ReplicaEvent):
    pid: int
    reason: str


@dataclass(frozen=True, slots=True)
class ReplicaLaunchFailed(ReplicaEvent):
    reason: str


@dataclass(frozen=True, slots=True)
class ReplicaWarmUpIncomplete(ReplicaEvent):
    """The replica serves, but its first real request will be slower than the next ones."""

    reason: str


@dataclass(frozen=True, slots=True)
class ReplicaReady(ReplicaEvent):
    pid: int
    seconds: float


@dataclass(frozen=True, slots=True)
class ReplicaSuspect(ReplicaEvent):
    reason: str


@dataclass(frozen=True, slots=True)
class ReplicaRecovered(ReplicaEvent):
    pass


@dataclass(frozen=True, slots=True)
class ReplicaDraining(ReplicaEvent):
    reason: str


@dataclass(frozen=True, slots=True)
class ReplicaRecycled(ReplicaEvent):
    """It is worn out and gets exchanged. Without `surge` it goes first: memory does not allow two in its place."""

    reason: str
    surge: bool


class KillCause(enum.StrEnum):
    """Why litesup kills, in so few words that they can be a metric's label."""

    HUNG = "hung"
    DID_NOT_START = "did not start"
    DID_NOT_END = "did not end"
    UNFIT = "unfit"
    TOLD = "told"
    INTERNAL = "internal error"


@dataclass(frozen=True, slots=True)
class ReplicaKilled(ReplicaEvent):
    """litesup sent SIGKILL, and why."""

    cause: KillCause
    reason: str


@dataclass(frozen=True, slots=True)
class ReplicaExited(ReplicaEvent):
    """The process is gone. `status` reads like "exit 3" or "SIGKILL"; `expected` is true when litesup asked for it."""

    pid: int
    status: str
    expected: bool


@dataclass(frozen=True, slots=True)
class RestartDelayed(Event):
    slot: int
    seconds: float
    failures: int


@dataclass(frozen=True, slots=True)
class ConfigurationChangeRefused(Event):
    """The new configuration has errors; the old generation keeps serving."""

    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SettingsApplied(Event):
    """litesup.yaml has changed, and this of it is in force from now on. Each text names old and new value."""

    changes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SettingsNeedRestart(Event):
    """This of litesup.yaml comes into force when the daemon is started again; all of it, old and new."""

    changes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SettingsRefused(Event):
    """litesup.yaml has errors; the settings in force stay."""

    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ConfigurationAdapted(Event):
    message: str


@dataclass(frozen=True, slots=True)
class RolloutStarted(Event):
    generation: str
    previous: str | None
    reason: str


@dataclass(frozen=True, slots=True)
class RolloutCompleted(Event):
    generation: str
    seconds: float


@dataclass(frozen=True, slots=True)
class RolloutFailed(Event):
    """The generation was given up; `kept` goes on serving, and the failed one is not tried again until told."""

    generation: str
    kept: str | None
    reason: str


@dataclass(frozen=True, slots=True)
class RequestRetried(Event):
    """A request goes to another replica because this one gave no answer. `reason` is a policy.retry.Failure's text."""

    replica: int
    slot: int
    route: str
    reason: str
    request_id: str


@dataclass(frozen=True, slots=True)
class RequestSuspected(Event):
    """A request was in flight when two replicas ended or hung, and is not tried again: it may be why.

    `path` is without the query; `model` is empty where it could not be told.
    """

    replicas: tuple[int, ...]
    method: str
    path: str
    model: str
    request_id: str


@dataclass(frozen=True, slots=True)
class RolledBackByOperator(Event):
    """`litesup rollback`: `generation` is wanted from now on, and the file on disk is left alone until it changes."""

    generation: str
    previous: str


@dataclass(frozen=True, slots=True)
class LastGoodStarted(Event):
    """What the files describe cannot be started, so the last good generation is. `kept_at` is Unix seconds."""

    generation: str
    kept_at: float
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class GenerationKept(Event):
    """It has proved good, and is in the history."""

    generation: str


@dataclass(frozen=True, slots=True)
class GenerationNotKept(Event):
    """It serves, but the history could not be written: a later start could not go back to it."""

    generation: str
    reason: str


@dataclass(frozen=True, slots=True)
class HistorySkipped(Event):
    """Something in the history cannot be used."""

    reason: str


@dataclass(slots=True)
class RequestFinished(Event):
    """One request through the balancer, after its last byte.

    `route` is a name from a small fixed set, never the raw path. `status` is what the client got (0 when it left
    first). `replica` is the slot that answered, None when the balancer did by itself. `outcome` is one of "answered",
    "client_gone", "cut", "refused", "unavailable". `waited` is the part of `seconds` that it stood in line. Nobody
    changes it; it is not frozen, because that makes it three times as dear, and there is one for every request.
    """

    method: str
    route: str
    status: int
    outcome: str
    slot: int | None
    attempts: int
    seconds: float
    request_id: str
    waited: float = 0.0


Listener = Callable[[Event], None]


class Events:
    """Announces events to listeners, in order, in the caller's own turn of the loop.

    A listener must neither block nor raise; one that raises is dropped from that announcement only, so that telling
    about a failure can never become one.
    """

    def __init__(self) -> None:
        self._listeners: list[tuple[Listener, tuple[type[Event], ...]]] = []
        self._hearing: dict[type[Event], tuple[Listener, ...]] = {}  # who hears of what, as far as it has happened

    def subscribe(self, listener: Listener, *kinds: type[Event]) -> Callable[[], None]:
        """Adds a listener, to all events or to those of these kinds; the returned function removes it.

        Calling that twice does nothing.
        """
        subscription = (listener, kinds or (Event,))
        self._listeners.append(subscription)
        self._hearing.clear()

        def unsubscribe() -> None:
            with contextlib.suppress(ValueError):
                self._listeners.remove(subscription)
            self._hearing.clear()

        return unsubscribe

    def publish(self, event: Event) -> None:
        hearing = self._hearing.get(type(event))
        if hearing is None:
            hearing = tuple(listener for listener, kinds in self._listeners if isinstance(event, kinds))
            self._hearing[type(event)] = hearing
        for listener in hearing:
            try:  # noqa: SIM105  with every request: suppress() is a call and an object more
                listener(event)
            except Exception:  # noqa: S110  telling about a failure must not become one
                pass

    @contextlib.contextmanager
    def collected(self) -> Iterator[list[Event]]:
        """Everything announced inside the block, for tests and short commands."""
        seen: list[Event] = []
        unsubscribe = self.subscribe(seen.append)
        try:
            yield seen
        finally:
            unsubscribe()
