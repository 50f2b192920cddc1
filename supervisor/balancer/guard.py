"""What a client sends, cut into messages and judged, before aiohttp's parser sees a byte of it. Sans-IO.

Fed with bytes in whatever pieces they come, `Guard` returns those that may be passed on. It follows heads, lengths and
chunks to know where the next head begins, so what is refused does not depend on how the bytes were split. aiohttp
only ever gets messages that everybody reads alike: chunk extensions and trailers are left out, an absolute form is
turned into a path, and in the place of a head that is refused stands `STAND_IN`, so that the refusal is answered in its
turn. After a refusal, and after a message that ends its connection, nothing more is read.

Whatever the split, the first wrong byte decides. Each rule is therefore applied as soon as its bytes are there:
the request line when it is complete, the bytes of the fields as they come, the fields when they are.
"""

from __future__ import annotations

import enum
from collections import deque

from supervisor.balancer import refusals
from supervisor.balancer.grammar import (
    Head,
    Limits,
    Line,
    Refused,
    are_fields,
    chunk_size,
    line_limit,
    may_become_chunk_size,
    read_fields,
    read_line,
    stray,
)
from supervisor.balancer.message import SMALL_BODY, Message
from supervisor.balancer.passage import Passage
from supervisor.balancer.template import LONGEST, Template
from supervisor.policy.access import Refusal

LONGEST_CHUNK_LINE = 512
"""Bytes of the line before a chunk, with its extensions."""

MOST_EXTENSIONS = 16 * 1024
"""Bytes of chunk extensions in one body: they are paid for and mean nothing."""

MOST_HELD = 64 * 1024
"""Bytes that may come behind a request for a WebSocket before it has been answered."""

STAND_IN = b"GET / HTTP/1.1\r\nHost: refused\r\nConnection: close\r\nContent-Length: 1\r\n\r\n"
"""What aiohttp gets for a head that is refused. Its body never comes, so that the connection is closed slowly."""


class Stage(enum.Enum):
    """What the next byte belongs to."""

    LINE = enum.auto()
    FIELDS = enum.auto()
    BODY = enum.auto()
    CHUNK_LINE = enum.auto()
    CHUNK = enum.auto()
    CHUNK_END = enum.auto()
    TRAILERS = enum.auto()
    HELD = enum.auto()  # behind a request for a WebSocket: whose bytes these are depends on the answer
    TUNNEL = enum.auto()
    OVER = enum.auto()  # nothing more is read


