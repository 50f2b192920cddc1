"""One plain and one streamed request that nobody sees, through LiteLLM's own application.

Executed by path, never imported by the daemon. Twice: in the fork server, as a rehearsal with answers made up where
the HTTP client would connect, so that what a first request builds is built once and shared by all replicas; and in
each replica, as a LiteLLM start-up hook in the loop that will serve, with answers from the daemon's stub. At both
times there are no models, callbacks, guardrails, keys or database yet; the router knows the one model, and afterwards
every module is as it was before. A warm-up that fails is reported, and keeps no replica from starting.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import secrets
import sys
from collections.abc import AsyncIterator, Iterable, Iterator
from typing import Any
from urllib.parse import urlsplit

_URL = "LITESUP_WARM_UP_URL"
_MODEL = "litesup-warm-up"
_DEADLINE = 8.0  # seconds for all of it
_REPORT_DEADLINE = 2.0
_CHANGED = {
    "litellm": (
        "callbacks",
        "input_callback",
        "success_callback",
        "failure_callback",
        "_async_input_callback",
        "_async_success_callback",
        "_async_failure_callback",
        "model_cost",
    ),
    "litellm.proxy.proxy_server": ("llm_router", "master_key"),
    "litellm.utils": ("callback_list", "_model_cost_lowercase_map", "_model_cost_mutation_generation"),
}
"""The globals that a request changes; a test compares all of them. To look at every global here would take a reference
to it, and so make every page that one is on the replica's own: 5 MB."""
_NO_PROXY = ("NO_PROXY", "no_proxy")
_LARGE = 256  # entries


async def warm_up() -> None:
    """The hook. Never raises, but for being cancelled."""
    url = os.environ.pop(_URL, None)
    if url is None:
        return
    incomplete: str | None = None
    try:
        async with asyncio.timeout(_DEADLINE):
            await _requests({"api_base": f"{url}/v1"})
    except TimeoutError:
        incomplete = f"not done within {_DEADLINE:g} s"
    except Exception as error:
        incomplete = f"{type(error).__name__}: {error}"
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(_REPORT_DEADLINE):
            await _report(url, incomplete)


def rehearse() -> None:
    """In the fork server: no network, and the loop is closed before anything is forked. Raises what goes wrong."""
    asyncio.run(asyncio.wait_for(_rehearsal(), _DEADLINE))


async def _rehearsal() -> None:
    from litellm.litellm_core_utils.logging_worker import GLOBAL_LOGGING_WORKER
    from litellm.proxy import proxy_server

    async with _no_network():
        await _requests({})
    # Routes are prepared when one is first looked for among them, so probes too need theirs.
    await _look(proxy_server.app, "/health/liveliness")
    await GLOBAL_LOGGING_WORKER.stop()


@contextlib.asynccontextmanager
async def _no_network() -> AsyncIterator[None]:
    """Answers in place of the HTTP client that LiteLLM gives to OpenAI's: all that is before it is rehearsed too."""
    import httpx
    import litellm

    before = litellm.aclient_session
    async with httpx.AsyncClient(transport=httpx.MockTransport(_made_up)) as client:
        litellm.aclient_session = client
        try:
            yield
        finally:
            litellm.aclient_session = before


def _made_up(request: Any) -> Any:
    """A chat completion, streamed if that was asked for."""
    import httpx

    common: dict[str, Any] = {"id": "chatcmpl-warm-up", "created": 0, "model": "warm-up"}
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
    said = {"role": "assistant", "content": "ok"}
    if not json.loads(request.content).get("stream"):
        choice = {"index": 0, "message": said, "finish_reason": "stop"}
        return httpx.Response(200, json={**common, "object": "chat.completion", "choices": [choice], "usage": usage})
    choices = ({"index": 0, "delta": said}, {"index": 0, "delta": {}, "finish_reason": "stop"})
    events: list[dict[str, Any]] = [*({"choices": [choice]} for choice in choices), {"choices": [], "usage": usage}]
    lines = [json.dumps({**common, "object": "chat.completion.chunk", **event}) for event in events]
    text = "".join(f"data: {line}\n\n" for line in [*lines, "[DONE]"])
    return httpx.Response(200, text=text, headers={"content-type": "text/event-stream"})


async def _requests(answered_by: dict[str, str]) -> None:
    import litellm
    from litellm.proxy import proxy_server

    clients = set(litellm.in_memory_llm_clients_cache.cache_dict)
    with _quiet(), _direct(), _restored():
        deployment = {"model": "openai/warm-up", "api_key": "warm-up", "max_retries": 0, **answered_by}
        router = litellm.Router(model_list=[{"model_name": _MODEL, "litellm_params": deployment}], num_retries=0)
        proxy_server.llm_router = router
        proxy_server.master_key = key = f"sk-{secrets.token_hex(16)}"
        try:
            for streamed in (False, True):
                await _ask(proxy_server.app, key, streamed=streamed)
            await _settled()
        finally:
            router.discard()
            await _close_clients(clients)


