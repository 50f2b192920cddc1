"""What a client sends, cut into messages and judged. Sans-IO.

Fed with bytes in whatever pieces they come, `Guard` returns the messages whose heads they complete, and goes on giving
those their bodies. It follows heads, lengths and chunks to know where the next head begins, so what is refused does
not depend on how the bytes were split. Nobody behind it reads a byte again: heads come taken apart, bodies without
their framing, chunk extensions and trailers not at all. What is refused is a message too, so that the refusal is
answered in its turn. After it, and after a message that ends its connection, nothing more is read.

Whatever the split, the first wrong byte decides. Each rule is therefore applied as soon as its bytes are there:
the request line when it is complete, the bytes of the fields as they come, the fields when they are.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence

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
from supervisor.balancer.message import Message
from supervisor.balancer.template import LONGEST, Template
from supervisor.policy.access import Refusal

LONGEST_CHUNK_LINE = 512
"""Bytes of the line before a chunk, with its extensions."""

MOST_EXTENSIONS = 16 * 1024
"""Bytes of chunk extensions in one body: they are paid for and mean nothing."""


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
    OVER = enum.auto()  # nothing more is read


# Until Python 3.12, looking up an enum's member in its class is a call, and this happens often with each request.
LINE, FIELDS, BODY, CHUNK_LINE, CHUNK, CHUNK_END, TRAILERS, HELD, OVER = Stage


class Guard:
    """One client's connection, as bytes. `receiving` is the message whose body is being read."""

    __slots__ = (
        "_at",
        "_begun",
        "_data",
        "_empty_line",
        "_extensions",
        "_left",
        "_limits",
        "_line",
        "_line_end",
        "_longest_line",
        "_scanned",
        "_size",
        "_stage",
        "_template",
        "_trailers",
        "receiving",
    )

    def __init__(self, limits: Limits) -> None:
        self.receiving: Message | None = None
        self._begun: list[Message] = []  # and not handed on yet
        self._limits = limits
        self._longest_line = line_limit(limits)
        self._stage = LINE
        self._data = b""  # what has been taken from neither the last pieces nor this one
        self._at = 0
        self._line: Line | None = None
        self._line_end = 0  # where its CR LF stands, in `_data`
        self._scanned = 0  # bytes of `_data` that no head may hold have been looked for up to here
        self._empty_line = False  # one before the request line has been passed over
        self._template: Template | None = None  # the last head, should the next one be the same
        self._left = 0  # of a body with a length, or of a chunk
        self._size = 0  # of a chunked body so far
        self._extensions = 0
        self._trailers = 0

    def between(self) -> bool:
        """Whether the next byte begins a request, and nothing is left of any before it."""
        return self._stage is LINE and not self._data and not self._empty_line

    @property
    def within_head(self) -> bool:
        """Whether a head has begun and is not complete."""
        return self._stage is FIELDS or (self._stage is LINE and (bool(self._data) or self._empty_line))

    @property
    def held(self) -> int:
        """How many bytes wait behind a request for a WebSocket."""
        return len(self._data) if self._stage is HELD else 0

    @property
    def over(self) -> bool:
        return self._stage is OVER

    def feed(self, data: bytes) -> Sequence[Message]:
        """The messages that begin with `data`, and with what was kept from before, in their order."""
        if self._template is not None and self._stage is LINE and not self._data:
            again = self._same_again(data)
            if again is not None:
                return (again,)
        if self._data:
            self._data += data
        else:
            self._data = data
        while self._at < len(self._data) and self._step():
            pass
        if self._at:
            self._data = self._data[self._at :]
            self._scanned = max(0, self._scanned - self._at)
            self._line_end -= self._at
            self._at = 0
        begun, self._begun = self._begun, []
        return begun

    def refuse(self, refusal: Refusal) -> Sequence[Message]:
        """Refuses what is being read, for a reason that does not lie in its bytes; as `feed`."""
        self._refuse(refusal)
        begun, self._begun = self._begun, []
        return begun

    def declined(self) -> Sequence[Message]:
        """The request for a WebSocket got another answer: what came behind it is the next request. As `feed`."""
        if self._stage is not HELD:
            return ()
        self._stage = LINE
        return self.feed(b"")

    def switched(self) -> bytes:
        """The protocol has been switched: what came behind the request is the first of what belongs to the other one.

        Nothing more is to be fed.
        """
        held, self._data = self._data, b""
        self._stage = OVER
        return held

    def _same_again(self, data: bytes) -> Message | None:
        """One whole request that is like the last one, as most are: the way through all stages at once."""
        template = self._template
        assert template is not None
        known = template.match(data, 0) if template.plain and not self._empty_line else None
        if known is None or sum(known) != len(data):
            return None
        return Message(template.head, known[1], data[known[0] :])

    def _step(self) -> bool:
        """Goes on by one stage; False where more bytes are needed."""
        stage = self._stage
        if stage is LINE:
            return self._read_line()
        if stage is FIELDS:
            return self._read_fields()
        if stage is BODY or stage is CHUNK:
            return self._read_body()
        if stage is CHUNK_LINE:
            return self._read_chunk_line()
        if stage is CHUNK_END:
            return self._read_chunk_end()
        if stage is TRAILERS:
            return self._read_trailers()
        if stage is OVER:
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
        self._stage = FIELDS
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
        message = Message(head, length)
        self._begun.append(message)
        self.receiving = message
        self._at = end
        self._empty_line = False
        if head.chunked:
            self._size = self._extensions = self._trailers = 0
            self._stage = CHUNK_LINE
        elif length:
            self._left = length
            self._stage = BODY
        else:
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
        end = self._at = begin + taken
        assert self.receiving is not None
        self.receiving.add(self._data[begin:end])
        self._left = left - taken
        if taken < left:
            return False
        if self._stage is CHUNK:
            self._stage = CHUNK_END
        else:
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
            self._stage = TRAILERS
            return True
        self._left = size
        self._stage = CHUNK
        return True

    def _read_chunk_end(self) -> bool:
        there = self._data[self._at : self._at + 2]
        if there == b"\r\n":
            self._at += 2
            self._stage = CHUNK_LINE
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
            self._end_message()
            return True
        if not are_fields(data, begin, end + 2):
            return self._refuse(refusals.BAD_BYTE if stray(data, begin, end + 1) else refusals.BAD_FIELD)
        self._trailers += end + 2 - begin
        return True

    def _end_message(self) -> None:
        message, self.receiving = self.receiving, None
        assert message is not None
        assert message.head is not None
        head = message.head
        self._line = None
        if head.websocket:
            self._stage = HELD
        elif head.keep_alive:
            self._stage = LINE
        else:
            # RFC 9112, section 9.6: what follows is not a request any more.
            self._stage = OVER
        message.end()

    def _refuse(self, refusal: Refusal) -> bool:
        message, self.receiving = self.receiving, None
        if self._stage is not OVER:
            self._stage = OVER
            if message is not None:
                message.refuse(refusal)
            else:
                self._begun.append(Message(None, refusal=refusal, line=self._line))
        return True
