"""What Prometheus may know about the pool: counted from events, and read from the status when it asks.

Label sets are bounded, whatever clients send: methods, statuses and routes outside a known set share one value.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, Counter, ProcessCollector
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily
from prometheus_client.registry import Collector

from supervisor import events
from supervisor.observe.tally import OTHER, RequestTally
from supervisor.status import Status

CONTENT_TYPE = CONTENT_TYPE_LATEST
MOST_SLOTS = 256
STATES = ("starting", "warming", "ready", "suspect", "draining", "stopping", "exited")
RETRY_REASONS = ("not sent", "lost", "given up")


class Metrics:
    """The registry of one daemon. `count` is a listener of its events."""

    def __init__(
        self, status: Callable[[], Status], *, dropped_lines: Callable[[], int], tasks: Callable[[], int] = lambda: 0
    ) -> None:
        """`tasks` counts those of the event loop; not in the status, because the more there are the longer it takes."""
        registry = self._registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        registry.register(_FromStatus(status, dropped_lines, tasks))
        self._killed: set[int] = set()  # by litesup, and not gone yet
        self._requests = RequestTally()
        registry.register(self._requests)
        self._retries = Counter(
            "litesup_request_retries",
            "Requests that went to another replica, by why: not sent (nothing reached the first one), lost (it ended), "
            "given up (it hangs).",
            ["reason"],
            registry=registry,
        )
        for reason in RETRY_REASONS:
            self._retries.labels(reason)  # so that a rate can be taken from the first one on
        self._suspected = Counter(
            "litesup_requests_suspected",
            "Requests that were in flight when two replicas ended or hung, and were not tried again.",
            registry=registry,
        )
        self._restarts = Counter(
            "litesup_replica_restarts",
            "Replicas that ended by themselves, were killed because they hung, or did not start; each is replaced.",
            ["slot", "reason"],
            registry=registry,
        )
        self._kills = Counter(
            "litesup_replica_kills",
            "Replicas that litesup killed, by why; the log has the whole reason.",
            ["slot", "reason"],
            registry=registry,
        )
        self._suspects = Counter(
            "litesup_replica_suspects",
            "How often a replica did not answer a probe after it had answered one.",
            ["slot"],
            registry=registry,
        )
        self._recycled = Counter(
            "litesup_replicas_recycled",
            "Replicas that were exchanged because they were worn out.",
            ["slot"],
            registry=registry,
        )
        self._reloads = Counter(
            "litesup_reloads",
            "Changes of the configuration, by how they ended: completed, failed, refused.",
            ["result"],
            registry=registry,
        )
        for result in ("completed", "failed", "refused"):
            self._reloads.labels(result)  # so that a rate can be taken from the first one on
        self._rollbacks = Counter(
            "litesup_operator_rollbacks", "How often the operator went back to a kept generation.", registry=registry
        )
        self._not_kept = Counter(
            "litesup_history_failures", "Good generations that could not be written to the history.", registry=registry
        )

    def count(self, event: events.Event) -> None:
        match event:
            case events.RequestFinished():
                self._requests.count(event)
            case events.RequestRetried():
                self._retries.labels(event.reason).inc()
            case events.RequestSuspected():
                self._suspected.inc()
            case events.ReplicaKilled():
                self._kills.labels(slot_label(event.slot), event.cause.value).inc()
                self._killed.add(event.replica)
            case events.ReplicaRecycled():
                self._recycled.labels(slot_label(event.slot)).inc()
            case events.ReplicaSuspect():
                self._suspects.labels(slot_label(event.slot)).inc()
            case events.ReplicaExited():
                killed = event.replica in self._killed
                self._killed.discard(event.replica)
                if not event.expected:
                    self._restarts.labels(slot_label(event.slot), "killed" if killed else event.status).inc()
            case events.ReplicaLaunchFailed():
                self._restarts.labels(slot_label(event.slot), "launch failed").inc()
            case events.RolloutCompleted():
                self._reloads.labels("completed").inc()
            case events.RolloutFailed():
                self._reloads.labels("failed").inc()
            case events.ConfigurationChangeRefused():
                self._reloads.labels("refused").inc()
            case events.RolledBackByOperator():
                self._rollbacks.inc()
            case events.GenerationNotKept():
                self._not_kept.inc()

    def text(self) -> bytes:
        """Prometheus's text format; see CONTENT_TYPE."""
        return generate_latest(self._registry)


