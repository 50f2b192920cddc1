"""Who may come, who may come without a credential, and on whose behalf. Pure.

Three separate lists of networks decide: who may connect at all, who may have the pool's own credential, and whose
`X-Forwarded-For` counts. A client that brings a credential of its own is never given the pool's: whether that one is
good is for LiteLLM to say. What a web page can make a browser send is never taken for a trusted client, though it
comes from loopback.
"""

from __future__ import annotations

import enum
import functools
import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import unquote_plus

from supervisor.policy.routes import Kind, Route

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# Where LiteLLM looks for a key: its SpecialHeaders and the fixed names in user_api_key_auth. A test compares.
CREDENTIAL_HEADERS = frozenset({
    b"authorization",
    b"x-litellm-api-key",
    b"api-key",
    b"x-api-key",
    b"x-goog-api-key",
    b"ocp-apim-subscription-key",
    b"litellm_user_api_key",
})  # fmt: skip
CREDENTIAL_QUERY = frozenset({"key", "litellm_user_api_key"})
CREDENTIAL_SUBPROTOCOL = b"openai-insecure-api-key."  # how a browser's WebSocket carries one

FORWARDING_HEADERS = frozenset({
    b"forwarded",
    b"x-forwarded-for",
    b"via",
    b"x-real-ip",
    b"x-forwarded-host",
    b"x-forwarded-proto",
    b"x-forwarded-port",
    b"x-forwarded-server",
    b"cdn-loop",
})  # fmt: skip
"""By which a request shows that it came through a proxy."""
_LONGEST_ADDRESS = 64  # characters, with a zone; what is longer would only fill the cache
_IPV4_MAPPED = ipaddress.IPv6Network("::ffff:0:0/96")


Headers = Mapping[bytes, Sequence[bytes]]
"""A request's header fields: values by name in lower case, each in the order in which they came."""


@dataclass(frozen=True, slots=True)
class AccessRules:
    """An empty `allow` lets everybody connect. `hosts` are in lower case, without a port."""

    allow: tuple[Network, ...]
    trusted: tuple[Network, ...]
    proxies: tuple[Network, ...]
    hosts: frozenset[str]

    @classmethod
    def of(
        cls, *, allow: Iterable[Network], trusted: Iterable[Network], proxies: Iterable[Network], hosts: Iterable[str]
    ) -> AccessRules:
        """The rules with every IPv4-mapped network written as the IPv4 network that it means."""
        return cls(
            allow=tuple(map(_unmapped_network, allow)),
            trusted=tuple(map(_unmapped_network, trusted)),
            proxies=tuple(map(_unmapped_network, proxies)),
            hosts=frozenset(host.lower() for host in hosts),
        )


class Verdict(enum.Enum):
    PASS = "pass"  # noqa: S105 - as it came: LiteLLM judges its credential
    KEYLESS = "keyless"  # with the pool's credential
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True)
class Refusal:
    """An HTTP status, a stable code, and a message that says what to do."""

    status: int
    code: str
    message: str


class Decision(NamedTuple):
    """`client` is the one address that the replica is told.

    `proxied`: a listed proxy sent this, so what it says of how it was reached counts.
    """

    verdict: Verdict
    client: str
    refusal: Refusal | None = None
    proxied: bool = False


class Asked(NamedTuple):
    """What the decision depends on. `query` is raw; `key_headers` are lower-case names beside the known ones."""

    peer: str
    method: str
    route: Route
    query: str
    headers: Headers
    key_headers: frozenset[bytes] = frozenset()

    def __repr__(self) -> str:
        """Without query and headers: keys are among them."""
        return f"<Asked: {self.method} by {self.peer}>"


class Client(NamedTuple):
    """Who asks: the address nearest to the client that somebody listed vouches for.

    `hops` is how many listed proxies the request came through for certain; `claimed` says that it carries more than
    those added; `proxied`, that the peer is one of them.
    """

    text: str
    address: Address | None
    hops: int
    claimed: bool
    proxied: bool = False


_NOT_ALLOWED = Refusal(403, "address_not_allowed", "this address may not use this proxy (access.allow)")
_NO_KEY = Refusal(
    401,
    "missing_api_key",
    "no API key was sent: send 'Authorization: Bearer <key>' "
    "(clients from addresses in access.trusted need none for inference)",
)
_NO_KEY_HERE = Refusal(
    401,
    "missing_api_key",
    "no API key was sent, and this path is not open to clients without one: send 'Authorization: Bearer <key>' "
    "(`litesup key` shows the pool's to its owner)",
)
_PAGE = Refusal(
    403,
    "browser_needs_key",
    "a request from a web page needs an API key of its own: a page that is open on a trusted machine is not a trusted "
    "client",
)
_FORWARDED = Refusal(
    403,
    "forwarded_needs_key",
    "a forwarded request needs an API key of its own, unless the proxy that forwards it is listed in access.proxies "
    "and vouches for the client",
)
_HOST = Refusal(
    403,
    "host_not_listed",
    "without an API key the Host must be an IP address, localhost, or a name listed in access.hosts",
)


