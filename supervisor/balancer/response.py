"""What a replica sends, read as the answer to one request after the other. Sans-IO.

Read as strictly as requests are, by the same `grammar`: a client must never get a head that says something else than
its body does, or a byte that belongs to no answer. Whatever the split, the same bytes mean the same.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable

from supervisor.balancer.grammar import are_fields, chunk_size, may_become_chunk_size, stray
from supervisor.balancer.response_head import BadResponse, ResponseHead

MOST_HEAD = 256 * 1024
"""Bytes of one head, and of the trailers of one body."""

LONGEST_CHUNK_LINE = 16 * 1024
"""Bytes of the line before a chunk, with its extensions."""

MOST_INTERIM = 16

_STARTS = (b"HTTP/1.1 ", b"HTTP/1.0 ")
_START_SIZE = len(_STARTS[0])
# RFC 9112, section 4: the reason may be missing, and, from some, the space before it.
_STATUS = re.compile(rb"HTTP/1\.([01]) ([1-5][0-9][0-9])(?: ([\t\x20-\x7e\x80-\xff]*+))?")
_FRAMING = re.compile(rb"(?i:content-length|transfer-encoding):")
_USUAL_LINE = 16  # bytes before a chunk


class ResponseReader:
    """The answers on one connection; `begin` before each. `pieces` of its body are for whoever takes them.

    `complete` is true at its end, `switched` when bytes are another protocol's from now on. `reusable` says whether
    the next answer on this connection can be told from this one.
    """

    __slots__ = (
        "_at",
        "_data",
        "_head_only",
        "_interims",
        "_left",
        "_on_interim",
        "_scanned",
        "_stage",
        "_trailers",
        "_websocket",
        "complete",
        "head",
        "pieces",
        "reusable",
        "switched",
    )

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.reusable = True
        self.switched = False
        self.begin(head_only=False)

    def begin(
        self, *, head_only: bool, websocket: bool = False, on_interim: Callable[[ResponseHead], None] | None = None
    ) -> None:
        """The next answer is to a request of this kind. `websocket`: it asked for switching protocols.

        Only where the last one is complete, and `reusable`.
        """
        self._head_only = head_only
        self._websocket = websocket
        self._on_interim = on_interim
        self._stage = ResponseReader._read_head
        self._data = b""  # what came, as far as it is not read
        self._at = 0
        self._scanned = 0  # bytes of a head that is not complete, looked through so far
        self._left = 0  # of a body with a length, or of a chunk
        self._trailers = 0
        self._interims = 0
        self.head: ResponseHead | None = None
        self.complete = False

    def let_go(self) -> None:
        """No interim answer is passed on any more; who was to get it need not be held by who holds this."""
        self._on_interim = None

    @property
    def begun(self) -> bool:
        """Whether there is something to pass on: the head alone of a body with a length tells nobody anything yet."""
        head = self.head
        if head is None:
            return False
        return self.complete or head.chunked or head.length is None or self._left < head.length

    def feed(self, data: bytes) -> None:
        """Raises BadResponse."""
        self._data = data = self._data + data if self._data else data
        self._at = 0
        size = len(data)
        while self._at < size and self._stage(self):
            pass
        self._data = data[self._at :]

    def end(self) -> bool:
        """The replica's end of the connection: whether it is also the answer's."""
        self.reusable = False
        if self.switched or (self.head is not None and self.head.until_close):
            self._end()
        return self.complete

    # The stages: each reads what the next byte belongs to, and says whether it could go on.

    def _read_head(self) -> bool:
        data, begin = self._data, self._at
        if not data.startswith(_STARTS, begin):
            if len(data) - begin < _START_SIZE and any(start.startswith(data[begin:]) for start in _STARTS):
                return False
            raise BadResponse("it does not begin with a status line")  # but with what was behind another answer
        end = data.find(b"\r\n\r\n", begin + max(0, self._scanned - 3), begin + MOST_HEAD)
        if end < 0:
            return self._incomplete(begin)
        line_end = data.find(b"\r\n", begin)
        http_1_0, status, reason = _status_line(data[begin:line_end])
        if not are_fields(data, line_end + 2, end + 2):
            raise BadResponse("its header section has something else than fields")
        self._scanned = 0
        self._at = end + 4
        head = ResponseHead.read(status, reason, data[line_end:end])
        if http_1_0 and head.chunked:
            raise BadResponse("it is chunked, and of version 1.0")
        if http_1_0 or head.closes:
            self.reusable = False
        if status < 200 and status != 101:
            self._take_interim(head)
        else:
            self._take_final(head)
        return True

    def _incomplete(self, begin: int) -> bool:
        """More of a head is needed, unless what is there can never become one."""
        data = self._data
        if len(data) - begin >= MOST_HEAD:
            raise BadResponse("its head is too long")
        if stray(data, begin + max(0, self._scanned - 1), len(data)):
            raise BadResponse("its head has a byte that none may have")
        line_end = data.find(b"\r\n", begin)
        if line_end >= 0:
            _status_line(data[begin:line_end])
        self._scanned = len(data) - begin
        return False

    def _take_final(self, head: ResponseHead) -> None:
        """What follows this head, and what may follow the answer."""
        self.head = head
        self.let_go()
        status = head.status
        head.bodiless = self._head_only or status in {101, 204, 304}
        if status == 101:
            if not (self._websocket and head.switches_to_websocket):
                self.head = None
                raise BadResponse("it switches protocols unasked")
            self.switched = True
            self.reusable = False
            self._stage = ResponseReader._read_rest
        elif head.bodiless or head.length == 0:
            self._end()
            if self._head_only:
                self.reusable = False  # some send a body all the same, and that may come later
        elif head.chunked:
            self._stage = ResponseReader._read_chunk_line
        elif head.length is not None:
            self._left = head.length
            self._stage = ResponseReader._read_length
        else:
            self.reusable = False
            self._stage = ResponseReader._read_rest

    def _take_interim(self, head: ResponseHead) -> None:
        """RFC 9110, section 15.2: passed on, but for 100, which answers an expectation that the client did not send."""
        self._interims += 1
        if self._interims > MOST_INTERIM:
            raise BadResponse("it does not end its interim responses")
        if head.status != 100 and self._on_interim is not None:
            self._on_interim(head)

    def _end(self) -> None:
        self.complete = True
        self._stage = ResponseReader._read_nobodys

    def _read_nobodys(self) -> bool:
        """What comes behind an answer: nobody asked for it."""
        self.reusable = False
        self._at = len(self._data)
        return False

    def _read_rest(self) -> bool:
        self.pieces.append(self._data[self._at :])
        self._at = len(self._data)
        return False

    def _read_length(self) -> bool:
        piece = self._data[self._at : self._at + self._left]
        self.pieces.append(piece)
        self._at += len(piece)
        self._left -= len(piece)
        if self._left:
            return False
        self._end()
        return True

    def _read_chunk_line(self) -> bool:
        data, begin = self._data, self._at
        end = data.find(b"\r\n", begin, begin + LONGEST_CHUNK_LINE)
        if end < 0:
            if len(data) - begin >= LONGEST_CHUNK_LINE or not may_become_chunk_size(data, begin):
                raise BadResponse("it has something else than a chunk's size")
            return False
        size = _size(data[begin:end]) if end - begin <= _USUAL_LINE else _any_size(data, begin, end)
        begin = end + 2
        end = begin + size
        if size and data.startswith(b"\r\n", end):  # all of it is here, as nearly always
            self.pieces.append(data[begin:end])
            self._at = end + 2
            return True
        self._at = begin
        self._left = size
        self._stage = ResponseReader._read_chunk if size else ResponseReader._read_trailers
        return True

    def _read_chunk(self) -> bool:
        data, begin = self._data, self._at
        piece = data[begin : begin + self._left]
        self.pieces.append(piece)
        self._left -= len(piece)
        self._at = begin + len(piece)
        if self._left:
            return False
        self._stage = ResponseReader._read_chunk_end
        return True

    def _read_chunk_end(self) -> bool:
        if self._data.startswith(b"\r\n", self._at):
            self._at += 2
            self._stage = ResponseReader._read_chunk_line
            return True
        if self._data[self._at :] == b"\r":
            return False
        raise BadResponse("a chunk is longer than its size")

    def _read_trailers(self) -> bool:
        """RFC 9110, section 6.5.1: what nobody asked for may be dropped, and is."""
        data, begin = self._data, self._at
        room = MOST_HEAD - self._trailers
        end = data.find(b"\r\n", begin, begin + room)
        if end < 0:
            if len(data) - begin >= room or stray(data, begin, len(data)):
                raise BadResponse("its trailers are too long, or have a byte that none may have")
            return False
        self._at = end + 2
        self._trailers += end + 2 - begin
        if end == begin:
            self._end()
            return True
        if not are_fields(data, begin, end + 2) or _FRAMING.match(data, begin):
            raise BadResponse("it has trailers that are none")
        return True


@functools.lru_cache(maxsize=64)
def _status_line(line: bytes) -> tuple[bool, int, bytes]:
    """Whether it is of HTTP/1.0, the status, and the reason."""
    found = _STATUS.fullmatch(line)
    if found is None:
        raise BadResponse("its status line is none")
    version, status, reason = found.groups(b"")
    return version == b"0", int(status), reason


def _any_size(data: bytes, begin: int, end: int) -> int:
    found = chunk_size(data, begin, end)
    if found is None:
        raise BadResponse("it has something else than a chunk's size")
    return found[0]


@functools.lru_cache(maxsize=4096)
def _size(line: bytes) -> int:
    """Of a chunk, from a line as they usually are: the same ones come again and again."""
    return _any_size(line, 0, len(line))
