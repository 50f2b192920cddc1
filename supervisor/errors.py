"""What can go wrong, in the words that a person and a caller need.

Owns the finding (one remark about a configuration) and the exceptions that cross a module's border. An exception's
type says what the caller may do next; its text says what happened, where, and what to do. No secret is ever put into
either.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path


class ExitCode(enum.IntEnum):
    """What the command `litesup` returns to its shell."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    REFUSED = 3
    NO_DAEMON = 4
    NOT_READY = 5


class Severity(enum.Enum):
    """How much a finding matters: a NOTE informs, a WARNING surprises later, an ERROR refuses the configuration."""

    NOTE = "note"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Finding:
    """One remark about a configuration file.

    `code` is stable and kebab-case ("reference-unset"). `path` addresses the place inside the document
    ("model_list[0].litellm_params.api_key"). `line` and `column` count from 1. `hint` is the next step, in the
    imperative. None of the fields ever holds a secret.
    """

    severity: Severity
    code: str
    message: str
    hint: str = ""
    file: Path | None = None
    line: int | None = None
    column: int | None = None
    path: str = ""

    def __str__(self) -> str:
        place = ":".join(str(part) for part in (self.file, self.line, self.column) if part is not None)
        head = f"{place}: " if place else ""
        where = f" ({self.path})" if self.path else ""
        tail = f"\n    {self.hint}" if self.hint else ""
        return f"{head}{self.severity.value}: {self.message} [{self.code}]{where}{tail}"


class LitesupError(Exception):
    """The base of everything that litesup raises on purpose."""

    exit_code = ExitCode.FAILED


class ConfigurationRefused(LitesupError):
    """A configuration cannot be used; `findings` names every problem at once, and the old one stays in force.

    `watched` are the files that it was read from, existing or not: a change in one of them may make it good.
    """

    exit_code = ExitCode.REFUSED

    def __init__(self, findings: Sequence[Finding], watched: Iterable[Path] = ()) -> None:
        self.findings = tuple(findings)
        self.watched = tuple(dict.fromkeys(watched))
        super().__init__("\n".join(str(finding) for finding in self.findings))


class AlreadyRunning(LitesupError):
    """Another daemon owns this runtime directory."""

    exit_code = ExitCode.FAILED


class NoDaemon(LitesupError):
    """Nothing answers on this runtime directory's control socket."""

    exit_code = ExitCode.NO_DAEMON


class NotReadyInTime(LitesupError):
    """The daemon runs, but what was waited for did not come true before the deadline."""

    exit_code = ExitCode.NOT_READY


class LaunchFailed(LitesupError):
    """A replica or the fork server could not be started; nothing of it is left running."""


class UpstreamError(LitesupError):
    """The exchange with a replica did not complete. The subclass says what may be repeated."""


class NotSent(UpstreamError):
    """The replica received no byte of this request: always safe to repeat, whatever the method.

    Raised only when the connection was refused, when its end was seen before the first write, or when the kernel took
    no byte of the first write.
    """


class ReplicaLost(UpstreamError):
    """The request was sent, at least in part, and the connection ended before the first byte of a response."""


class ReplicaGivenUp(ReplicaLost):
    """The request was sent, and its replica hangs: whatever it may still answer, nobody waits for it."""


class ResponseCut(UpstreamError):
    """The response began and did not end: never repeatable, and the client must be able to see it."""


class NobodyReady(LitesupError):
    """No replica could take the request: the queue is full, or the wait in it was too long.

    `retry_after` is in seconds.
    """

    def __init__(self, message: str, *, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after
