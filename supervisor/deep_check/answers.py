"""What the stub answers in a provider's place: the smallest well-formed response of each API that it recognises.

Standard library only, because the sealed process loads it by its path. An API is recognised by the request's path,
which for most providers is OpenAI's. What is not recognised gets an empty object and `dialect` None: that the request
was built and sent is all that can be said of it then.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlsplit

TOKEN = "token"  # noqa: S105  # the dialect's name: a request for a credential, not one for the model
FAILURE = "litesup-stub-failure"
_MODEL = "stub"
_TEXT = "ok"
_WHEN = 1_700_000_000
_VECTOR = [0.0] * 8
_PIXEL = base64.b64encode(b"stub").decode()
_IDENTIFIER = "stub-1"

_SHOWN_PARAMETERS = frozenset({"api-version", "api_version", "alt"})
_CREDENTIAL_HEADER = re.compile(r"authorization$|api-?key$|subscription-key$|-token$|^token$", re.IGNORECASE)
_EMPTY_CREDENTIAL = re.compile(r"(?:(?:bearer|basic|token|key)\s*)?(?:none|null)?\s*", re.IGNORECASE)
_METADATA = frozenset({"metadata", "metadata.google.internal", "fd00:ec2::254"})


@dataclass(frozen=True, slots=True)
class Answer:
    dialect: str | None
    content_type: str
    body: bytes
    status: int = 200


def answer(url: str, body: bytes) -> Answer:
    """The answer to a request for this URL."""
    parts = urlsplit(url)
    if (parts.hostname or "").startswith("sts."):
        return _role(TOKEN, url, {})
    path = parts.path.rstrip("/")
    for pattern, dialect, make in _DIALECTS:
        if pattern.search(path):
            return make(dialect, url, _parsed(body))
    return _json(None, {})


def failure() -> Answer:
    """A provider's fault, which whoever retries may try again at once."""
    error = {"message": FAILURE, "type": "server_error", "param": None, "code": None}
    return Answer(None, "application/json", json.dumps({"error": error}).encode(), 500)


def is_metadata_service(url: str) -> bool:
    """Whether this is where a cloud's machine asks for its own credentials; the stub cannot know any."""
    host = urlsplit(url).hostname or ""
    return host in _METADATA or host.startswith("169.254.")


