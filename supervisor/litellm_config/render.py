"""The text that LiteLLM reads, and the digest that names it.

LiteLLM's own loader must read from the text exactly what was intended; that is checked on every rendering, because the
alternative is a replica that quietly runs something else. Pure.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Mapping
from typing import Any

import yaml

from supervisor.errors import Finding
from supervisor.litellm_config.document import MapNode, plain_value

DIGEST_DIGITS = 12


def render(root: MapNode, adaptations: Iterable[Finding], fingerprints: Mapping[str, str]) -> str:
    """The rendered document with a comment for each adaptation, and for each of the operator's own modules.

    `fingerprints` makes a module's content part of the text, so that a change in it is a new generation.
    """
    intended: dict[Any, Any] = plain_value(root)
    body = as_yaml(intended)
    lines = ["Rendered by litesup; changes here are lost. What differs from the operator's file:"]
    lines += [f"  {_remark(finding)}" for finding in adaptations] or ["  nothing"]
    lines += [f"module {name} {digest}" for name, digest in sorted(fingerprints.items())]
    text = "".join(f"# {line}\n" for line in lines) + body
    # Compared as text, because .nan is not equal to itself, and True is equal to 1.
    if repr(yaml.safe_load(text)) != repr(intended):
        raise AssertionError("the rendered configuration does not read back as it was meant")
    return text


def as_yaml(document: Mapping[Any, Any]) -> str:
    return yaml.dump(
        document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, default_flow_style=False, width=1_000_000
    )


def digest(key: str, text: str, environment: Mapping[str, str]) -> str:
    """A name for this text and environment. Keyed, so that nobody can try out secrets against it."""
    keyed = hmac.new(key.encode(), digestmod=hashlib.sha256)
    for part in (text, *(part for item in sorted(environment.items()) for part in item)):
        raw = part.encode("utf-8", "surrogateescape")
        keyed.update(len(raw).to_bytes(8, "big") + raw)
    return keyed.hexdigest()[:DIGEST_DIGITS]


def fingerprint(key: str, content: bytes) -> str:
    return hmac.new(key.encode(), content, hashlib.sha256).hexdigest()[:DIGEST_DIGITS]


def _remark(finding: Finding) -> str:
    # No line numbers: a comment added to the operator's file is no new generation.
    path = f" ({finding.path})" if finding.path else ""
    remark = " ".join(f"{finding.message} [{finding.code}]{path}".split())
    return "".join(character if character.isprintable() else "?" for character in remark)


class _Dumper(yaml.SafeDumper):
    """Writes shared values out, instead of an anchor and its aliases: the file is read by people too."""

    def ignore_aliases(self, data: object) -> bool:
        return True
