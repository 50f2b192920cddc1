"""Who hears of what."""

from __future__ import annotations

from supervisor.events import DaemonStopping, Event, Events, ReplicaEvent, ReplicaReady, ReplicaRecovered

READY = ReplicaReady(1, 1, "gen", 5, 0.1)
RECOVERED = ReplicaRecovered(1, 1, "gen")
STOPPING = DaemonStopping("told")


def test_a_listener_hears_of_everything_or_of_the_kinds_that_it_names_and_of_theirs():
    events = Events()
    every: list[Event] = []
    ready: list[Event] = []
    replicas: list[Event] = []
    events.publish(STOPPING)
    events.subscribe(every.append)
    events.subscribe(ready.append, ReplicaReady)
    unsubscribe = events.subscribe(replicas.append, ReplicaEvent)
    for event in (READY, RECOVERED, STOPPING):
        events.publish(event)
    unsubscribe()
    unsubscribe()
    events.publish(READY)
    assert every == [READY, RECOVERED, STOPPING, READY]
    assert ready == [READY, READY]
    assert replicas == [READY, RECOVERED]


def test_who_raises_keeps_nobody_from_hearing():
    events = Events()
    heard: list[Event] = []

    def fail(event: Event) -> None:
        raise RuntimeError(event)

    events.subscribe(fail)
    events.subscribe(heard.append)
    events.publish(READY)
    assert heard == [READY]


def test_who_subscribes_or_leaves_meanwhile_is_heard_of_from_the_next_event_on():
    events = Events()
    heard: list[Event] = []

    def once(event: Event) -> None:
        heard.append(event)
        leave()
        events.subscribe(heard.append, ReplicaReady)

    leave = events.subscribe(once)
    events.publish(READY)
    events.publish(READY)
    assert heard == [READY, READY]
