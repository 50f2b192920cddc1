"""What each API of OpenAI answers, as documents and events: the words of `fake_azure`, which decides who gets them.

Everything follows from the request and the text that the test wished for, so that a client's view can be compared with it.
A model that is offered tools calls the first one with `ARGUMENTS`; given that tool's result, it answers in text.
"""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Document = dict[str, Any]

ARGUMENTS = '{"city": "Tromsø"}'
"""With what a tool is called; not all ASCII, because it crosses several encoders."""
IMAGE = b"\x89PNG\r\n\x1a\n" + bytes(range(256))
SPEECH = b"ID3" + bytes(range(256)) * 64
EMBEDDING = (0.25, -0.5, 0.125)

_CREATED = 1_700_000_000
_USAGE = {"prompt_tokens": 7, "completion_tokens": 1, "total_tokens": 8}


@dataclass(frozen=True, slots=True)
class Request:
    """What an answer depends on. `number` tells one answer from the next, `text` is what it says."""

    body: Mapping[str, Any]
    model: str
    number: int
    text: str

    @property
    def tool(self) -> str | None:
        """The name of the tool that is called instead of an answer in text."""
        tools = self.body.get("tools")
        turns = self.body.get("messages") or self.body.get("input")
        last = turns[-1] if isinstance(turns, list) and turns else {}
        if not tools or last.get("role") == "tool" or last.get("type") == "function_call_output":
            return None
        return str(tools[0].get("name") or tools[0]["function"]["name"])


@dataclass(frozen=True, slots=True)
class Stream:
    """A stream's events, encoded: one piece for each chunk of the text, and what comes after the last."""

    pieces: Sequence[bytes]
    closing: Sequence[bytes]


def _chat(request: Request) -> Document:
    message: Document = {"role": "assistant", "content": request.text}
    if request.tool is not None:
        message = {"role": "assistant", "content": None, "tool_calls": [_tool_call(request, request.tool)]}
    return {
        "id": f"chatcmpl-{request.number}",
        "object": "chat.completion",
        "created": _CREATED,
        "model": request.model,
        "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls" if request.tool else "stop"}],
        "usage": _USAGE,
    }


def _tool_call(request: Request, name: str) -> Document:
    return {
        "id": f"call_{request.number}",
        "type": "function",
        "function": {"name": name, "arguments": ARGUMENTS},
    }


def _embeddings(request: Request) -> Document:
    """As base64 where that was asked for, which OpenAI's own clients do unless told otherwise."""
    texts = request.body.get("input") or ""
    encoded = base64.b64encode(packed(EMBEDDING)).decode()
    vector = encoded if request.body.get("encoding_format") == "base64" else list(EMBEDDING)
    count = 1 if isinstance(texts, str) else len(texts)
    data = [{"object": "embedding", "index": index, "embedding": vector} for index in range(count)]
    usage = {"prompt_tokens": count, "total_tokens": count}
    return {"object": "list", "model": request.model, "data": data, "usage": usage}


def packed(values: Sequence[float]) -> bytes:
    return struct.pack(f"<{len(values)}f", *values)


def _image(request: Request) -> Document:
    encoded = base64.b64encode(IMAGE).decode()
    return {"created": _CREATED, "data": [{"b64_json": encoded, "revised_prompt": str(request.body.get("prompt"))}]}


def _transcription(request: Request) -> Document:
    return {"text": request.text}


def _moderation(request: Request) -> Document:
    result = {"flagged": False, "categories": {"violence": False}, "category_scores": {"violence": 0.01}}
    return {"id": f"modr-{request.number}", "model": request.model, "results": [result]}


def _response(request: Request) -> Document:
    return {
        "id": f"resp_{request.number}",
        "object": "response",
        "created_at": _CREATED,
        "status": "completed",
        "model": request.model,
        "output": [_item(request)],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": request.body.get("tools") or [],
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "metadata": {},
        "temperature": 1.0,
        "top_p": 1.0,
        "usage": {
            "input_tokens": 7,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": 1,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": 8,
        },
    }


