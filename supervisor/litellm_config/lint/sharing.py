"""Rules about what replicas count, each for itself, where no Redis lets them count together."""

from __future__ import annotations

from collections.abc import Iterator

from supervisor.errors import Severity
from supervisor.litellm_config.document import MapNode, Node, Path_, Scalar
from supervisor.litellm_config.lint.rule import Remark, Subject, rule

_LIMITS = (
    "rpm",
    "tpm",
    "itpm",
    "otpm",
    "max_parallel_requests",
    "default_api_key_rpm_limit",
    "default_api_key_tpm_limit",
)
_GENERAL_LIMITS = (
    ("general_settings", "max_parallel_requests"),
    ("general_settings", "global_max_parallel_requests"),
    ("router_settings", "default_max_parallel_requests"),
)
_COUNTING = frozenset({"usage-based-routing", "usage-based-routing-v2", "least-busy", "provider-budget-routing"})
_VARIABLES = ("REDIS_HOST", "REDIS_URL", "REDIS_CLUSTER_NODES", "REDIS_SENTINEL_NODES")
_HINT = "Share a Redis (config/redis.yaml shows how), or divide it by the number of replicas."


def shares_redis(subject: Subject) -> bool:
    """Whether LiteLLM has a Redis in which its replicas count together."""
    if any(subject.environ.get(name) for name in _VARIABLES):
        return True
    if any(subject.setting("router_settings", name) is not None for name in ("redis_host", "redis_url")):
        return True
    if subject.setting("general_settings", "coordination_redis") is not None:
        return True
    if subject.resolved(subject.setting("litellm_settings", "cache")) is not True:
        return False
    kind = subject.text(subject.section("litellm_settings", "cache_params"), "type")
    return kind in {"", "redis"}


@rule(
    "limit-per-replica",
    Severity.NOTE,
    "A limit that each replica counts alone.",
    example="model_list: [{model_name: a, litellm_params: {model: openai/gpt-4o, rpm: 100}}]\n",
    step="Share a Redis, as config/redis.yaml does, or divide the limit by the number of replicas.",
)
def limit_per_replica(subject: Subject) -> Iterator[Remark]:
    """Without Redis a LiteLLM knows only of the requests that it serves itself: with three replicas the pool allows
    three times `rpm`, `tpm` and `max_parallel_requests`."""
    replicas = subject.around.replicas
    if replicas is None or replicas < 2 or shares_redis(subject):
        return
    found: dict[str, list[tuple[Node, Path_]]] = {}
    for deployment in subject.deployments():
        for name in _LIMITS:
            node = deployment.params.get(name)
            if isinstance(node, Scalar) and node.value is not None:
                found.setdefault(name, []).append((node, deployment.path("litellm_params", name)))
    for section, name in _GENERAL_LIMITS:
        node = subject.setting(section, name)
        if node is not None:
            found.setdefault(name, []).append((node, (section, name)))
    for name, places in found.items():
        node, path = places[0]
        more = f", and so on for {len(places) - 1} more" if len(places) > 1 else ""
        message = f"Each replica counts `{name}` alone: the pool allows {replicas} times {_shown(subject, node)}{more}."
        yield Remark(node, message, _HINT, path)


def _shown(subject: Subject, node: Node) -> str:
    value = subject.resolved(node)
    return str(value) if isinstance(value, int | float) else "that"


@rule(
    "budget-per-replica",
    Severity.WARNING,
    "A budget that each replica counts alone.",
    example="router_settings: {provider_budget_config: {openai: {budget_limit: 10, time_period: 1d}}}\n",
    step="Share a Redis, as config/redis.yaml does.",
)
def budget_per_replica(subject: Subject) -> Iterator[Remark]:
    """Without Redis each replica adds up what it has spent itself, and forgets it when it is replaced. The pool may
    spend several times the budget before anybody is refused."""
    replicas = subject.around.replicas
    if replicas is None or replicas < 2 or shares_redis(subject):
        return
    places: list[tuple[Node, Path_]] = []
    if (providers := subject.setting("router_settings", "provider_budget_config")) is not None:
        places.append((providers, ("router_settings", "provider_budget_config")))
    if not subject.has_database and (budget := subject.setting("litellm_settings", "max_budget")) is not None:
        places.append((budget, ("litellm_settings", "max_budget")))
    for deployment in subject.deployments():
        node = deployment.params.get("max_budget")
        if isinstance(node, Scalar) and node.value is not None:
            places.append((node, deployment.path("litellm_params", "max_budget")))
    for node, path in places:
        if isinstance(subject.resolved(node), str):
            continue  # no amount at all, which `wrong-type` says
        message = f"Each replica counts this budget alone: the pool may spend {replicas} times as much."
        yield Remark(node, message, "Share a Redis: config/redis.yaml shows how.", path)


@rule(
    "cache-per-replica",
    Severity.NOTE,
    "A cache that each replica keeps for itself.",
    example="litellm_settings: {cache: true, cache_params: {type: local}}\n",
    step="Use a cache of type redis if the same answer should be found by every replica.",
)
def cache_per_replica(subject: Subject) -> Iterator[Remark]:
    """A repeated question is answered from the cache only if it reaches the same replica, and a replaced replica
    begins with an empty one."""
    replicas = subject.around.replicas
    if replicas is None or replicas < 2 or subject.resolved(subject.setting("litellm_settings", "cache")) is not True:
        return
    params = subject.section("litellm_settings", "cache_params")
    if isinstance(params, MapNode) and subject.text(params, "type") == "local":
        message = f"Each of the {replicas} replicas keeps a cache of its own."
        hint = "Use `type: redis` if every replica should find what another has answered."
        yield Remark(params.get("type"), message, hint, ("litellm_settings", "cache_params", "type"))


@rule(
    "routing-per-replica",
    Severity.NOTE,
    "A routing strategy that sees only its own replica's requests.",
    example="router_settings: {routing_strategy: least-busy}\n",
    step="Share a Redis, or use simple-shuffle, which needs to know nothing.",
)
def routing_per_replica(subject: Subject) -> Iterator[Remark]:
    """Strategies that count usage or running requests count those of their own replica, unless Redis is shared; what
    the others send to a deployment they do not see."""
    replicas = subject.around.replicas
    strategy = subject.setting("router_settings", "routing_strategy")
    name = subject.resolved(strategy)
    if replicas is None or replicas < 2 or not isinstance(name, str) or name not in _COUNTING or shares_redis(subject):
        return
    message = f"Each of the {replicas} replicas chooses by what it has sent itself."
    hint = "Share a Redis: config/redis.yaml shows how; or use simple-shuffle."
    yield Remark(strategy, message, hint, ("router_settings", "routing_strategy"))
