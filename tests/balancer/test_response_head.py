"""A response's head: what is known of it, and what the client gets of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.balancer.response import ResponseReader
from supervisor.balancer.response_head import Framing, ResponseHead, interim_head, response_head


def read(*fields: bytes, status: bytes = b"HTTP/1.1 200 OK") -> ResponseHead:
    reader = ResponseReader()
    reader.feed(b"\r\n".join([status, *fields, b"", b""]))
    assert reader.head is not None
    return reader.head


def got(*fields: bytes, framing: Framing = Framing.CHUNKED, keep_alive: bool = True) -> list[bytes]:
    head = response_head(
        read(*fields), framing=framing, slot=2, request_id="id-1", keep_alive=keep_alive, http_1_0=False
    )
    assert head.endswith(b"\r\n\r\n")
    return head[:-4].split(b"\r\n")


def test_what_is_passed_on_is_passed_on_as_it_came():
    fields = [b"hOST: h", b"X-B:caf\xc3\xa9 ", b"X-A:", b"Connection: keep-alive", b"x-a: \t2"]
    lines = got(*fields, framing=Framing.LENGTH)
    assert lines[:5] == [b"HTTP/1.1 200 OK", b"hOST: h", b"X-B:caf\xc3\xa9 ", b"X-A:", b"x-a: \t2"]
    assert lines[5:] == [b"x-litesup-replica: 2", b"x-request-id: id-1"]


@pytest.mark.parametrize("name", [b"Connection", b"Keep-Alive", b"proxy-connection", b"TE", b"Trailer", b"UPGRADE"])
def test_what_belongs_to_one_connection_stays_behind(name):
    assert got(b"X-A: 1", name + b": x", b"X-B: 2")[1:3] == [b"X-A: 1", b"X-B: 2"]


def test_what_connection_names_stays_behind_but_never_what_gives_a_message_its_meaning():
    lines = got(b"X-Hop: 1", b"Connection: content-length, X-hop , close", b"Content-Length: 5", framing=Framing.LENGTH)
    assert lines[1:2] == [b"Content-Length: 5"]
    assert b"x-request-id: id-1" in got(b"Connection: x-request-id", b"X-Request-ID: theirs")


@given(
    st.lists(
        st.tuples(
            st.sampled_from([b"X-A", b"TE", b"te", b"Keep-Alive", b"Connection", b"connectionx", b"xTE"]),
            st.sampled_from([b":", b": ", b":\t "]),
            st.sampled_from([b"", b"x", b"xy", b"x ", b"keep-alive", b"te, x-a", b"close", b"], \\, ^te, (X-A"]),
        ),
        max_size=8,
    )
)
def test_what_stays_behind_is_whole_fields_and_all_of_them(fields: list[tuple[bytes, bytes, bytes]]):
    nominated = {
        option.strip() for name, _, value in fields if name.lower() == b"connection" for option in value.split(b",")
    }
    kept = [
        b"".join(field) for field in fields if field[0].lower() not in {b"te", b"keep-alive", b"connection"} | nominated
    ]
    lines = got(*(b"".join(field) for field in fields), framing=Framing.LENGTH)
    assert lines[1:-2] == kept


def test_framing_is_told_once():
    lines = got(b"Transfer-Encoding: chunked")
    assert [line for line in lines if b"encoding" in line.lower()] == [b"transfer-encoding: chunked"]
    assert not [line for line in got(b"Content-Length: 5", framing=Framing.CHUNKED) if b"ength" in line]
    assert b"Content-Length: 5" in got(b"Content-Length: 5", framing=Framing.LENGTH)
    assert b"connection: close" in got(framing=Framing.CLOSE, keep_alive=False)


def test_the_replica_is_named_and_its_date_and_request_id_are_the_only_ones():
    lines = got(b"date: then", b"server: theirs", b"X-Request-ID: theirs")
    assert b"x-litesup-replica: 2" in lines
    assert [line for line in lines if line.lower().startswith((b"date", b"server", b"x-request-id"))] == [
        b"date: then",
        b"server: theirs",
        b"X-Request-ID: theirs",
    ]


def test_an_interim_response_has_no_length_and_nothing_is_added():
    seen: list[ResponseHead] = []
    reader = ResponseReader()
    reader.begin(head_only=False, on_interim=seen.append)
    reader.feed(b"HTTP/1.1 103 Early\r\nLink: a\r\nContent-Length: 5\r\nConnection: link\r\nX-A: b\r\n\r\n")
    assert interim_head(seen[0]) == b"HTTP/1.1 103 Early\r\nX-A: b\r\n\r\n"


@pytest.mark.parametrize(
    ("fields", "events"),
    [
        ([b"content-type: text/event-stream; charset=utf-8"], True),
        ([b"Content-Type:Text/Event-Stream ", b"content-encoding: identity"], True),
        ([b"content-type: text/event-stream", b"Content-Encoding: gzip"], False),
        ([b"content-type: text/event-streams"], False),
        ([], False),
    ],
)
def test_an_event_stream_is_one_by_its_type_and_uncoded(fields, events):
    assert read(b"Transfer-Encoding: chunked", *fields).is_event_stream == events
    assert not read(*fields).is_event_stream