async def _ask(app: Any, key: str, *, streamed: bool) -> None:
    """One chat completion. Raises RuntimeError for a bad answer."""
    asked = {"model": _MODEL, "stream": streamed, "messages": [{"role": "user", "content": "warm up"}]}
    body = json.dumps(asked).encode()
    headers = {
        "host": "warm-up",
        "authorization": f"Bearer {key}",
        "content-type": "application/json",
        "content-length": str(len(body)),
    }
    status, answer = await _call(app, "POST", "/chat/completions", headers, body)
    if status != 200 or (streamed and b"[DONE]" not in answer):
        kind = "streamed" if streamed else "plain"
        raise RuntimeError(f"the {kind} call was answered {status}: {answer[:200]!r}")


async def _look(app: Any, path: str) -> None:
    """Asks for a path, whatever the answer."""
    with _quiet():
        await _call(app, "GET", path, {"host": "warm-up"}, b"")


async def _call(app: Any, method: str, path: str, headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
    """One request through the application, as the server would hand it over: status and body of the answer."""
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        "client": ("127.0.0.1", 0),
        "server": ("127.0.0.1", 0),
        "state": {},
    }
    answer = bytearray()
    status = 0
    sent = False
    over = asyncio.Event()

    async def receive() -> dict[str, Any]:
        nonlocal sent
        if not sent:
            sent = True
            return {"type": "http.request", "body": body, "more_body": False}
        await over.wait()
        return {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        nonlocal status
        if message["type"] == "http.response.start":
            status = message["status"]
        elif message["type"] == "http.response.body":
            answer.extend(message.get("body", b""))
            if not message.get("more_body"):
                over.set()

    await app(scope, receive, send)
    return status, bytes(answer)


async def _settled() -> None:
    """Waits until what LiteLLM does after a response (its logging) is done, for it must not see the real callbacks."""
    from litellm.litellm_core_utils.logging_worker import GLOBAL_LOGGING_WORKER

    for _ in range(3):
        await asyncio.sleep(0)
        await GLOBAL_LOGGING_WORKER.flush()


async def _close_clients(older: set[str]) -> None:
    """Closes the connections to the stub; clients that LiteLLM made at import stay as they are."""
    import litellm

    for name, client in list(litellm.in_memory_llm_clients_cache.cache_dict.items()):
        close = getattr(client, "close", None) or getattr(client, "aclose", None)
        if name not in older and close is not None:
            with contextlib.suppress(Exception):
                closing = close()
                if asyncio.iscoroutine(closing):
                    await closing


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)


@contextlib.contextmanager
def _direct() -> Iterator[None]:
    """The way to the stub never leads through a proxy."""
    before = {name: os.environ.get(name) for name in _NO_PROXY}
    os.environ.update(dict.fromkeys(_NO_PROXY, "*"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextlib.contextmanager
def _restored() -> Iterator[None]:
    """Puts back what the requests change: some globals of LiteLLM's modules, its caches, and what is in them."""
    before = [(namespace, _contents(namespace, names)) for namespace, names in _namespaces()]
    try:
        yield
    finally:
        for namespace, contents in before:
            _put_back(namespace, contents)


def _namespaces() -> Iterator[tuple[dict[str, Any], Iterable[str]]]:
    """Where something changes, and under which names."""
    import litellm
    from litellm.proxy import proxy_server

    for module, names in _CHANGED.items():
        yield vars(sys.modules[module]), names
    yield from ((cache, tuple(cache)) for cache in _caches(litellm.in_memory_llm_clients_cache))
    yield from ((cache, tuple(cache)) for cache in _caches(proxy_server.user_api_key_cache))
    yield from ((cache, tuple(cache)) for cache in _caches(proxy_server.proxy_logging_obj.internal_usage_cache))


def _caches(holder: Any, depth: int = 3) -> Iterator[dict[str, Any]]:
    """A cache in memory, wherever in a cache of several layers it is."""
    inside = getattr(holder, "__dict__", {})
    if "cache_dict" in inside:
        yield inside
    elif depth:
        for value in inside.values():
            yield from _caches(value, depth - 1)


def _contents(namespace: dict[str, Any], names: Iterable[str]) -> dict[str, tuple[Any, Any]]:
    """Each value, and a copy of what is in it, or of a large dictionary (the price map) its size."""
    kept: dict[str, tuple[Any, Any]] = {}
    for name in names:
        value: Any = namespace.get(name)
        if type(value) is dict and len(value) > _LARGE:
            kept[name] = (value, len(value))
        else:
            kept[name] = (value, value.copy() if type(value) in {list, dict, set} else None)
    return kept


def _put_back(namespace: dict[str, Any], contents: dict[str, tuple[Any, Any]]) -> None:
    for name, (value, copy) in contents.items():
        if value is not None or name in namespace:
            namespace[name] = value
        if isinstance(copy, int):
            while len(value) > copy:
                value.popitem()  # the last that came
            continue
        if copy is None or value == copy:
            continue
        value.clear()
        if isinstance(value, list):
            value.extend(copy)
        else:
            value.update(copy)


async def _report(url: str, incomplete: str | None) -> None:
    """Over a connection of its own: no client of LiteLLM's, no proxy."""
    target = urlsplit(url)
    body = json.dumps({"incomplete": incomplete}).encode()
    head = (
        f"POST {target.path}/report HTTP/1.1\r\nhost: {target.netloc}\r\nconnection: close\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    reader, writer = await asyncio.open_connection(target.hostname, target.port)
    try:
        writer.write(head.encode() + body)
        await writer.drain()
        await reader.read()
    finally:
        writer.close()
