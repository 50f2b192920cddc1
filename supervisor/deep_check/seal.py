"""Nothing gets out of this process: providers are replaced at their HTTP transport, all else is refused.

Executed by path, never imported by litesup. Three layers. The transports of the HTTP libraries that LiteLLM uses are
answered by `answers`, for a request made on behalf of a model that is being asked; a request of anybody else (a
callback, a licence, a tool server) fails as if nothing were listening. An audit hook, which nothing can remove, refuses
Python's own sockets, name look-ups and new processes. Where the kernel permits it the process has a network of its own
with nothing in it, so that native code cannot get out either.
"""

from __future__ import annotations

import contextlib
import contextvars
import ctypes
import io
import os
import sys
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

_CLONE_NEWUSER = 0x10000000
_CLONE_NEWNET = 0x40000000
_MOST = 50  # requests or refusals that are remembered of one question
_REFUSAL = "litesup check --deep lets nothing out"
_LOOKUPS = frozenset({"socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr", "socket.getnameinfo"})
_SENDING = frozenset({"socket.connect", "socket.sendto", "socket.sendmsg"})
_PROCESSES = frozenset(
    {"subprocess.Popen", "os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "os.system"}
)


@dataclass(slots=True)
class Asked:
    """What happened on behalf of one question."""

    sent: list[dict[str, Any]] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    failing: bool = False  # the next request is answered with a provider's fault
    problems: list[str] = field(default_factory=list)  # what no transport could have sent


class Wire:
    """What this process would have sent, and to whom. `otherwise` belongs to no question."""

    def __init__(self, answers: ModuleType) -> None:
        self._answers = answers
        self._asked: contextvars.ContextVar[Asked | None] = contextvars.ContextVar("litesup_asked", default=None)
        self._now: Asked | None = None
        self.otherwise = Asked()

    @contextlib.contextmanager
    def asking(self, *, failing: bool = False) -> Iterator[Asked]:
        """What is sent in the body of this block, and by the tasks and threads begun in it, is for one question."""
        asked = Asked(failing=failing)
        self._now = asked
        token = self._asked.set(asked)
        try:
            yield asked
        finally:
            self._asked.reset(token)
            self._now = None

    def refuse(self, what: str, asked: Asked | None = None) -> ConnectionRefusedError:
        """Notes whom somebody wanted to reach; the error is for the caller to raise."""
        _note((asked or self._asked.get() or self.otherwise).refused, what)
        return ConnectionRefusedError(f"{_REFUSAL}: {what}")

    def send(self, method: str, url: str, headers: Mapping[str, Any], body: bytes) -> Any:
        """The stub's answer.

        Raises ConnectionRefusedError where nobody was asked, or nothing can be answered, and ValueError for an address
        that no transport could send to.
        """
        asked = self._current()
        shown = self._answers.shown_url(url)
        if asked is None or self._answers.is_metadata_service(url):
            raise self.refuse(shown, asked)
        if not self._answers.is_web_address(url):
            problem = f"the address {shown} does not begin with http:// or https:// and a host"
            _note(asked.problems, problem)
            raise ValueError(problem)
        answer = self._answers.answer(url, body)
        if asked.failing and answer.dialect != self._answers.TOKEN:
            asked.failing = False
            return self._answers.failure()
        plain = {_text(name): _text(value) for name, value in headers.items()}
        credential = self._answers.credential(url, plain)
        record = {"method": method, "url": shown, "credential": credential, "dialect": answer.dialect}
        _note(asked.sent, record)
        return answer

    def _current(self) -> Asked | None:
        """The question of this task; a thread of a pool does not say, but only one is asked at a time."""
        asked = self._asked.get()
        if asked is None and threading.current_thread().name.startswith(("asyncio_", "ThreadPoolExecutor")):
            asked = self._now
        return asked if asked is self._now else None


def _note(notes: list[Any], note: Any) -> None:
    if len(notes) < _MOST and note not in notes:
        notes.append(note)


def _text(value: Any) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)


def leave_network() -> bool:
    """Gives this process a network of its own with nothing in it, if the kernel lets it. Needs a single thread."""
    libc = ctypes.CDLL(None, use_errno=True)
    user, group = os.geteuid(), os.getegid()
    if libc.unshare(_CLONE_NEWNET) == 0:
        return True
    if libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET) != 0:
        return False
    with contextlib.suppress(OSError):  # then it does not know its own name, and still has no network
        Path("/proc/self/setgroups").write_text("deny", encoding="ascii")
        Path("/proc/self/uid_map").write_text(f"{user} {user} 1", encoding="ascii")
        Path("/proc/self/gid_map").write_text(f"{group} {group} 1", encoding="ascii")
    return True


def refuse_sockets(wire: Wire) -> None:
    """From here on Python opens no connection, asks for no name and starts no process."""

    def look(event: str, arguments: tuple[Any, ...]) -> None:
        if event in _SENDING:
            raise wire.refuse(_address(arguments[1]))
        if event in _LOOKUPS:
            raise wire.refuse(_address(arguments[0] if event == "socket.getnameinfo" else arguments[:2]))
        if event in _PROCESSES:
            program = arguments[0] if arguments else ""
            raise wire.refuse(f"process {Path(_text(program)).name}".strip())

    sys.addaudithook(look)


