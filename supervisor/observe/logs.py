"""Our own log: structlog, in words for a person at a terminal and in JSON lines for everything else.

Every record passes the redactor before it is rendered. The standard library's log and uncaught exceptions take the
same way, so that nothing reaches the terminal beside it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import re
import sys
import threading
from collections.abc import Mapping, MutableMapping
from types import TracebackType
from typing import Any

import structlog

from supervisor import events
from supervisor.litellm_config.generation import Generation
from supervisor.observe.logbook import Logbook
from supervisor.observe.redact import Redactor
from supervisor.observe.sink import Sink
from supervisor.settings.schema import LogFormat, LogLevel
from supervisor.settings.schema import Logs as LogSettings

CLOSE_TIMEOUT = 2.0
"""Seconds for what is left at the end."""

LEVELS = {
    LogLevel.DEBUG: logging.DEBUG,
    LogLevel.INFO: logging.INFO,
    LogLevel.WARNING: logging.WARNING,
    LogLevel.ERROR: logging.ERROR,
}
TALKATIVE = ("watchfiles",)
"""Libraries whose remarks below a warning say nothing to an operator: "1 change detected", of any file beside ours."""

_EVERYDAY = frozenset({"debug", "info"})
"""What LiteLLM says at these levels, which is a line for each request, need not be written at once."""

_NUMBERS = {level.value: number for level, number in LEVELS.items()}
LEVEL_COLOUR = {"debug": "\x1b[32m", "info": "\x1b[32m", "warning": "\x1b[33m", "error": "\x1b[31m"}
JOURNAL_PRIORITY = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}

Record = MutableMapping[str, Any]


class Logging:
    """The log of one process, from `set_up_logging` to `close`, and the logbook of its replicas."""

    def __init__(self, settings: LogSettings, environ: Mapping[str, str], descriptor: int) -> None:
        self._redactor = Redactor(environ)
        self._form = _Form(settings, descriptor, environ)
        self.sink = Sink(descriptor, limit=settings.buffer_lines, notice=self._form.dropped)
        self._undo = self._take_over(LEVELS[settings.level])
        self._event_logger = EventLogger(LEVELS[settings.level])
        self.log_event: events.Listener = self._event_logger.log
        """A listener of the daemon's events."""
        self.logbook = Logbook(self._redactor, keep=settings.keep_lines)

    def rule(self, settings: LogSettings) -> None:
        """Goes by the level and the bounds of these settings from now on; the format stays."""
        level = LEVELS[settings.level]
        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(level))
        logging.getLogger().setLevel(max(level, logging.INFO))
        self._event_logger.level = level
        self.sink.hold(settings.buffer_lines)
        self.logbook.keep(settings.keep_lines)

    def hide(self, generation: Generation) -> None:
        """Learns the secrets of a generation, before anything of it can be logged."""
        self._redactor.learn_environment(generation.environment)
        self._redactor.learn([generation.master_key])

    def redact(self, text: str) -> str:
        """The text without the secrets that are known, for whatever shows a replica's own words."""
        return self._redactor(text)

    def dropped(self) -> int:
        """Lines dropped since the start because whoever reads the log was too slow."""
        return self.sink.dropped

    def close(self, timeout: float = CLOSE_TIMEOUT) -> None:
        """Writes what is left, at most for `timeout` seconds. Does nothing the second time."""
        undo, self._undo = self._undo, contextlib.ExitStack()
        with undo:
            self.sink.close(timeout)

    def _take_over(self, level: int) -> contextlib.ExitStack:
        """Makes this the way of every record of the process; returns what undoes that."""
        undo = contextlib.ExitStack()
        structlog.configure(
            processors=[
                structlog.contextvars.merge_contextvars,
                structlog.processors.add_log_level,
                self._form.stamp,
                structlog.processors.StackInfoRenderer(),
                structlog.processors.format_exc_info,
                self._redact,
                self._render,
            ],
            wrapper_class=structlog.make_filtering_bound_logger(level),
            logger_factory=lambda *_: _Writer(self.sink),
            cache_logger_on_first_use=False,
        )
        undo.callback(structlog.reset_defaults)
        root = logging.getLogger()
        undo.callback(root.setLevel, root.level)
        undo.callback(root.handlers.__setitem__, slice(None), root.handlers[:])
        root.handlers[:] = [_FromStandardLibrary()]
        root.setLevel(max(level, logging.INFO))
        for name in TALKATIVE:
            library = logging.getLogger(name)
            undo.callback(library.setLevel, library.level)
            library.setLevel(logging.WARNING)
        undo.callback(logging.captureWarnings, False)
        logging.captureWarnings(True)
        undo.callback(setattr, sys, "excepthook", sys.excepthook)
        undo.callback(setattr, threading, "excepthook", threading.excepthook)
        sys.excepthook = _log_uncaught
        threading.excepthook = lambda args: _log_uncaught(args.exc_type, args.exc_value, args.exc_traceback)
        return undo

    def _redact(self, _logger: Any, _method: str, record: Record) -> Record:
        """Also brings what a reader looks for first to the front."""
        front = {name: record[name] for name in ("timestamp", "level", "event") if name in record}
        return {name: self._redactor.within(value) for name, value in {**front, **record}.items()}

    def _render(self, logger: Any, method: str, record: Record) -> tuple[tuple[str], dict[str, bool]]:
        """The last of structlog's processors: what `_Writer` is called with."""
        soon = record["event"] != "litellm" or record.get("level") not in _EVERYDAY
        return (self._form(logger, method, record),), {"soon": soon}


