"""One good generation as it is kept: a value, and its form in a file. Pure.

What the operator wrote is kept, not what was rendered from it: rendering puts values of variables into lists, and a
kept generation has to be startable in another environment than the one it came from.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from supervisor.litellm_config.files import Written

FORMAT = 1


@dataclass(frozen=True, slots=True)
class Kept:
    """Times are Unix seconds. `digest` is what it was called when it last served; another environment names it anew."""

    digest: str
    source: Path
    kept_at: float  # when it came into force; its place in the history
    stood_at: float  # when it last proved good
    reason: str  # why it was wanted
    written: Written
    instead_of: frozenset[str] = frozenset()  # identities of what the operator went back from

    @property
    def identity(self) -> str:
        return identity_of(self.source, self.written)


def identity_of(source: Path, written: Written) -> str:
    """The same for the same words, whatever the environment."""
    parts = [str(source).encode(errors="surrogatepass")]
    for file, text in sorted(written.texts.items()):
        parts += [str(file).encode(errors="surrogatepass"), text.encode(errors="surrogatepass")]
    for file, content in sorted(written.modules.items()):
        parts += [str(file).encode(errors="surrogatepass"), content]
    whole = hashlib.sha256()
    for part in parts:
        whole.update(len(part).to_bytes(8, "big") + part)
    return whole.hexdigest()[:16]


def to_text(kept: Kept) -> str:
    document = {
        "format": FORMAT,
        "digest": kept.digest,
        "source": str(kept.source),
        "kept_at": kept.kept_at,
        "stood_at": kept.stood_at,
        "reason": kept.reason,
        "instead_of": sorted(kept.instead_of),
        "texts": {str(file): text for file, text in kept.written.texts.items()},
        "modules": {
            str(file): base64.b64encode(content).decode("ascii") for file, content in kept.written.modules.items()
        },
    }
    return json.dumps(document, indent=1) + "\n"


def from_text(text: str) -> Kept:
    """Raises ValueError, which says what is wrong without quoting anything."""
    try:
        document = json.loads(text)
    except ValueError:
        raise ValueError("it is cut off, or no JSON") from None
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise ValueError("its format is not one that this version reads")
    try:
        kept = Kept(
            digest=_text(document["digest"]),
            source=_path(document["source"]),
            kept_at=_moment(document["kept_at"]),
            stood_at=_moment(document["stood_at"]),
            reason=_text(document["reason"]),
            instead_of=frozenset(_text(identity) for identity in document["instead_of"]),
            written=Written(
                {_path(name): _text(content) for name, content in document["texts"].items()},
                {_path(name): base64.b64decode(code, validate=True) for name, code in document["modules"].items()},
            ),
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        raise ValueError("something is missing in it, or is of the wrong kind") from None
    if kept.source not in kept.written.texts:
        raise ValueError("the configuration itself is missing in it")
    return kept


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _moment(value: Any) -> float:
    if not isinstance(value, int | float) or not math.isfinite(value):
        raise TypeError
    return float(value)


def _path(value: Any) -> Path:
    path = Path(_text(value))
    if not path.is_absolute():
        raise ValueError
    return path