class _FromStatus(Collector):
    """What is so at the moment of asking."""

    def __init__(
        self, status: Callable[[], Status], dropped_lines: Callable[[], int], tasks: Callable[[], int]
    ) -> None:
        self._status = status
        self._tasks = tasks
        self._dropped_lines = dropped_lines

    def describe(self) -> list[Metric]:
        return []  # asked for at registration, when there is no status yet

    def collect(self) -> Iterator[Metric]:
        status = self._status()
        balancer = status.balancer
        yield GaugeMetricFamily(
            "litesup_requests_in_flight", "Requests that replicas work on.", value=balancer.in_flight
        )
        yield GaugeMetricFamily("litesup_requests_waiting", "Requests in line for a replica.", value=balancer.waiting)
        yield GaugeMetricFamily(
            "litesup_held_bytes", "Request bodies kept for another replica, in bytes.", value=balancer.held_bytes
        )
        yield GaugeMetricFamily(
            "litesup_client_connections",
            "Clients connected, with a request or without.",
            value=balancer.clients,
        )
        yield CounterMetricFamily(
            "litesup_client_connections_turned_away",
            "Connections closed without an answer, because even the places beyond limits.connections were taken.",
            value=balancer.turned_away,
        )
        yield GaugeMetricFamily(
            "litesup_upstream_connections_idle",
            "Connections to replicas that are kept for the next request.",
            value=balancer.idle_upstream,
        )
        yield GaugeMetricFamily(
            "litesup_tasks", "Tasks of the daemon's event loop; at rest, about as many as ever.", value=self._tasks()
        )
        yield GaugeMetricFamily(
            "litesup_replicas_wanted", "How many replicas are wanted.", value=status.wanted_replicas
        )
        states = GaugeMetricFamily("litesup_replicas", "Replicas by state.", labels=["state"])
        for state in STATES:
            states.add_metric([state], sum(1 for replica in status.replicas if replica.state == state))
        yield states
        memory = GaugeMetricFamily(
            "litesup_replica_private_memory_bytes",
            "Memory that a replica shares with no other process, as of the last look at it.",
            labels=["slot"],
        )
        private: dict[str, int] = {}
        for replica in status.replicas:
            if replica.private_bytes is not None:
                label = slot_label(replica.slot)
                private[label] = private.get(label, 0) + replica.private_bytes
        for label, size in private.items():
            memory.add_metric([label], size)
        yield memory
        generation = GaugeMetricFamily(
            "litesup_generation_info", "The wanted generation, in a label.", labels=["generation"]
        )
        generation.add_metric([status.generation.wanted], 1)
        yield generation
        yield GaugeMetricFamily(
            "litesup_configuration_refused",
            "1 while the configuration on disk is refused and an older one serves.",
            value=int(status.generation.refused_at is not None),
        )
        yield GaugeMetricFamily(
            "litesup_serving_from_history",
            "1 while a kept generation serves and not what is on disk: rolled back, or started as the last good one.",
            value=int(bool(status.generation.note)),
        )
        info = GaugeMetricFamily("litesup_info", "Versions, in labels.", labels=["version", "litellm_version"])
        info.add_metric([status.daemon.version, status.daemon.litellm_version], 1)
        yield info
        yield CounterMetricFamily(
            "litesup_log_lines_dropped",
            "Log lines dropped because whoever reads the log was too slow.",
            value=self._dropped_lines(),
        )


def slot_label(slot: int) -> str:
    return str(slot) if slot < MOST_SLOTS else OTHER
