"""The plain launcher: every replica is a Python of its own that imports LiteLLM anew. Slow, and always possible."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path

from supervisor.errors import LaunchFailed
from supervisor.fleet.launch.child import Child
from supervisor.fleet.launch.forkserver import spawn
from supervisor.fleet.launch.orphans import Orphans
from supervisor.fleet.launch.output import Output
from supervisor.fleet.launch.spec import LaunchSpec, Process

REPLICA_MAIN = Path(__file__).with_name("replica_main.py")
LITELLM = Path(__file__).with_name("litellm_program.py")


class PlainLauncher:
    """Implements `spec.Launcher`. `program` is the file that replicas run; see `replica_main`."""

    name = "plain"

    def __init__(self, program: Path = LITELLM) -> None:
        self._program = program
        self._orphans = Orphans()

    async def prepare(self, environment: Mapping[str, str]) -> None:
        """Nothing depends on the environment here."""

    async def keep(self, environments: Sequence[Mapping[str, str]]) -> None:
        """Nothing is kept here."""

    async def launch(self, spec: LaunchSpec) -> Process:
        self._orphans.start()
        order = {
            "program": str(self._program),
            "replica": spec.replica,
            "arguments": spec.arguments,
            "socket": str(spec.socket_path),
            "directory": str(spec.directory),
            "daemon": os.getpid(),
        }
        output = Output()
        read_end, write_end = os.pipe()
        try:
            await output.attach(read_end)
            pid = spawn([str(REPLICA_MAIN), json.dumps(order)], spec.environment, write_end)
            return _adopted(pid, output, spec.socket_path)
        except OSError as error:
            output.close()
            raise LaunchFailed(f"replica {spec.replica} could not be started: {error}") from error
        finally:
            os.close(write_end)

    async def close(self) -> None:
        self._orphans.stop()


def _adopted(pid: int, output: Output, socket_path: Path) -> Child:
    """Takes the process over; one that cannot be watched is not left running. Raises OSError."""
    try:
        return Child(pid, output, socket_path)
    except OSError:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        raise
