"""What replicas say: tidied, redacted, kept for `litesup logs`, and passed on to our own log.

LiteLLM's banner and the access lines of our own probes are dropped. Nobody who reads here can hold up a replica:
followers have bounded queues of their own.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator, Callable

import structlog

from supervisor.backlog import Backlog
from supervisor.control.operations import LogLine
from supervisor.observe.redact import Redactor

FOLLOWER_LINES = 1000
"""Lines that a follower may be behind."""

MOST_CHARACTERS = 8 * 1024 * 1024
"""Of all lines that are kept, and of those that wait for one follower."""

# A line can be what a client made LiteLLM print. So no pattern here goes back over what it has read: at 64 KiB a line
# that would be seconds of the event loop.
ANSI = re.compile(r"\x1b\[[0-9;?]*+[A-Za-z]|\x1b\][^\x07\x1b]*+\x07|[\x00-\x08\x0b-\x1f\x7f-\x9f]")
BANNER = re.compile(
    r"\s*+(?:[█╗╔╝╚═║▀▄■][█╗╔╝╚═║▀▄■\s]*+|#[-\s]*+#|#\s.*\s#"
    r"|Thank you for using LiteLLM!.*|Give Feedback / Get Help:.*)?$"
)
OWN_PROBE = re.compile(r'"GET /health/live(?:liness|ness) HTTP/1\.[01]" 200')
LEVEL = re.compile(
    r"^(?:(?P<uvicorn>DEBUG|INFO|WARNING|ERROR|CRITICAL):\s|\d\d:\d\d:\d\d - LiteLLM[\w ]*:(?P<litellm>[A-Z]+):"
    r"|(?P<trace>Traceback \(most recent call last\)))"
)
KNOWN_LEVELS = frozenset({"debug", "info", "warning", "error", "critical"})


class Logbook:
    """The last `keep` lines of all replicas, and who follows them."""

    def __init__(self, redactor: Redactor, *, keep: int, now: Callable[[], float] = time.time) -> None:
        self._redactor = redactor
        self._now = now
        self._lines = Backlog[LogLine](keep, MOST_CHARACTERS, _characters)
        self._followers: set[_Follower] = set()
        self._open: dict[int, str] = {}  # the level that each replica's next line has if it shows none
        self._log = structlog.get_logger()

    def take(self, *, slot: int, replica: int, generation: str, text: str) -> None:
        """Takes one line of a replica's output; never blocks."""
        text = tidy(text)
        if is_noise(text):
            return
        line = LogLine(self._now(), slot, replica, generation, self._redactor(text))
        self._lines.put(line)
        for follower in self._followers:
            follower.put(line)
        level, self._open[replica] = graded(text, self._open.get(replica, "info"))
        getattr(self._log, level)("litellm", slot=slot, replica=replica, generation=generation, line=line.text)

    def keep(self, count: int) -> None:
        """Keeps that many lines from now on."""
        self._lines.hold(count)

    def forget(self, replica: int) -> None:
        """Lets go of what is only needed while the replica speaks; its lines stay."""
        self._open.pop(replica, None)

    async def lines(self, slots: tuple[int, ...], *, follow: bool) -> AsyncIterator[LogLine]:
        """`Operations.log_lines`."""
        follower = _Follower(self._now)
        if follow:
            self._followers.add(follower)
        try:
            for line in self._lines:
                if not slots or line.slot in slots:
                    yield line
            while follow:
                line = await follower.get()
                if not slots or line.slot in slots or not line.slot:
                    yield line
        finally:
            self._followers.discard(follower)


class _Follower:
    """One reader's queue. When it is full the oldest line goes, and a line from slot 0 says how many went."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._lines = Backlog[LogLine](FOLLOWER_LINES, MOST_CHARACTERS, _characters)
        self._missed = 0
        self._some = asyncio.Event()

    def put(self, line: LogLine) -> None:
        self._missed += self._lines.put(line)
        self._some.set()

    async def get(self) -> LogLine:
        while not self._lines:
            self._some.clear()
            await self._some.wait()
        if self._missed:
            missed, self._missed = self._missed, 0
            return LogLine(self._now(), 0, 0, "", f"{missed} lines missed: this reader is too slow")
        return self._lines.take()


def _characters(line: LogLine) -> int:
    return len(line.text)


def tidy(text: str) -> str:
    """Without colours and control characters, which would act on the reader's terminal."""
    return ANSI.sub("", text).rstrip()


def is_noise(text: str) -> bool:
    """LiteLLM's banner, empty lines, and the access line of a liveness probe that went well."""
    return BANNER.match(text) is not None or OWN_PROBE.search(text) is not None


def graded(text: str, before: str) -> tuple[str, str]:
    """The line's level, and the one for what may follow; `before` is what the line before it left.

    Indented lines belong to the one above; a traceback ends with one line that is not indented.
    """
    shown = level_of(text)
    if shown is not None:
        return shown, "traceback" if text.startswith("Traceback") else shown
    if before == "traceback":
        return "error", before if text[:1].isspace() else "error"
    return (before, before) if text[:1].isspace() else ("info", "info")


def level_of(text: str) -> str | None:
    """The level that the line itself shows: LiteLLM's text and JSON formats, uvicorn's, a traceback's first line."""
    if text.startswith("{"):
        try:
            shown = json.loads(text).get("level", "")
        except (ValueError, AttributeError, RecursionError):
            return None
        level = str(shown).lower()
    else:
        match = LEVEL.match(text)
        if match is None:
            return None
        level = "error" if match["trace"] else (match["uvicorn"] or match["litellm"]).lower()
    return level if level in KNOWN_LEVELS else None
