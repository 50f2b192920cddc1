"""Two sections of the status document: what is so of the daemon itself, and of the generations.

Values only, read off the parts that own them; whatever is a replica's own words goes through `redact`.
"""

from __future__ import annotations

import functools
import importlib.metadata
import os
import time
from collections.abc import Callable
from pathlib import Path

from supervisor.fleet.course import Course
from supervisor.fleet.launch.spec import Launcher
from supervisor.litellm_config import installed
from supervisor.standing import OnDisk
from supervisor.status import Condition, DaemonStatus, GenerationStatus

Redact = Callable[[str], str]


def daemon_status(
    condition: Condition,
    course: Course,
    *,
    started_at: float,
    runtime_dir: Path,
    config: Path,
    launcher: Launcher,
    redact: Redact,
) -> DaemonStatus:
    """`started_at` in Unix seconds. The LiteLLM is the one that serves, which need not be what is installed by now."""
    serving = course.serving
    return DaemonStatus(
        pid=os.getpid(),
        version=version_of("litesup"),
        litellm_version=version_of("litellm") if serving is None else installed.version_of(serving.environment),
        condition=condition,
        started_at=started_at,
        uptime_seconds=time.time() - started_at,
        runtime_dir=str(runtime_dir),
        config=str(config.absolute()),
        launcher=launcher.name,
        launcher_note=redact(str(getattr(launcher, "note", ""))),
    )


def generation_status(course: Course, on_disk: OnDisk, history_note: str, redact: Redact) -> GenerationStatus:
    refusal = on_disk.refusal
    return GenerationStatus(
        wanted="" if course.wanted is None else course.wanted.digest,
        last_good=course.last_good,
        failed=tuple(redact(f"{digest}: {reason}") for digest, reason in course.failed.items()),
        rolling=course.rolling,
        reason=course.reason,
        since=course.since,
        refused_at=None if refusal is None else refusal.at,
        refused=() if refusal is None else tuple(redact(problem) for problem in refusal.problems),
        running=course.last_good or "",
        on_disk=on_disk.digest,
        note=redact(on_disk.note),
        difference=on_disk.difference,
        history_note=history_note,
    )


@functools.cache
def version_of(distribution: str) -> str:
    """What is installed, without importing it."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"
