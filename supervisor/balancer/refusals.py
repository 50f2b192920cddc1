"""What a client's request can be refused for before anybody looks at what it asks. Values only.

Statuses follow RFC 9110, section 15; codes are stable, for programs; messages say what is wrong, for people.
"""

from __future__ import annotations

from supervisor.policy.access import Refusal

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
"""What is passed on. CONNECT and TRACE are known and never are; a gateway to one application has no use for others."""


def _bad(code: str, message: str) -> Refusal:
    return Refusal(400, code, message)


BAD_LINE = _bad("invalid_request_line", "the request line is not 'METHOD target HTTP/1.1'")
BAD_TARGET = _bad("invalid_target", "the request's target must be a path, or an http URL whose authority is the Host")
BAD_BYTE = _bad("invalid_character", "the request's head has a control character, or a line that does not end in CR LF")
BAD_FIELD = _bad(
    "invalid_header",
    "a header's name or value is invalid, folded over several lines, or there twice where once is right",
)
BAD_HOST = _bad("invalid_host", "there must be exactly one Host, and it must be a name or an address, and a port")
BAD_LENGTH = _bad("invalid_content_length", "Content-Length must be one number, and stand alone")
BAD_CODING = _bad(
    "invalid_transfer_encoding", "Transfer-Encoding must be 'chunked', on HTTP/1.1, without Content-Length"
)
BAD_CHUNK = _bad("invalid_chunk", "the request's chunked body is malformed")
BAD_BODY = _bad("invalid_body", "the request's body is not what its headers announced")
BAD_METHOD = Refusal(405, "method_not_allowed", "this method is not served here")
SLOW_HEAD = Refusal(408, "header_timeout", "the rest of the request's head did not come in time (limits.head_timeout)")
SLOW_BODY = Refusal(408, "body_timeout", "the rest of the request's body did not come in time (limits.body_timeout)")
LONG_BODY = Refusal(413, "body_too_large", "the request's body is larger than limits.body_bytes")
LONG_TARGET = Refusal(414, "target_too_long", "the request's target is longer than limits.target_bytes")
BAD_EXPECTATION = Refusal(417, "unknown_expectation", "the only expectation that can be met is 100-continue")
LONG_HEAD = Refusal(431, "headers_too_large", "the request's head is larger than limits.head_bytes")
UNKNOWN_METHOD = Refusal(501, "unknown_method", "this method is not known here")
UNKNOWN_CODING = Refusal(501, "unknown_transfer_coding", "the only transfer coding that is understood is chunked")
CROWDED = Refusal(503, "too_many_connections", "too many connections are open (limits.connections)")
BAD_VERSION = Refusal(505, "unknown_version", "HTTP/1.1 and HTTP/1.0 are spoken here")
