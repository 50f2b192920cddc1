"""A plausible model for a name with asterisks: what a client could ask a wildcard entry for. Pure."""

from __future__ import annotations

import fnmatch

ASTERISK = "*"
_ELSE = "gpt-4o-mini"
_PLAUSIBLE = {
    "anthropic": ("claude-3-5-haiku-20241022", "claude-sonnet-4-20250514"),
    "azure": ("gpt-4o-mini", "text-embedding-3-small"),
    "azure_ai": ("mistral-large-latest",),
    "bedrock": ("anthropic.claude-3-haiku-20240307-v1:0", "amazon.nova-lite-v1:0", "us.amazon.nova-lite-v1:0"),
    "cohere": ("command-r",),
    "deepseek": ("deepseek-chat",),
    "gemini": ("gemini-2.0-flash", "text-embedding-004"),
    "groq": ("llama-3.1-8b-instant",),
    "mistral": ("mistral-small-latest",),
    "openai": ("gpt-4o-mini", "text-embedding-3-small", "o3-mini", "dall-e-3", "tts-1", "whisper-1"),
    "openrouter": ("openai/gpt-4o-mini", "anthropic/claude-3.5-haiku"),
    "vertex_ai": ("gemini-2.0-flash", "claude-3-5-haiku@20241022"),
    "xai": ("grok-2",),
}


def concrete(pattern: str) -> str:
    """`pattern` with something plausible in the place of its asterisks; itself where it has none."""
    if ASTERISK not in pattern:
        return pattern
    provider, slash, rest = pattern.partition("/")
    if not slash or ASTERISK in provider:
        known = [name for names in _PLAUSIBLE.values() for name in names]
        fitting = [name for name in (_ELSE, *known) if fnmatch.fnmatchcase(name, pattern)]
        return fitting[0] if fitting else pattern.replace(ASTERISK, "check")
    for name in _PLAUSIBLE.get(provider, (_ELSE,)):
        if fnmatch.fnmatchcase(name, rest):
            return f"{provider}/{name}"
    return f"{provider}/{rest.replace(ASTERISK, 'check')}"


def deployment_for(model_name: str, model: str) -> str:
    """The model that LiteLLM asks the provider for when a client asks a wildcard entry for something plausible.

    What the name's asterisk stands for takes the place of the model's own.
    """
    if ASTERISK not in model:
        return model
    if model_name in {ASTERISK, model} or ASTERISK not in model_name:
        return concrete(model)
    asked = concrete(model_name)
    head, _, tail = model_name.partition(ASTERISK)
    stands_for = asked[len(head) : len(asked) - len(tail)] if tail else asked[len(head) :]
    return concrete(model.replace(ASTERISK, stands_for)) if ASTERISK not in stands_for else concrete(model)
