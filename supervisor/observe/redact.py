"""No secret leaves through a log: what is known to be one, and what looks like one, becomes `***`.

Pure but for the set of known values, which grows with each generation. Applied to every line of LiteLLM and to every
record of our own, tracebacks included.
"""

from __future__ import annotations

import json
import re
import urllib.parse
from collections.abc import Iterable, Iterator, Mapping

from pydantic import SecretStr

from supervisor.secret_names import variable_holds_a_secret

MASK = "***"

SHORTEST = 8
"""Characters. Shorter values ("true", "8080", "none") occur in lines that have nothing to do with them."""

BLANKS = " \t\r\n"

URL_PASSWORD = re.compile(r"://[^/\s:@]*:([^/\s@]+)@")

SHAPES = re.compile(
    r"""
      (?<![A-Za-z0-9]) sk-[A-Za-z0-9_-]{8,}
    | (?<![A-Za-z0-9]) eyJ[A-Za-z0-9_-]{8,2000}+\.[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]+)?
    | (?P<scheme> \b(?:[Bb]earer|BEARER|[Bb]asic|BASIC)\ +['"]?) [A-Za-z0-9._~+/=-]{8,}
    | (?P<url> ://[^/\s:@]{0,256}:) [^/\s@]+ (?=@)
    | (?P<name> (?:[Aa][Pp][Ii][-_ ]?[Kk][Ee][Yy]|[Ss]ubscription-[Kk]ey|[Ss]ecret|SECRET|[Pp]assword|PASSWORD
                  |[Aa]ccess_?[Tt]oken|ACCESS_TOKEN|AccountKey|[?&](?:key|sig|code))
                ['"]?\s{0,2}[:=]\s{0,2}(?:b?['"])?)
      (?!os\.environ/) [^\s'",;&(){}\[\]<>*]{8,}
    """,
    re.VERBOSE,
)
HINTS = re.compile(
    r"sk-|eyJ|[Bb]earer|BEARER|[Bb]asic|BASIC|://|[Kk][Ee][Yy]|ecret|SECRET|ssword|SSWORD|oken|OKEN|[?&](?:sig|code)="
)
"""Without one of these a line holds no shape: most lines are done with after this one quick look."""


class Redactor:
    """Replaces secrets in text. `learn` what is secret first; shapes are known without."""

    def __init__(self, environ: Mapping[str, str] | None = None) -> None:
        self._known: set[str] = set()
        self._values: re.Pattern[str] | None = None
        if environ is not None:
            self.learn_environment(environ)

    def __repr__(self) -> str:
        return f"<Redactor: {len(self._known)} values>"

    def learn(self, secrets: Iterable[SecretStr | str]) -> None:
        """Remembers values, also as they look inside JSON, a URL, or a repr. Short ones are not remembered."""
        plain = {secret.get_secret_value() if isinstance(secret, SecretStr) else secret for secret in secrets}
        fresh = {text for value in plain for part in _parts(value) for text in _spellings(part)} - self._known
        if fresh:
            self._known |= fresh
            longest_first = sorted(self._known, key=lambda text: (-len(text), text))
            self._values = re.compile("|".join(re.escape(text) for text in longest_first))

    def learn_environment(self, environ: Mapping[str, str]) -> None:
        """Remembers the values of variables whose name says that they are secret, and passwords inside URLs."""
        self.learn(secrets_of(environ))

    def __call__(self, text: str) -> str:
        if self._values is not None:
            text = self._values.sub(MASK, text)
        if HINTS.search(text) is None:
            return text
        return SHAPES.sub(_mask_shape, text)

    def within(self, value: object) -> object:
        """The same for a log record's value, however nested; anything but plain data becomes its repr first."""
        if isinstance(value, str):
            return self(value)
        if value is None or isinstance(value, (bool, int, float)):
            return value
        if isinstance(value, Mapping):
            return {self(str(key)): self.within(inner) for key, inner in value.items()}
        if isinstance(value, (list, tuple, set, frozenset)):
            return [self.within(inner) for inner in value]
        return self(str(value) if isinstance(value, BaseException) else repr(value))


def secrets_of(environ: Mapping[str, str]) -> Iterator[str]:
    for name, value in environ.items():
        if variable_holds_a_secret(name):
            yield value
        yield from URL_PASSWORD.findall(value)


def _parts(value: str) -> Iterator[str]:
    """The value, as it is and without the newline that a file brought along; and the lines of a private key."""
    yield value
    yield value.strip(BLANKS)
    if "\n" in value:
        yield from (line for line in value.splitlines() if len(line) >= 2 * SHORTEST)


def _spellings(value: str) -> Iterator[str]:
    if len(value.strip(BLANKS)) < SHORTEST:
        return
    yield value
    yield json.dumps(value)[1:-1]
    yield json.dumps(value, ensure_ascii=False)[1:-1]
    yield repr(value)[1:-1]
    yield urllib.parse.quote(value, safe="")
    yield urllib.parse.quote_plus(value)


def _mask_shape(match: re.Match[str]) -> str:
    kept = match["scheme"] or match["url"] or match["name"] or ""
    return f"{kept}{MASK}"
