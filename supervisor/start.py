"""What comes before the daemon: directories, the lock, and a head start for LiteLLM.

Loading LiteLLM takes most of the time until the first replica is ready, and a whole core. So it is begun as soon as the
environment of the replicas is known, and the parts of the daemon are imported meanwhile, on another core. The daemon
reads the configuration again when it is there; if that says otherwise by then, the head start does no harm.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping, Sequence

from supervisor.control.lock import InstanceLock
from supervisor.events import Listener
from supervisor.fleet.launch.auto import head_start
from supervisor.history.first import first_generation
from supervisor.large_blocks import give_back_large_blocks
from supervisor.lean import load_structlog
from supervisor.settings.load import prepare_directory, runtime_dir, state_dir
from supervisor.settings.schema import Settings
from supervisor.settings.source import SettingsSource


def run_daemon(
    settings: Settings,
    environ: Mapping[str, str],
    *,
    listeners: Sequence[Listener] = (),
    source: SettingsSource | None = None,
) -> int:
    """Runs a daemon until it is told to stop; returns the exit code.

    `source` is where the settings came from; they are read again when it changes.
    Raises LitesupError when it cannot start: AlreadyRunning, ConfigurationRefused, or a port that is taken.
    """
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # it means reload, and there is nothing to reload yet
    runtime = prepare_directory(runtime_dir(settings, environ, os.getuid()))
    state = prepare_directory(state_dir(settings, environ, os.getuid()), sockets=False)
    lock = InstanceLock(runtime)
    lock.acquire()
    try:
        first = first_generation(settings.config.absolute(), environ, state, last_good=settings.rollout.last_good)
        begun = head_start(settings.replicas.launcher, first.generation.environment)
        give_back_large_blocks()
        load_structlog()
        from supervisor.daemon import serve

        return serve(settings, environ, runtime, state, lock, begun, listeners, source)
    finally:
        lock.release()
