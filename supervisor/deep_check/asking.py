"""The request that a model is asked with, by what kind of model it is. Pure, standard library only.

The kinds are LiteLLM's own words for `model_info.mode`. What is not here is not asked: a realtime model answers on a
WebSocket, a batch or video model would begin something.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

DEFAULT = "chat"
_PROMPT = "Reply with ok."
_BOUNDARY = "litesup-check"


@dataclass(frozen=True, slots=True)
class Question:
    path: str
    content_type: str
    body: bytes


def question(mode: str, model: str) -> Question | None:
    """What to send to LiteLLM so that it asks this model once; None for a kind that is not asked."""
    if mode == "audio_transcription":
        return Question("/audio/transcriptions", f"multipart/form-data; boundary={_BOUNDARY}", _recording(model))
    if mode not in _BODIES:
        return None
    path, body = _BODIES[mode]
    document = {"model": model, **body, "disable_fallbacks": True}
    return Question(path, "application/json", json.dumps(document).encode())


_BODIES: dict[str, tuple[str, dict[str, object]]] = {
    "chat": ("/chat/completions", {"messages": [{"role": "user", "content": _PROMPT}]}),
    "completion": ("/completions", {"prompt": _PROMPT}),
    "embedding": ("/embeddings", {"input": [_PROMPT]}),
    "image_generation": ("/images/generations", {"prompt": _PROMPT}),
    "audio_speech": ("/audio/speech", {"input": _PROMPT, "voice": "alloy"}),
    "moderation": ("/moderations", {"input": _PROMPT}),
    "rerank": ("/rerank", {"query": _PROMPT, "documents": [_PROMPT]}),
    "responses": ("/responses", {"input": _PROMPT}),
}


def _recording(model: str) -> bytes:
    """A form with the model's name and a silent WAV file of no length."""
    silence = b"RIFF$\0\0\0WAVEfmt \x10\0\0\0\1\0\1\0@\x1f\0\0\x80>\0\0\2\0\x10\0data\0\0\0\0"
    fields = (
        b'Content-Disposition: form-data; name="model"\r\n\r\n' + model.encode(),
        b'Content-Disposition: form-data; name="file"; filename="silence.wav"\r\nContent-Type: audio/wav\r\n\r\n'
        + silence,
    )
    begin = f"--{_BOUNDARY}\r\n".encode()
    return b"".join(begin + field + b"\r\n" for field in fields) + f"--{_BOUNDARY}--\r\n".encode()
