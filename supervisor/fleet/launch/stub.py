"""The provider that a warm-up calls instead of a real one, and the place where replicas report about it.

Served by the daemon on a loopback port. Every replica has a URL of its own, with a random part, so that what arrives
there can only be that replica's; anything else is a 404.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from dataclasses import dataclass, field

from aiohttp import web

_MODEL = "warm-up"
_USAGE = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}


@dataclass(slots=True)
class _Replica:
    number: int
    calls: list[str] = field(default_factory=list)
    report: asyncio.Future[str | None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class WarmUpStub:
    """Answers one plain and one streamed chat completion per replica, and knows which replica is warm."""

    def __init__(self) -> None:
        self._runner: web.AppRunner | None = None
        self._url = ""
        self._by_token: dict[str, _Replica] = {}
        self._tokens: dict[int, str] = {}

    async def start(self) -> str:
        """Listens on an ephemeral loopback port; returns its URL. Raises OSError."""
        app = web.Application(client_max_size=64 * 1024)
        app.router.add_post("/{token}/v1/chat/completions", self._chat)
        app.router.add_post("/{token}/report", self._report)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self._url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self._url

    async def close(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    def url_for(self, replica: int) -> str:
        """Where this replica warms up; the same one until it is forgotten."""
        token = self._tokens.get(replica)
        if token is None:
            token = self._tokens[replica] = secrets.token_hex(16)
            self._by_token[token] = _Replica(replica)
        return f"{self._url}/{token}"

    async def wait_warm(self, replica: int, timeout: float) -> str | None:  # noqa: ASYNC109
        """None once the replica warmed up; why it did not, if it said so or did not within `timeout` seconds.

        LiteLLM runs its start-up hooks before it listens, so a replica that answers has reported already.
        """
        token = self._tokens.get(replica)
        if token is None:
            return "no warm-up was asked for"
        state = self._by_token[token]
        try:
            async with asyncio.timeout(timeout):
                return await asyncio.shield(state.report)
        except TimeoutError:
            seen = " and ".join(state.calls) or "nothing"
            return f"no report within {timeout:g} s; {seen} arrived"

    def forget(self, replica: int) -> None:
        """The replica is gone."""
        token = self._tokens.pop(replica, None)
        if token is not None:
            del self._by_token[token]

    def _replica(self, request: web.Request) -> _Replica:
        replica = self._by_token.get(request.match_info["token"])
        if replica is None:
            raise web.HTTPNotFound
        return replica

    async def _report(self, request: web.Request) -> web.Response:
        replica = self._replica(request)
        reason = (await request.json()).get("incomplete")
        if not replica.report.done():
            replica.report.set_result(str(reason)[:500] if reason else None)
        return web.Response(status=204)

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        replica = self._replica(request)
        streamed = bool((await request.json()).get("stream"))
        replica.calls.append("a streamed call" if streamed else "a plain call")
        common = {"id": "chatcmpl-warm-up", "created": 0, "model": _MODEL}
        if not streamed:
            message = {"role": "assistant", "content": "ok"}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            return web.json_response(common | {"object": "chat.completion", "choices": [choice], "usage": _USAGE})
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        for delta, reason in (({"role": "assistant", "content": "ok"}, None), ({}, "stop")):
            choice = {"index": 0, "delta": delta, "finish_reason": reason}
            event = common | {"object": "chat.completion.chunk", "choices": [choice]}
            await response.write(b"data: " + json.dumps(event).encode() + b"\n\n")
        usage = common | {"object": "chat.completion.chunk", "choices": [], "usage": _USAGE}
        await response.write(b"data: " + json.dumps(usage).encode() + b"\n\ndata: [DONE]\n\n")
        return response