def is_web_address(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme in {"http", "https"} and bool(parts.hostname)


def shown_url(url: str) -> str:
    """The URL without what may be a credential: no user, no password, no parameter but the API's version."""
    if not is_web_address(url):
        return url.partition("?")[0].rpartition("@")[2]
    parts = urlsplit(url)
    host = parts.hostname or ""
    if ":" in host:
        host = f"[{host}]"
    port = f":{parts.port}" if parts.port else ""
    kept = [f"{name}={value}" for name, value in parse_qsl(parts.query) if name.lower() in _SHOWN_PARAMETERS]
    return f"{parts.scheme}://{host}{port}{parts.path}" + (f"?{'&'.join(kept)}" if kept else "")


def credential(url: str, headers: dict[str, str]) -> str:
    """How the request would identify its sender: `sent`, `none`, or `reference` for one that nobody resolved."""
    values = [value for name, value in headers.items() if _CREDENTIAL_HEADER.search(name)]
    values += [value for name, value in parse_qsl(urlsplit(url).query) if name.lower() in {"key", "api_key", "token"}]
    given = [value for value in values if not _EMPTY_CREDENTIAL.fullmatch(value.strip())]
    if any("os.environ/" in value or "${" in value for value in given):
        return "reference"
    return "sent" if given else "none"


def _parsed(body: bytes) -> dict[str, Any]:
    try:
        document = json.loads(body)
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def _json(dialect: str | None, document: object) -> Answer:
    return Answer(dialect, "application/json", json.dumps(document).encode())


def _events(dialect: str, *events: object) -> Answer:
    lines = [f"data: {json.dumps(event)}\n\n" for event in events]
    return Answer(dialect, "text/event-stream", "".join([*lines, "data: [DONE]\n\n"]).encode())


def _chat(dialect: str, url: str, asked: dict[str, Any]) -> Answer:
    # The last two are what some of OpenAI's imitators add, and LiteLLM then counts on.
    head = {
        "id": _IDENTIFIER,
        "created": _WHEN,
        "model": _MODEL,
        "service_tier": "default",
        "system_fingerprint": _IDENTIFIER,
    }
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
    if asked.get("stream") is True:
        choice = {"index": 0, "delta": {"role": "assistant", "content": _TEXT}, "finish_reason": "stop"}
        return _events(dialect, {**head, "object": "chat.completion.chunk", "choices": [choice], "usage": usage})
    choice = {"index": 0, "message": {"role": "assistant", "content": _TEXT}, "finish_reason": "stop"}
    return _json(dialect, {**head, "object": "chat.completion", "choices": [choice], "usage": usage})


def _completion(dialect: str, url: str, asked: dict[str, Any]) -> Answer:
    choice = {"index": 0, "text": _TEXT, "logprobs": None, "finish_reason": "stop"}
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
    head = {"id": _IDENTIFIER, "object": "text_completion", "created": _WHEN, "model": _MODEL}
    return _json(dialect, {**head, "choices": [choice], "usage": usage})


def _embedding(dialect: str, url: str, asked: dict[str, Any]) -> Answer:
    usage = {"prompt_tokens": 1, "total_tokens": 1}
    data = [{"object": "embedding", "index": 0, "embedding": _VECTOR}]
    return _json(dialect, {"object": "list", "model": _MODEL, "data": data, "usage": usage})


def _image(dialect: str, url: str, asked: dict[str, Any]) -> Answer:
    return _json(dialect, {"created": _WHEN, "data": [{"b64_json": _PIXEL}]})


def _speech(dialect: str, url: str, asked: dict[str, Any]) -> Answer:
    return Answer(dialect, "audio/mpeg", b"stub")


def _transcription(dialect: str, url: str, asked: dict[str, Any]) -> Answer:
    return _json(dialect, {"text": _TEXT})


def _moderation(dialect: str, url: str, asked: dict[str, Any]) -> Answer:
    result = {"flagged": False, "categories": {}, "category_scores": {}, "category_applied_input_types": {}}
    return _json(dialect, {"id": _IDENTIFIER, "model": _MODEL, "results": [result]})


def _response(dialect: str, url: str, asked: dict[str, Any]) -> Answer:
    text = {"type": "output_text", "text": _TEXT, "annotations": []}
    message = {"type": "message", "id": "msg_1", "status": "completed", "role": "assistant", "content": [text]}
    usage = {
        "input_tokens": 1,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": 1,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 2,
    }
    document = {
        "id": "resp_1",
        "object": "response",
        "created_at": _WHEN,
        "status": "completed",
        "model": _MODEL,
        "output": [message],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "usage": usage,
    }
    if asked.get("stream") is True:
        return _events(dialect, {"type": "response.completed", "sequence_number": 0, "response": document})
    return _json(dialect, document)


def _rerank(dialect: str, url: str, asked: dict[str, Any]) -> Answer:
    meta = {"billed_units": {"search_units": 1}, "tokens": {"input_tokens": 1}}
    return _json(dialect, {"id": _IDENTIFIER, "results": [{"index": 0, "relevance_score": 1.0}], "meta": meta})


def _messages(dialect: str, url: str, asked: dict[str, Any]) -> Answer:
    return _json(
        dialect,
        {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": _MODEL,
            "content": [{"type": "text", "text": _TEXT}],
            "stop_reason": "end_turn",
            "stop_sequence": None,
            "usage": {"input_tokens": 1, "output_tokens": 1},
        },
    )


def _generated(dialect: str, url: str, asked: dict[str, Any]) -> Answer:
    candidate = {"index": 0, "content": {"role": "model", "parts": [{"text": _TEXT}]}, "finishReason": "STOP"}
    usage = {"promptTokenCount": 1, "candidatesTokenCount": 1, "totalTokenCount": 2}
    return _json(dialect, {"candidates": [candidate], "usageMetadata": usage, "modelVersion": _MODEL})


def _gemini_embedding(dialect: str, url: str, asked: dict[str, Any]) -> Answer:
    return _json(dialect, {"embedding": {"values": _VECTOR}, "embeddings": [{"values": _VECTOR}]})


def _converse(dialect: str, url: str, asked: dict[str, Any]) -> Answer:
    message = {"role": "assistant", "content": [{"text": _TEXT}]}
    usage = {"inputTokens": 1, "outputTokens": 1, "totalTokens": 2}
    document = {"output": {"message": message}, "stopReason": "end_turn", "usage": usage, "metrics": {"latencyMs": 1}}
    return _json(dialect, document)


def _invoked(dialect: str, url: str, asked: dict[str, Any]) -> Answer:
    if "anthropic" in urlsplit(url).path:
        return _messages(dialect, url, asked)
    if "inputText" in asked and "textGenerationConfig" not in asked:
        return _json(dialect, {"embedding": _VECTOR, "inputTextTokenCount": 1})
    return _json(None, {})


def _ollama(dialect: str, url: str, asked: dict[str, Any]) -> Answer:
    counts = {"done": True, "done_reason": "stop", "prompt_eval_count": 1, "eval_count": 1}
    head = {"model": _MODEL, "created_at": "2024-01-01T00:00:00Z"}
    message = {"role": "assistant", "content": _TEXT}
    return _json(dialect, {**head, "message": message, "response": _TEXT, "embeddings": [_VECTOR], **counts})


def _cohere(dialect: str, url: str, asked: dict[str, Any]) -> Answer:
    message = {"role": "assistant", "content": [{"type": "text", "text": _TEXT}]}
    counts = {"input_tokens": 1, "output_tokens": 1}
    usage = {"billed_units": counts, "tokens": counts}
    return _json(dialect, {"id": _IDENTIFIER, "message": message, "finish_reason": "COMPLETE", "usage": usage})


def _token(dialect: str, url: str, asked: dict[str, Any]) -> Answer:
    return _json(
        dialect, {"access_token": "stub-token", "token_type": "Bearer", "expires_in": 3600, "ext_expires_in": 3600}
    )


def _role(dialect: str, url: str, asked: dict[str, Any]) -> Answer:
    """AWS's answer to AssumeRole and its kin, whichever was asked for."""
    keys = (("AccessKeyId", "ASIASTUB"), ("SecretAccessKey", "stub"), ("SessionToken", "stub"))
    values = "".join(f"<{name}>{value}</{name}>" for name, value in keys)
    credentials = f"<Credentials>{values}<Expiration>2100-01-01T00:00:00Z</Expiration></Credentials>"
    kinds = ("AssumeRole", "AssumeRoleWithWebIdentity", "GetSessionToken")
    results = "".join(f"<{kind}Result>{credentials}</{kind}Result>" for kind in kinds)
    return Answer(dialect, "text/xml", f"<Response>{results}</Response>".encode())


def _discovery(dialect: str, url: str, asked: dict[str, Any]) -> Answer:
    """Where a sign-in service has its endpoints; Azure's library asks for it before it asks for a token."""
    parts = urlsplit(url)
    tenant = parts.path.strip("/").split("/")[0] or "common"
    base = f"{parts.scheme}://{parts.netloc}/{tenant}"
    return _json(
        dialect,
        {
            "tenant_discovery_endpoint": f"{base}/v2.0/.well-known/openid-configuration",
            "authorization_endpoint": f"{base}/oauth2/v2.0/authorize",
            "token_endpoint": f"{base}/oauth2/v2.0/token",
            "device_authorization_endpoint": f"{base}/oauth2/v2.0/devicecode",
            "issuer": f"{base}/v2.0",
            "metadata": [],
        },
    )


_Make = Callable[[str, str, dict[str, Any]], Answer]
_DIALECTS: tuple[tuple[re.Pattern[str], str, _Make], ...] = tuple(
    (re.compile(pattern), dialect, make)
    for pattern, dialect, make in (
        (r"/openid-configuration$|/discovery/instance$", TOKEN, _discovery),
        (r"(^|/)token$|/oauth2?/.*token$|:generateAccessToken$", TOKEN, _token),
        (r"/chat/completions$", "openai", _chat),
        (r"/completions$", "openai", _completion),
        (r"/model/[^/]+/converse$", "bedrock", _converse),
        (r"/model/[^/]+/invoke$", "bedrock", _invoked),
        (r":(stream)?[gG]enerateContent$", "gemini", _generated),
        (r":(batchE|e)mbedContents?$", "gemini", _gemini_embedding),
        (r":(stream)?[rR]awPredict$|/messages$", "anthropic", _messages),
        (r"/embeddings$", "openai", _embedding),
        (r"/images/(generations|edits)$", "openai", _image),
        (r"/audio/speech$", "openai", _speech),
        (r"/audio/(transcriptions|translations)$", "openai", _transcription),
        (r"/moderations$", "openai", _moderation),
        (r"/responses$", "openai", _response),
        (r"/rerank$", "cohere", _rerank),
        (r"/v2/chat$", "cohere", _cohere),
        (r"/api/(chat|generate|embed|embeddings|show)$", "ollama", _ollama),
    )
)