def decide(asked: Asked, rules: AccessRules) -> Decision:
    """Whether this request is passed on, and whether it gets the pool's credential."""
    client = identify(asked.peer, asked.headers, rules)
    if rules.allow and not _within(client.address, rules.allow):
        return Decision(Verdict.REFUSE, client.text, _NOT_ALLOWED)
    if has_credential(asked) or _is_preflight(asked):
        return Decision(Verdict.PASS, client.text, proxied=client.proxied)
    refusal = _keyless_refusal(asked, client, rules)
    if refusal is not None:
        return Decision(Verdict.REFUSE, client.text, refusal)
    return Decision(Verdict.KEYLESS, client.text, proxied=client.proxied)


def has_credential(asked: Asked) -> bool:
    """Whether anything stands in a place where LiteLLM looks for a key, be it good, bad or empty."""
    names = asked.headers.keys()
    if not names.isdisjoint(CREDENTIAL_HEADERS) or not names.isdisjoint(asked.key_headers):
        return True
    if asked.query and any(name in CREDENTIAL_QUERY for name in _query_names(asked.query)):
        return True
    return any(
        protocol.startswith(CREDENTIAL_SUBPROTOCOL) for protocol in _elements(asked.headers, b"sec-websocket-protocol")
    )


def identify(peer: str, headers: Headers, rules: AccessRules) -> Client:
    """The client: the peer, or, through listed proxies, the last address that is not one of them."""
    address = parse_address(peer)
    if not rules.proxies or not _within(address, rules.proxies):
        return Client(peer, address, 0, not headers.keys().isdisjoint(FORWARDING_HEADERS))
    # Where the addresses run out the last one is the client's, be it listed or not: a proxy that names its client in
    # `Forwarded` or `Via` only has not vouched for it.
    text, hops = peer, 0
    chain = _elements(headers, b"x-forwarded-for")
    while chain and _within(address, rules.proxies):
        hops += 1
        text = _without_port(chain.pop().decode("ascii", "replace"))
        address = parse_address(text)
    claimed = bool(chain) or any(len(_elements(headers, name)) > hops for name in (b"via", b"forwarded"))
    return Client(text if address is not None else "unknown", address, hops, claimed, proxied=True)


def parse_address(text: str) -> Address | None:
    """An address, an IPv4-mapped one as the IPv4 address that it means; None for anything else."""
    return _parsed(text) if len(text) <= _LONGEST_ADDRESS else None


@functools.lru_cache(maxsize=4096)
def _parsed(text: str) -> Address | None:
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def _keyless_refusal(asked: Asked, client: Client, rules: AccessRules) -> Refusal | None:
    headers = asked.headers
    sites = headers.get(b"sec-fetch-site", ())
    if b"origin" in headers or any(site.strip().lower() == b"cross-site" for site in sites):
        return _PAGE
    if not _within(client.address, rules.trusted):
        return _NO_KEY
    if asked.route.kind not in {Kind.INFERENCE, Kind.REALTIME}:
        return _NO_KEY_HERE
    if client.claimed:
        return _FORWARDED
    hosts = headers.get(b"host", ())
    if len(hosts) != 1 or not _host_is_ours(hosts[0].decode("ascii", "replace"), rules.hosts):
        return _HOST
    return None


def _is_preflight(asked: Asked) -> bool:
    """A CORS preflight never carries a credential, does nothing, and precedes requests that carry one."""
    headers = asked.headers
    return asked.method == "OPTIONS" and b"origin" in headers and b"access-control-request-method" in headers


def _host_is_ours(host: str, listed: frozenset[str]) -> bool:
    """An IP address or localhost cannot be a name that somebody else's DNS made point here."""
    name = _host_name(host)
    return name is not None and (name == "localhost" or name in listed or parse_address(name) is not None)


def _host_name(host: str) -> str | None:
    """The name or address in a Host header, in lower case; None where it is anything but one and a port."""
    host = host.strip().lower()
    if "%" in host:
        return None
    if host.startswith("["):
        name, bracket, port = host[1:].partition("]")
        if not bracket or ":" not in name or (port and not _is_port(port)):
            return None
        return name
    name, colon, port = host.partition(":")
    if colon and not _is_port(":" + port):
        return None
    return name


def _is_port(text: str) -> bool:
    return text[:1] == ":" and text[1:].isascii() and text[1:].isdigit()


def _without_port(element: str) -> str:
    """An element of X-Forwarded-For as an address: some gateways append the port."""
    if element.startswith("["):
        return element[1:].partition("]")[0]
    return element.partition(":")[0] if element.count(":") == 1 else element


def _elements(headers: Headers, name: bytes) -> list[bytes]:
    return [element for value in headers.get(name, ()) for part in value.split(b",") if (element := part.strip())]


def _query_names(query: str) -> list[str]:
    return [unquote_plus(part.partition("=")[0]) for part in query.split("&")]


def _within(address: Address | None, networks: Sequence[Network]) -> bool:
    return address is not None and any(address in network for network in networks)


def _unmapped_network(network: Network) -> Network:
    if isinstance(network, ipaddress.IPv6Network) and network.subnet_of(_IPV4_MAPPED):
        address = ipaddress.IPv4Address(int(network.network_address) & 0xFFFFFFFF)
        return ipaddress.IPv4Network((address, network.prefixlen - 96))
    return network
