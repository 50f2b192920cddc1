"""What a person sees between `litesup start` and the first answer. A listener of the daemon's events.

Progress is one moving line on stderr, for a terminal only; the result, where to send a request and how, goes to stdout
in any case.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self, TextIO

from supervisor.cli.render import plural
from supervisor.cli.terminal import Progress
from supervisor.doctor.address import url_of
from supervisor.events import DaemonStarted, DaemonStopping, Event, ForkServerStarted, ReplicaReady
from supervisor.settings.schema import Settings

TICK = 0.2


class StartProgress:
    """Follows one start. `model` names a model for the line to try; it is asked for when that line is printed."""

    def __init__(
        self,
        settings: Settings,
        stdout: TextIO,
        stderr: TextIO,
        *,
        model: Callable[[], str | None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._wanted = settings.replicas.wanted
        self._model = model or (lambda: first_model(settings))
        self._stdout = stdout
        self._shows = stdout.isatty() and stderr.isatty()
        self._line = Progress(stderr)
        self._clock = clock
        self._began = clock()
        self._listening: tuple[str, ...] = ()
        self._loaded = False
        self._ready: set[int] = set()
        self._over = threading.Event()
        self._ticker: threading.Thread | None = None

    def __enter__(self) -> Self:
        if self._shows:
            self._ticker = threading.Thread(target=self._tick, daemon=True)
            self._ticker.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._end()

    def on_event(self, event: Event) -> None:
        if self._over.is_set():
            return
        match event:
            case DaemonStarted():
                self._listening = event.listening
            case ForkServerStarted():
                self._loaded = True
            case ReplicaReady():
                self._ready.add(event.slot)
                if len(self._ready) >= self._wanted:
                    self._end()
                    self._say_ready()
            case DaemonStopping():
                self._end()

    def text(self) -> str:
        """The moving line as it reads now."""
        seconds = f"{self._clock() - self._began:.0f} s"
        if self._ready:
            return f"{len(self._ready)} of {plural(self._wanted, 'replica')} ready … {seconds}"
        return f"{'starting replicas' if self._loaded else 'loading LiteLLM'} … {seconds}"

    def _say_ready(self) -> None:
        seconds = self._clock() - self._began
        with contextlib.suppress(OSError, ValueError):
            self._stdout.write(ready_text(self._wanted, self._listening, self._model(), seconds))
            self._stdout.flush()

    def _tick(self) -> None:
        while not self._over.wait(TICK):
            self._line.show(self.text())
        self._line.show("")

    def _end(self) -> None:
        self._over.set()
        if self._ticker is not None:
            self._ticker.join(1.0)
            self._ticker = None


def ready_text(replicas: int, listening: tuple[str, ...], model: str | None, seconds: float) -> str:
    """What is printed once everything serves: where, and a line to try."""
    address = url_of(listening[0]) if listening else "the balancer's port"
    text = f"ready: {plural(replicas, 'replica')} on {address} after {seconds:.1f} s\n"
    if model is None or not listening:
        return text
    body = json.dumps({"model": model, "messages": [{"role": "user", "content": "Hello"}]})
    quoted = body.replace("'", "'\\''")
    return f"{text}try:   curl {address}/v1/chat/completions -H 'content-type: application/json' -d '{quoted}'\n"


def first_model(settings: Settings) -> str | None:
    """A model that the configuration serves, None where that cannot be told from the file alone."""
    import yaml

    with contextlib.suppress(OSError, UnicodeDecodeError, yaml.YAMLError):
        document = yaml.safe_load(settings.config.read_text(encoding="utf-8"))
        models = document.get("model_list") if isinstance(document, dict) else None
        for entry in models if isinstance(models, list) else ():
            name = entry.get("model_name") if isinstance(entry, dict) else None
            if isinstance(name, str) and "*" not in name and "$" not in name:
                return name
    return None
