"""The master key: found where the operator put one, else made once and kept.

Owns the rules by which LiteLLM refuses a key, and the file in the state directory. The key itself travels as a
SecretStr and is in no finding.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import stat
from dataclasses import dataclass
from pathlib import Path

from pydantic import SecretStr

from supervisor.errors import ConfigurationRefused, Finding, Severity

FILE_NAME = "master-key"

# What `check` and `render` work with where no key exists yet: it is never stored, and no replica ever gets it.
PLACEHOLDER = SecretStr("sk-placeholder-that-no-replica-is-started-with")

# LiteLLM refuses to start with these (`auth/master_key_boot_check.py`); kept as digests there too.
_PUBLICLY_KNOWN = frozenset({"88dc28d0f030c55ed4ab77ed8faf098196cb1c05df778539800c9f1243fe6b4b"})


@dataclass(frozen=True, slots=True)
class Objection:
    """Why a key will not do, and what to do about it."""

    severity: Severity
    code: str
    message: str
    hint: str = "Remove it, and litesup makes a good one; or set LITELLM_MASTER_KEY to sk- and 32 random bytes in hex."


def objection_to(key: str, *, weak_permitted: bool = False) -> Objection | None:
    """What LiteLLM, or a client that has to send this key in a header, will have against it."""
    if not key.strip():
        return Objection(Severity.ERROR, "master-key-empty", "The master key is empty, and LiteLLM refuses to start.")
    if hashlib.sha256(key.strip().encode()).hexdigest() in _PUBLICLY_KNOWN:
        severity = Severity.WARNING if weak_permitted else Severity.ERROR
        return Objection(severity, "master-key-known", "The master key is a publicly known one, which LiteLLM refuses.")
    if not key.isascii() or not key.isprintable() or " " in key:
        message = "The master key holds a blank or a character that cannot be sent in a header."
        return Objection(Severity.ERROR, "master-key-unusable", message)
    if not key.startswith("sk-"):
        message = "The master key does not start with `sk-`, which LiteLLM and its clients expect of every key."
        return Objection(Severity.WARNING, "master-key-prefix", message)
    return None


def kept(state_dir: Path) -> SecretStr | None:
    """The key kept in `state_dir`; None where there is none. Raises ConfigurationRefused if others can read it."""
    file = state_dir / FILE_NAME
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        message = f"The kept master key cannot be read: {error.strerror}."
        raise _refused(file, message, "Give it to this user.") from None
    with os.fdopen(descriptor, encoding="utf-8") as stream:
        if stat.S_IMODE(os.fstat(stream.fileno()).st_mode) & 0o077:
            raise _refused(file, "Others can read or change the kept master key.", f"chmod 600 {file}")
        key = stream.read().strip()
    objection = objection_to(key)
    if objection is not None and objection.severity is Severity.ERROR:
        raise _refused(file, objection.message, "Remove the file, and a new key is made.")
    return SecretStr(key)


def kept_or_made(state_dir: Path) -> SecretStr:
    """The kept key, made first if there is none. Two daemons that start at once end up with the same one."""
    key = kept(state_dir)
    if key is not None:
        return key
    made = "sk-" + secrets.token_urlsafe(32)
    file = state_dir / FILE_NAME
    temporary = state_dir / f".{FILE_NAME}.{os.getpid()}.{secrets.token_hex(4)}"
    try:
        state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(made + "\n")
            stream.flush()
            os.fsync(stream.fileno())
        # A link appears whole or not at all, and never replaces a key that another process has made meanwhile.
        with contextlib.suppress(FileExistsError):
            file.hardlink_to(temporary)
    except OSError as error:
        hint = "Make the state directory writable, or set LITELLM_MASTER_KEY."
        raise _refused(file, f"No master key is set, and none can be kept: {error.strerror}.", hint) from None
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
    key = kept(state_dir)
    if key is None:
        raise _refused(file, "The kept master key disappeared.", "Start again.")
    return key


def _refused(file: Path, message: str, hint: str) -> ConfigurationRefused:
    return ConfigurationRefused([Finding(Severity.ERROR, "master-key-file", message, hint, file=file)])