def _item(request: Request) -> Document:
    if request.tool is not None:
        called = {"call_id": f"call_{request.number}", "name": request.tool, "arguments": ARGUMENTS}
        return {"type": "function_call", "id": f"fc_{request.number}", "status": "completed", **called}
    part = {"type": "output_text", "text": request.text, "annotations": []}
    return {
        "type": "message",
        "id": f"msg_{request.number}",
        "role": "assistant",
        "status": "completed",
        "content": [part],
    }


DOCUMENTS: Mapping[str, Callable[[Request], Document]] = {
    "chat/completions": _chat,
    "embeddings": _embeddings,
    "images/generations": _image,
    "audio/transcriptions": _transcription,
    "moderations": _moderation,
    "responses": _response,
}
"""By the path below a deployment, or below `/v1`."""

SPEECH_PATH = "audio/speech"
"""Its answer is `SPEECH`, and no document."""


def chat_stream(request: Request, texts: Sequence[str]) -> Stream:
    """In pieces of `texts`, or, where a tool is called, its name and then its arguments in as many pieces."""

    def chunk(delta: Document, finish: str | None = None) -> bytes:
        choices = [{"index": 0, "delta": delta, "finish_reason": finish}]
        return _data(_chunk(request, choices))

    if request.tool is None:
        pieces = [chunk({"role": "assistant", "content": text}) for text in texts]
    else:
        call = _tool_call(request, request.tool)
        begun = {"index": 0, **call, "function": {"name": request.tool, "arguments": ""}}
        pieces = [chunk({"role": "assistant", "content": None, "tool_calls": [begun]})]
        pieces += [
            chunk({"tool_calls": [{"index": 0, "function": {"arguments": part}}]})
            for part in _cut(ARGUMENTS, len(texts))
        ]
    closing = [chunk({}, "tool_calls" if request.tool else "stop")]
    if (request.body.get("stream_options") or {}).get("include_usage"):
        closing.append(_data({**_chunk(request, []), "usage": _USAGE}))
    return Stream(pieces, [*closing, b"data: [DONE]\n\n"])


def _chunk(request: Request, choices: list[Document]) -> Document:
    return {
        "id": f"chatcmpl-{request.number}",
        "object": "chat.completion.chunk",
        "created": _CREATED,
        "model": request.model,
        "choices": choices,
    }


def response_stream(request: Request, texts: Sequence[str]) -> Stream:
    """The responses API names its events and numbers them; the last one carries the whole response."""
    numbers = iter(range(1_000_000))

    def event(kind: str, **fields: Any) -> bytes:
        document = {"type": kind, "sequence_number": next(numbers), **fields}
        return f"event: {kind}\n".encode() + _data(document)

    whole = _response(request)
    item = whole["output"][0]
    begun = {**whole, "status": "in_progress", "output": [], "usage": None}
    place = {"item_id": item["id"], "output_index": 0}
    opening = event("response.created", response=begun)
    if request.tool is not None:
        opening += event("response.output_item.added", output_index=0, item={**item, "arguments": ""})
        kind, parts = "response.function_call_arguments", _cut(ARGUMENTS, len(texts))
        last = {"arguments": ARGUMENTS, "name": request.tool}
    else:
        opening += event("response.output_item.added", output_index=0, item={**item, "content": []})
        part = {"type": "output_text", "text": "", "annotations": []}
        opening += event("response.content_part.added", **place, content_index=0, part=part)
        place["content_index"] = 0
        kind, parts, last = "response.output_text", list(texts), {"text": request.text}
    pieces = [event(f"{kind}.delta", **place, delta=part) for part in parts]
    pieces[0] = opening + pieces[0]
    closing = [
        event(f"{kind}.done", **place, **last),
        event("response.output_item.done", output_index=0, item=item),
        event("response.completed", response=whole),
    ]
    return Stream(pieces, closing)


STREAMS: Mapping[str, Callable[[Request, Sequence[str]], Stream]] = {
    "chat/completions": chat_stream,
    "responses": response_stream,
}


def _cut(text: str, pieces: int) -> list[str]:
    size = -(-len(text) // pieces)
    return [text[start : start + size] for start in range(0, len(text), size)]


def _data(document: Document) -> bytes:
    return f"data: {json.dumps(document)}\n\n".encode()