def _address(address: Any) -> str:
    if isinstance(address, tuple):
        return ":".join(_text(part) for part in address[:2] if part is not None)
    return _text(address)


def replace_transports(wire: Wire) -> None:
    """Puts the stub in the place of every transport that is there; a library that is not installed sends nothing."""
    for replace in (
        _replace_httpx,
        _replace_litellm,
        _replace_aiohttp,
        _replace_requests,
        _replace_urllib3,
        _replace_boto,
    ):
        with contextlib.suppress(ImportError, AttributeError):
            replace(wire)


def _put(owner: Any, name: str, function: Any) -> None:
    """In place of a method; the checker is right that it is not one."""
    getattr(owner, name)  # raises AttributeError for a library that is built differently: the hook is behind it
    setattr(owner, name, function)


def _replace_httpx(wire: Wire) -> None:
    import httpx

    def handle(transport: Any, request: Any) -> Any:
        return _httpx_answer(wire, request, request.read())

    async def handle_async(transport: Any, request: Any) -> Any:
        return _httpx_answer(wire, request, await request.aread())

    _put(httpx.HTTPTransport, "handle_request", handle)
    _put(httpx.AsyncHTTPTransport, "handle_async_request", handle_async)


def _httpx_answer(wire: Wire, request: Any, body: bytes) -> Any:
    import httpx

    try:
        answer = wire.send(request.method, str(request.url), request.headers, body)
    except ConnectionRefusedError as error:
        raise httpx.ConnectError(str(error), request=request) from error
    headers = {"content-type": answer.content_type, "retry-after-ms": "1"}
    return httpx.Response(answer.status, headers=headers, content=answer.body, request=request)


def _replace_litellm(wire: Wire) -> None:
    from litellm.llms.custom_httpx import aiohttp_transport

    async def handle(transport: Any, request: Any) -> Any:
        return _httpx_answer(wire, request, await request.aread())

    _put(aiohttp_transport.LiteLLMAiohttpTransport, "handle_async_request", handle)
    _put(aiohttp_transport.AiohttpTransport, "handle_async_request", handle)


def _replace_aiohttp(wire: Wire) -> None:
    import aiohttp

    async def request(session: Any, method: str, url: Any, *, headers: Any = None, **rest: Any) -> Any:
        # Its response cannot be made without a connection; that the request got here is what there is to know.
        wire.send(method, str(url), {**session.headers, **(headers or {})}, b"")
        raise aiohttp.ClientConnectionError(_REFUSAL)

    _put(aiohttp.ClientSession, "_request", request)


def _replace_requests(wire: Wire) -> None:
    import requests

    def send(adapter: Any, request: Any, *positional: Any, **rest: Any) -> Any:
        try:
            answer = wire.send(request.method, request.url, request.headers, _bytes(request.body))
        except ConnectionRefusedError as error:
            raise requests.exceptions.ConnectionError(str(error), request=request) from error
        response = requests.Response()
        response.status_code = answer.status
        response.headers["content-type"] = answer.content_type
        response.raw = io.BytesIO(answer.body)
        response.url = request.url
        response.request = request
        return response

    _put(requests.adapters.HTTPAdapter, "send", send)


def _replace_urllib3(wire: Wire) -> None:
    import urllib3

    def urlopen(pool: Any, method: str, url: str, body: Any = None, headers: Any = None, **rest: Any) -> Any:
        port = f":{pool.port}" if pool.port else ""
        whole = url if "://" in url else f"{pool.scheme}://{pool.host}{port}{url}"
        answer = wire.send(method, whole, headers or pool.headers or {}, _bytes(body))
        content = {"content-type": answer.content_type}
        return urllib3.HTTPResponse(
            io.BytesIO(answer.body), headers=content, status=answer.status, preload_content=False
        )

    _put(urllib3.HTTPConnectionPool, "urlopen", urlopen)


def _replace_boto(wire: Wire) -> None:
    from botocore import awsrequest, exceptions, httpsession

    class Raw(io.BytesIO):
        def stream(self, amount: int | None = None, **rest: Any) -> Iterator[bytes]:
            yield self.read()

    def send(session: Any, request: Any) -> Any:
        try:
            answer = wire.send(request.method, request.url, request.headers, _bytes(request.body))
        except ConnectionRefusedError as error:
            raise exceptions.EndpointConnectionError(endpoint_url=request.url, error=error) from error
        content = {"content-type": answer.content_type}
        return awsrequest.AWSResponse(request.url, answer.status, content, Raw(answer.body))

    _put(httpsession.URLLib3Session, "send", send)


def _bytes(body: Any) -> bytes:
    if isinstance(body, str):
        return body.encode()
    return bytes(body) if isinstance(body, bytes | bytearray) else b""