def set_up_logging(settings: LogSettings, environ: Mapping[str, str], *, descriptor: int = 2) -> Logging:
    """Takes over the process's log, towards `descriptor` (stderr)."""
    return Logging(settings, environ, descriptor)


class _Form:
    """How a record looks."""

    def __init__(self, settings: LogSettings, descriptor: int, environ: Mapping[str, str]) -> None:
        terminal = os.isatty(descriptor)
        self._journal = _is_journal(descriptor, environ.get("JOURNAL_STREAM", ""))
        # On a terminal a line first wipes what is there: the progress of `litesup start` is written over and over.
        self._start = "\r\x1b[2K" if terminal else ""
        self._renderer: Any
        self._text = settings.format is LogFormat.TEXT or (settings.format is LogFormat.AUTO and terminal)
        self._colours = terminal and not environ.get("NO_COLOR")
        if self._text:
            self.stamp = structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False)
            self._renderer = structlog.dev.ConsoleRenderer(colors=self._colours, pad_event_to=24, sort_keys=False)
        else:
            self.stamp = structlog.processors.TimeStamper(fmt="iso", utc=True)
            self._renderer = structlog.processors.JSONRenderer(ensure_ascii=False)

    def __call__(self, logger: Any, method: str, record: Record) -> str:
        level = str(record.get("level", "info"))
        if self._text and record["event"] == "litellm":
            line = self._replicas_line(record)
        else:
            line = str(self._renderer(logger, method, record))
        if self._journal:
            # Every line of a record is an entry of its own in the journal.
            prefix = f"<{JOURNAL_PRIORITY.get(level, 6)}>"
            return prefix + line.replace("\n", f"\n{prefix}")
        return self._start + line

    def _replicas_line(self, record: Record) -> str:
        """For a person: what LiteLLM said, and who; the generation is in `status` and in JSON."""
        level = str(record["level"])
        dim, colour, end = ("\x1b[2m", LEVEL_COLOUR.get(level, ""), "\x1b[0m") if self._colours else ("", "", "")
        who = f"{record['slot']}/{record['replica']}"
        return f"{dim}{record['timestamp']}{end} [{colour}{level:<9}{end}] {dim}{who:>5} |{end} {record['line']}"

    def dropped(self, count: int) -> str:
        """The line that says so."""
        record: Record = {"event": "log_lines_dropped", "count": count, "level": "warning"}
        return self(None, "warning", self.stamp(None, "warning", record))


class _Writer:
    """What structlog calls with a rendered line."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink

    def msg(self, message: str, *, soon: bool = True) -> None:
        self._sink.write(message, soon=soon)

    log = debug = info = warning = warn = error = critical = exception = fatal = failure = msg


class _FromStandardLibrary(logging.Handler):
    """asyncio, aiohttp and others log through `logging`; here that becomes a record like any other."""

    def emit(self, record: logging.LogRecord) -> None:
        with contextlib.suppress(Exception):
            structlog.get_logger().log(
                record.levelno, record.getMessage(), logger=record.name, exc_info=record.exc_info or None
            )


def _log_uncaught(kind: type[BaseException], error: BaseException | None, traceback: TracebackType | None) -> None:
    if issubclass(kind, (KeyboardInterrupt, SystemExit)):
        return
    structlog.get_logger().critical("uncaught_exception", exc_info=(kind, error, traceback))


def _is_journal(descriptor: int, stream: str) -> bool:
    """Whether systemd connected this descriptor to its journal (sd-journal's JOURNAL_STREAM, device:inode)."""
    try:
        status = os.fstat(descriptor)
    except OSError:
        return False
    return stream == f"{status.st_dev}:{status.st_ino}"


LEVEL_OF_EVENT: Mapping[type[events.Event], str] = {
    events.ForkServerLost: "warning",
    events.LauncherFellBack: "warning",
    events.MemoryTight: "warning",
    events.ReplicaLaunchFailed: "warning",
    events.ReplicaWarmUpIncomplete: "warning",
    events.ReplicaSuspect: "warning",
    events.ReplicaKilled: "warning",
    events.RestartDelayed: "warning",
    events.ConfigurationChangeRefused: "error",
    events.SettingsNeedRestart: "warning",
    events.SettingsRefused: "error",
    events.RolloutFailed: "error",
    events.RequestSuspected: "error",
    events.RolledBackByOperator: "warning",
    events.LastGoodStarted: "error",
    events.GenerationNotKept: "warning",
    events.HistorySkipped: "warning",
}
"""What is not here is told at "info"; exits and requests depend on how they went."""


class EventLogger:
    """A listener that makes one record of each event."""

    def __init__(self, level: int = logging.DEBUG) -> None:
        self._log = structlog.get_logger()
        self.level = level

    def log(self, event: events.Event) -> None:
        method = level_of(event)
        if _NUMBERS[method] < self.level:
            return  # one comes with every request: it should cost nothing when nobody reads it
        fields = {field.name: getattr(event, field.name) for field in dataclasses.fields(event)}
        fields = {name: round(value, 3) if isinstance(value, float) else value for name, value in fields.items()}
        getattr(self._log, method)(event_name(type(event)), **fields)


def event_name(kind: type[events.Event]) -> str:
    """ReplicaReady → replica_ready."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", kind.__name__).lower()


def level_of(event: events.Event) -> str:
    if isinstance(event, events.RequestFinished):
        return "warning" if event.outcome in {"cut", "unavailable"} else "debug"
    if isinstance(event, events.RequestRetried):
        return "debug" if event.reason == "not sent" else "info"  # a dead replica refuses many in a moment
    if isinstance(event, events.ReplicaExited):
        return "info" if event.expected else "warning"
    return LEVEL_OF_EVENT.get(type(event), "info")