class Guard:
    """One client's connection, as bytes. `messages` are those that aiohttp has been given, in their order."""

    __slots__ = (
        "_at",
        "_data",
        "_empty_line",
        "_extensions",
        "_left",
        "_limits",
        "_line",
        "_line_end",
        "_longest_line",
        "_message",
        "_passage",
        "_scanned",
        "_size",
        "_stage",
        "_template",
        "_trailers",
        "messages",
    )

    def __init__(self, limits: Limits) -> None:
        self.messages: deque[Message] = deque()
        self._limits = limits
        self._longest_line = line_limit(limits)
        self._stage = Stage.LINE
        self._data = b""  # what has been taken from neither the last pieces nor this one
        self._at = 0
        self._passage = Passage()
        self._line: Line | None = None
        self._line_end = 0  # where its CR LF stands, in `_data`
        self._scanned = 0  # bytes of `_data` that no head may hold have been looked for up to here
        self._empty_line = False  # one before the request line has been passed over
        self._template: Template | None = None  # the last head, should the next one be the same
        self._message: Message | None = None  # whose body is being read
        self._left = 0  # of a body with a length, or of a chunk
        self._size = 0  # of a chunked body so far
        self._extensions = 0
        self._trailers = 0

    @property
    def within_head(self) -> bool:
        """Whether a head has begun and is not complete."""
        return self._stage is Stage.FIELDS or (self._stage is Stage.LINE and (bool(self._data) or self._empty_line))

    @property
    def over(self) -> bool:
        return self._stage is Stage.OVER

    def feed(self, data: bytes) -> list[bytes]:
        """What aiohttp may have of `data`, and of what was kept from before, each message apart.

        Apart, because aiohttp forgets what came before a message that it refuses by itself.
        """
        if self._template is not None and self._stage is Stage.LINE and not self._data and self._is_same_again(data):
            return [data]
        if self._data:
            self._data += data
        else:
            self._data = data
        while self._at < len(self._data) and self._step():
            pass
        ready = self._passage.collect()
        if self._at:
            self._data = self._data[self._at :]
            self._scanned = max(0, self._scanned - self._at)
            self._line_end -= self._at
            self._at = 0
        return ready

    def refuse(self, refusal: Refusal) -> list[bytes]:
        """Refuses what is being read, for a reason that does not lie in its bytes; returns what aiohttp has to have."""
        self._refuse(refusal)
        return self._passage.collect()

    def declined(self) -> list[bytes]:
        """The request for a WebSocket got another answer: what came behind it is the next request."""
        if self._stage is not Stage.HELD:
            return []
        self._stage = Stage.LINE
        return self.feed(b"")

    def switched(self) -> list[bytes]:
        """The protocol has been switched: from now on bytes pass as they are."""
        self._stage = Stage.TUNNEL
        return self.feed(b"")

    def _is_same_again(self, data: bytes) -> bool:
        """One whole request that is like the last one, as most are: the way through all stages at once."""
        template = self._template
        assert template is not None
        known = template.match(data, 0) if template.plain and not self._empty_line else None
        if known is None or sum(known) != len(data) or known[1] > SMALL_BODY:
            return False
        message = Message(template.head, known[1])
        message.body = data[known[0] :]
        self.messages.append(message)
        return True

    def _step(self) -> bool:
        """Goes on by one stage; False where more bytes are needed."""
        match self._stage:
            case Stage.LINE:
                return self._read_line()
            case Stage.FIELDS:
                return self._read_fields()
            case Stage.BODY | Stage.CHUNK:
                return self._read_body()
            case Stage.CHUNK_LINE:
                return self._read_chunk_line()
            case Stage.CHUNK_END:
                return self._read_chunk_end()
            case Stage.TRAILERS:
                return self._read_trailers()
            case Stage.HELD:
                if len(self._data) - self._at > MOST_HELD:
                    self._stage = Stage.OVER
                return False
            case Stage.TUNNEL:
                self._passage.span(self._data, self._at, len(self._data))
                self._at = len(self._data)
                return False
            case Stage.OVER:
                self._at = len(self._data)
                return False

    def _read_line(self) -> bool:
        data = self._data
        begin = self._at
        if self._template is not None:
            known = self._template.match(data, begin)
            if known is not None:
                self._begin_message(self._template.head, *known)
                return True
        if not self._empty_line and data.startswith(b"\r\n", begin):
            # RFC 9112, section 2.2: one of these before a request is forgiven.
            self._empty_line = True
            self._at = begin + 2
            return True
        if data.startswith(b"\n", begin):  # whatever the body before it ended with
            return self._refuse(refusals.BAD_BYTE)
        end = data.find(b"\r\n", begin, begin + self._longest_line + 2)
        if end < 0:
            return self._incomplete(begin, self._longest_line + 1, refusals.LONG_TARGET)
        try:
            self._line = read_line(data, begin, end, self._limits)
        except Refused as refused:
            return self._refuse(refusals.BAD_BYTE if stray(data, begin, end + 1) else refused.refusal)
        self._line_end = end
        self._scanned = end
        self._stage = Stage.FIELDS
        return True

    def _read_fields(self) -> bool:
        data = self._data
        begin, line_end, line = self._at, self._line_end, self._line
        assert line is not None
        end = data.find(b"\r\n\r\n", max(line_end, self._scanned - 3), begin + self._limits.head)
        if end < 0:
            return self._incomplete(begin, self._limits.head, refusals.LONG_HEAD)
        try:
            head, length = read_fields(data, line_end, end + 2, line, self._limits)
        except Refused as refused:
            if stray(data, line_end, end + 2):
                return self._refuse(refusals.BAD_BYTE)
            return self._refuse(refused.refusal)
        end += 4
        self._template = None
        if line.authority is None and end - begin <= LONGEST:
            self._template = Template(data[begin:end], head, self._limits)
        self._begin_message(head, end, length)
        return True

    def _begin_message(self, head: Head, end: int, length: int) -> None:
        """A head has been read, up to `end`, and a body of that length may follow."""
        message = self._message = Message(head, length)
        self.messages.append(message)
        self._passage.set_apart()
        line = head.line
        if line.authority is None:
            self._passage.span(self._data, self._at, end)
        else:
            version = b" HTTP/1.0" if line.http_1_0 else b" HTTP/1.1"
            host = b"" if head.hosted else b"\r\nHost: " + line.authority
            self._passage.insert(line.method, b" ", line.target, version, host, self._data[self._line_end : end])
        self._at = end
        self._empty_line = False
        if head.chunked:
            self._size = self._extensions = self._trailers = 0
            self._stage = Stage.CHUNK_LINE
        elif length:
            self._left = length
            self._stage = Stage.BODY
        else:
            message.body = b""
            self._end_message()

    def _incomplete(self, begin: int, limit: int, too_long: Refusal) -> bool:
        """More of a head is needed, unless what is there can never become one."""
        data = self._data
        end = min(len(data), begin + limit)
        if stray(data, max(begin, self._scanned - 1), end):
            return self._refuse(refusals.BAD_BYTE)
        if len(data) > begin + limit:
            return self._refuse(too_long)
        self._scanned = end
        return False

    def _read_body(self) -> bool:
        begin, left = self._at, self._left
        taken = min(left, len(self._data) - begin)
        if not taken:
            return False
        end = self._at = begin + taken
        self._passage.span(self._data, begin, end)
        self._left = left - taken
        if taken < left:
            return False
        if self._stage is Stage.CHUNK:
            self._stage = Stage.CHUNK_END
            return True
        message = self._message
        assert message is not None
        if taken == message.length <= SMALL_BODY:
            message.body = self._data[begin:end]
        self._end_message()
        return True

    def _read_chunk_line(self) -> bool:
        data, begin = self._data, self._at
        end = data.find(b"\r\n", begin, begin + LONGEST_CHUNK_LINE)
        if end < 0:
            if len(data) - begin >= LONGEST_CHUNK_LINE or not may_become_chunk_size(data, begin):
                return self._refuse(refusals.BAD_CHUNK)
            return False
        found = chunk_size(data, begin, end)
        if found is None:
            return self._refuse(refusals.BAD_CHUNK)
        size, extensions = found
        self._size += size
        self._extensions += extensions
        if self._extensions > MOST_EXTENSIONS:
            return self._refuse(refusals.BAD_CHUNK)
        if self._limits.body is not None and self._size > self._limits.body:
            return self._refuse(refusals.LONG_BODY)
        self._at = end + 2
        if not size:
            self._stage = Stage.TRAILERS
            return True
        self._passage.span(self._data, begin, end - extensions)
        if extensions:
            self._passage.insert(b"\r\n")
        else:
            self._passage.span(self._data, end, end + 2)
        self._left = size
        self._stage = Stage.CHUNK
        return True

    def _read_chunk_end(self) -> bool:
        there = self._data[self._at : self._at + 2]
        if there == b"\r\n":
            self._passage.span(self._data, self._at, self._at + 2)
            self._at += 2
            self._stage = Stage.CHUNK_LINE
            return True
        return False if there in {b"", b"\r"} else self._refuse(refusals.BAD_CHUNK)

    def _read_trailers(self) -> bool:
        """RFC 9110, section 6.5.1: what nobody asked for may be dropped, and is."""
        data, begin = self._data, self._at
        room = self._limits.head - self._trailers
        end = data.find(b"\r\n", begin, begin + room)
        if end < 0:
            return self._incomplete(begin, room, refusals.LONG_HEAD)
        self._scanned = self._at = end + 2
        if end == begin:
            self._passage.insert(b"0\r\n\r\n")
            self._end_message()
            return True
        if not are_fields(data, begin, end + 2):
            return self._refuse(refusals.BAD_BYTE if stray(data, begin, end + 1) else refusals.BAD_FIELD)
        self._trailers += end + 2 - begin
        return True

    def _end_message(self) -> None:
        assert self._message is not None
        assert self._message.head is not None
        head = self._message.head
        self._message = None
        self._line = None
        if head.websocket:
            self._stage = Stage.HELD
        elif head.keep_alive:
            self._stage = Stage.LINE
        else:
            # RFC 9112, section 9.6: what follows is not a request any more.
            self._stage = Stage.OVER

    def _refuse(self, refusal: Refusal) -> bool:
        if self._message is not None:
            self._message.refuse(refusal)
        elif self._stage is not Stage.OVER:
            self.messages.append(Message(None, refusal=refusal, line=self._line))
            self._passage.set_apart()
            self._passage.insert(STAND_IN)
        self._message = None
        self._stage = Stage.OVER
        return True
