"""What a path means to the balancer: its name in metrics, and whether it is inference. Pure.

One table, because three questions have the same answer: what a client without a credential may ask for, what may be
repeated after a replica died, and what metrics call it. A path is compared as it was sent, byte for byte: an encoded
slash, a dot segment, a double or a trailing slash is another path, and matches nothing here. So no two spellings of a
path can mean one thing to the balancer and another to LiteLLM.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass

HEALTH_PATHS = frozenset({"/health/liveliness", "/health/liveness", "/health/readiness"})
POOL_HEALTH_PATH = "/health"

# What POST reaches, less the optional "/v1" in front.
_POST = frozenset({
    "chat/completions",
    "completions",
    "embeddings",
    "responses",
    "messages",
    "messages/count_tokens",
    "moderations",
    "rerank",
    "images/generations",
    "images/edits",
    "audio/speech",
    "audio/transcriptions",
})  # fmt: skip
_PER_DEPLOYMENT = frozenset({"chat/completions", "completions", "embeddings"})

_DEPLOYMENT = re.compile(r"/(?:v1/)?(?:engines|openai/deployments)/([^/]+)/(.+)")
_MODEL = re.compile(r"/(?:v1/)?models/([^/]+)")
# Percent-encoded slash, backslash, dot, percent sign and control characters: what a second decoding could turn into
# another path.
_AMBIGUOUS = re.compile(r"%(?:2f|5c|2e|25|[01][0-9a-f]|7f)|\\", re.IGNORECASE)


class Kind(enum.Enum):
    """What a path is for."""

    HEALTH = "health"  # answered by the balancer, for everybody
    POOL_HEALTH = "pool health"  # answered by the balancer for those without a credential
    INFERENCE = "inference"  # creates nothing: open to keyless clients, repeatable
    REALTIME = "realtime"  # a WebSocket: open to keyless clients, never repeatable
    OTHER = "other"  # LiteLLM's business, for clients with a credential of their own


@dataclass(frozen=True, slots=True)
class Route:
    """`name` comes from a small fixed set, so that it can be a metric's label."""

    name: str
    kind: Kind


OTHER = "other"  # the name of every route that is not in the table

_OTHER = Route(OTHER, Kind.OTHER)
_HEALTH = Route("health", Kind.HEALTH)
_POOL_HEALTH = Route("health", Kind.POOL_HEALTH)
_MODELS = Route("models", Kind.INFERENCE)
_REALTIME = Route("realtime", Kind.REALTIME)
_INFERENCE = {name: Route(name, Kind.INFERENCE) for name in _POST}
_EXACT: dict[tuple[str, str], Route] = {
    ("POST", prefix + name): route for name, route in _INFERENCE.items() for prefix in ("/", "/v1/")
}
for _method in ("GET", "HEAD"):
    _EXACT.update({(_method, path): _HEALTH for path in HEALTH_PATHS})
    _EXACT[_method, POOL_HEALTH_PATH] = _POOL_HEALTH
for _path in ("/models", "/v1/models"):
    _EXACT["GET", _path] = _MODELS

ROUTE_NAMES = frozenset({*_POST, "models", "realtime", "health", OTHER})


def classify(method: str, path: str, *, websocket: bool = False) -> Route:
    """The route of a request; `path` is the raw one, without the query."""
    if websocket:
        return _REALTIME if method == "GET" and path in {"/realtime", "/v1/realtime"} else _OTHER
    exact = _EXACT.get((method, path))
    if exact is not None:
        return exact
    if method == "POST":
        found = _DEPLOYMENT.fullmatch(path)
        if found and found[2] in _PER_DEPLOYMENT and _plain_segment(found[1]):
            return _INFERENCE[found[2]]
    elif method == "GET":
        found = _MODEL.fullmatch(path)
        if found and _plain_segment(found[1]):
            return _MODELS
    return _OTHER


def _plain_segment(segment: str) -> bool:
    return segment not in {".", ".."} and _AMBIGUOUS.search(segment) is None
