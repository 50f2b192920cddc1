"""Which names say that a value is secret. Pure.

In an environment in doubt a value counts as one: that costs no more than asterisks in a log. In a document many names
are about keys and tokens that are none (`max_tokens`, `key_generation_settings`), and what is masked there is what the
operator has to put right.
"""

from __future__ import annotations

import re

_ANYWHERE = r"secret|passw|passphrase|credential|connection_?string|webhook|(?:^|[_-])(?:pass|sas|dsn)$|[_-]pwd$"
_IN_A_DOCUMENT = re.compile(
    rf"{_ANYWHERE}|(?:api|access|master|private|signing|encryption|salt|license)[_-]?key|(?:^|[_-])key$|^pwd$|"
    r"token(?!s|izer)|database_?url|redis_?url|authorization|cookie|-auth$",
    re.IGNORECASE,
)
_OF_A_VARIABLE = re.compile(rf"{_ANYWHERE}|key|token|(?:^|_)auth$", re.IGNORECASE)  # not PWD, where the shell is
_OF_A_FILE = re.compile(r"(?:_FILE|_PATH|_DIR|_DIRECTORY|_SOCK)$", re.IGNORECASE)


def names_a_secret(name: str) -> bool:
    """Whether a key of a document, or a header, of this name usually holds a secret."""
    return _IN_A_DOCUMENT.search(name) is not None


def variable_holds_a_secret(name: str) -> bool:
    """Whether an environment variable of this name may hold one, and not the name of a file."""
    return _OF_A_VARIABLE.search(name) is not None and _OF_A_FILE.search(name) is None
