"""What a replica sends, read as the answer to one request. Sans-IO.

httptools (llhttp) cuts the bytes. What it takes, and RFC 9110 and 9112 do not let a gateway pass on, is refused here: a
client must never get a head that says something else than its body does, or a byte that belongs to no answer.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import httptools

MOST_OVERHEAD = 256 * 1024
"""Bytes that a replica may send without one of a body among them: heads, extensions, trailers."""

MOST_INTERIM = 16

_FIRST = ord("H")
_TEXT = re.compile(rb"[\t\x20-\x7e\x80-\xff]*+")


@dataclass(slots=True)
class ResponseHead:
    """Status line and header section, names and values as they were sent."""

    status: int
    reason: bytes
    headers: list[tuple[bytes, bytes]]
    length: int | None  # of the body, where it was announced
    chunked: bool
    bodiless: bool  # whatever the headers say: a response to HEAD, 204, 304, 101

    @property
    def until_close(self) -> bool:
        return not (self.bodiless or self.chunked or self.length is not None)


class BadResponse(Exception):
    """This is no answer that can be passed on; the text says why."""


class ResponseReader:
    """One answer. `complete` is true at its end, `switched` when bytes are another protocol's from now on.

    `reusable` says whether the next answer on this connection can be told from this one.
    """

    __slots__ = (
        "_add",
        "_head_only",
        "_interims",
        "_on_interim",
        "_parsed",
        "_parser",
        "_spent",
        "_websocket",
        "_within_head",
        "complete",
        "head",
        "reusable",
        "switched",
    )

    def __init__(
        self,
        add: Callable[[bytes], None],
        *,
        head_only: bool,
        websocket: bool = False,
        on_interim: Callable[[ResponseHead], None] | None = None,
    ) -> None:
        """`add` gets the body's pieces. `websocket`: whether the request asked for switching protocols."""
        self._add = add
        self._head_only = head_only
        self._websocket = websocket
        self._on_interim = on_interim
        self._parser = httptools.HttpResponseParser(self)
        self._parsed = ResponseHead(0, b"", [], None, chunked=False, bodiless=False)
        self._within_head = False
        self._interims = 0
        self._spent = 0
        self.head: ResponseHead | None = None
        self.complete = False
        self.switched = False
        self.reusable = True

    def feed(self, data: bytes) -> None:
        """Raises BadResponse."""
        if self.switched:
            self._add(data)
            return
        if self.complete:
            self.reusable = False  # nobody asked for these
            return
        if self.head is None and not self._spent and data[0] != _FIRST:
            raise BadResponse("it does not begin with a status line")  # but with what was behind another answer
        self._spent += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            if self.head is None or self.head.status != 101:
                raise BadResponse("it switches protocols unasked") from None
            self.switched = True
            rest = data[upgrade.args[0] :]
            if rest:
                self._add(rest)
        except httptools.HttpParserError as error:
            self.reusable = False
            if not self.complete:
                reason = error.__context__ if isinstance(error.__context__, BadResponse) else error
                raise BadResponse(str(reason)) from None
        if self._spent > MOST_OVERHEAD and not self.complete:
            raise BadResponse("its head or its chunk lines are too long")

    def end(self) -> bool:
        """The replica's end of the connection: whether it is also the answer's."""
        self.reusable = False
        if self.switched or (self.head is not None and self.head.until_close):
            self.complete = True
        return self.complete

    # httptools' callbacks, in the order in which they come.

    def on_message_begin(self) -> None:
        self._within_head = True
        if self.complete:
            self.reusable = False  # a second response to one request
        else:
            self._parsed = ResponseHead(0, b"", [], None, chunked=False, bodiless=False)

    def on_status(self, status: bytes) -> None:
        if not self.complete:
            self._parsed.reason += status

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._within_head or self.complete:
            return  # a trailer, which is dropped: RFC 9110, section 6.5.1
        parsed = self._parsed
        parsed.headers.append((name, value))
        match name.lower():
            case b"content-length":
                parsed.length = int(value)
            case b"transfer-encoding":
                if parsed.chunked or value.strip(b"\t ").lower() != b"chunked":
                    raise BadResponse("the only transfer coding that is understood is chunked")
                parsed.chunked = True
            case b"connection":
                if b"close" in value.lower():
                    self.reusable = False

    def on_headers_complete(self) -> None:
        self._within_head = False
        if self.complete:
            return
        parsed = self._parsed
        status = parsed.status = self._parser.get_status_code()
        version = self._parser.get_http_version()
        if version not in {"1.1", "1.0"}:
            raise BadResponse(f"it is of version {version}")
        if not 100 <= status < 600:
            raise BadResponse(f"its status is {status}")
        if _TEXT.fullmatch(parsed.reason) is None:
            raise BadResponse("its status line has a control character")
        if parsed.chunked and version == "1.0":
            raise BadResponse("it is chunked, and of version 1.0")
        if 100 <= status < 200 and status != 101:
            self._take_interim(parsed)
            return
        if status == 101 and not (self._websocket and self._parser.should_upgrade()):
            raise BadResponse("it switches protocols unasked")
        parsed.bodiless = self._head_only or status in {101, 204, 304}
        if parsed.until_close or status == 101 or version == "1.0":
            self.reusable = False
        self.head = parsed
        if self._head_only:
            # The parser does not know that nothing follows, so this connection ends here.
            self.reusable = False
            self.complete = True

    def on_body(self, data: bytes) -> None:
        if not self.complete:
            self._spent = 0
            self._add(data)

    def on_message_complete(self) -> None:
        if self.head is not None and self.head.status != 101:
            self.complete = True

    def _take_interim(self, head: ResponseHead) -> None:
        """RFC 9110, section 15.2: passed on, but for 100, which answers an expectation that the client did not send."""
        self._interims += 1
        if self._interims > MOST_INTERIM:
            raise BadResponse("it does not end its interim responses")
        if head.status != 100 and self._on_interim is not None:
            self._on_interim(head)
