"""What a fork server was loaded with, and so for which environments it may fork. Pure.

The fork server tells which variables its program looked at while it was loaded (`readings`): with the same values in
all of these, loading would have gone the same way. It cannot see what libraries read past Python; the names that
interpreters, C libraries and Rust's are known to look at count always.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

_ALWAYS = re.compile(
    # The interpreter, the dynamic linker, the C library.
    r"PYTHON.*|LD_.*|GCONV_PATH|GLIBC_.*|MALLOC_.*|PATH|HOME|TMPDIR|TEMP|TMP|LANG|LANGUAGE|LC_.*|TZ|TZDIR"
    # TLS, and the way out: read by OpenSSL, by Rust's libraries, and by whoever makes a client while it is imported.
    r"|OPENSSL_.*|SSL.*|NIX_SSL_.*|(REQUESTS|CURL)_CA_BUNDLE|.*_PROXY"
    # Libraries that compute, and Rust's run-time.
    r"|OPENBLAS_.*|GOTO_.*|OMP_.*|MKL_.*|NPY_.*|BLIS_.*|RUST_.*|RAYON_.*|TOKIO_.*|TOKENIZERS_.*|GRPC_.*"
    # LiteLLM's own, part of which is not Python; and which LiteLLM it is (`environment.LITELLM`).
    r"|LITELLM_.*|LITESUP_.*",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Basis:
    """`environment` as it was; `names` and `folded` (in lower case) of what was looked at; `everything`: all of it."""

    environment: Mapping[str, str] = dataclasses.field(repr=False)
    names: frozenset[str] = frozenset()
    folded: frozenset[str] = frozenset()
    everything: bool = True

    @classmethod
    def told(cls, environment: Mapping[str, str], readings: Mapping[str, Any] | None) -> Self:
        """From what the fork server says; where it says nothing, everything counts."""
        if readings is None:
            return cls(environment)
        names, folded = (frozenset(map(str, readings[part])) for part in ("names", "folded"))
        return cls(environment, names, folded, bool(readings["everything"]))

    def in_the_way(self, environment: Mapping[str, str]) -> tuple[str, ...]:
        """The variables because of which a process with this environment must not be forked from there."""
        names = self.environment.keys() | environment.keys()
        differ = (name for name in names if self.environment.get(name) != environment.get(name))
        return tuple(sorted(name for name in differ if self._counts(name)))

    def _counts(self, name: str) -> bool:
        if self.everything or name in self.names or name.lower() in self.folded:
            return True
        return _ALWAYS.fullmatch(name) is not None
