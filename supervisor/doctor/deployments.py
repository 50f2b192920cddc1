"""The deployments of a rendered LiteLLM configuration, as far as advice about them needs to know. Pure."""

from __future__ import annotations

import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

REFERENCE = "os.environ/"
NO_CHAT = frozenset(
    {"embedding", "image_generation", "audio_transcription", "audio_speech", "moderation", "rerank", "realtime"}
)


@dataclass(frozen=True, slots=True)
class Deployment:
    """One entry of `model_list`. `key_variable` names the variable that holds its key, never the key."""

    model_name: str
    provider: str
    model: str  # at the provider: for Azure the deployment's name
    host: str  # "" when the provider's own default is used, or when it cannot be told
    api_version: str
    key_variable: str
    mocked: bool
    chats: bool

    @property
    def where(self) -> str:
        return self.host or f"{self.provider}'s own address"


def deployments(document: object, environ: Mapping[str, str]) -> tuple[Deployment, ...]:
    """Of a rendered configuration; `environ` resolves the references that are not secret."""
    entries = document.get("model_list") if isinstance(document, dict) else None
    return tuple(
        _deployment(entry, environ)
        for entry in (entries if isinstance(entries, list) else ())
        if isinstance(entry, dict) and isinstance(entry.get("litellm_params"), dict)
    )


def _deployment(entry: dict[str, Any], environ: Mapping[str, str]) -> Deployment:
    params = entry["litellm_params"]
    info = entry.get("model_info") if isinstance(entry.get("model_info"), dict) else {}
    named = str(params.get("model") or "")
    provider, slash, model = named.partition("/")
    if not slash:
        provider, model = str(params.get("custom_llm_provider") or "openai"), named
    key = params.get("api_key")
    return Deployment(
        model_name=str(entry.get("model_name") or ""),
        provider=provider,
        model=model,
        host=_host(_resolved(params.get("api_base") or params.get("base_url"), environ)),
        api_version=_resolved(params.get("api_version"), environ),
        key_variable=key.removeprefix(REFERENCE) if isinstance(key, str) and key.startswith(REFERENCE) else "",
        mocked="mock_response" in params,
        chats=(info or {}).get("mode") not in NO_CHAT,
    )


def _resolved(value: object, environ: Mapping[str, str]) -> str:
    text = "" if value is None else str(value)
    return environ.get(text.removeprefix(REFERENCE), "") if text.startswith(REFERENCE) else text


def _host(url: str) -> str:
    try:
        return urllib.parse.urlsplit(url).hostname or ""
    except ValueError:
        return ""
