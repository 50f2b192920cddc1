"""Builds the shell of one replica out of the daemon's parts, with the settings of the moment.

What may change while the replica runs is asked for when it is needed, not copied here.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from supervisor import rules
from supervisor.fleet.inventory import Inventory
from supervisor.fleet.launch.command import launch_spec
from supervisor.fleet.launch.spec import Launcher, LaunchSpec
from supervisor.fleet.launch.stub import WarmUpStub
from supervisor.fleet.messages import Message
from supervisor.fleet.probe import LivenessProbe
from supervisor.fleet.replica import Replica
from supervisor.litellm_config.generation import Generation
from supervisor.live import LiveSettings
from supervisor.observe.logbook import Logbook


class Replicas:
    """`make` is the pool's `MakeReplica`."""

    def __init__(
        self,
        runtime: Path,
        *,
        launcher: Launcher,
        stub: WarmUpStub,
        live: LiveSettings,
        logbook: Logbook,
        on_trial: Callable[[str], bool],
    ) -> None:
        """`on_trial` says whether the next replica of a generation is its first."""
        self._runtime = runtime
        self._launcher = launcher
        self._stub = stub
        self._live = live
        self._logbook = logbook
        self._on_trial = on_trial

    def socket_path(self, replica: int) -> Path:
        return self._runtime / f"r{replica}.sock"

    def make(
        self, number: int, slot: int, generation: Generation, config_path: Path, post: Callable[[Message], None]
    ) -> Replica:
        live = self._live
        socket_path = self.socket_path(number)
        spec = launch_spec(
            replica=number,
            slot=slot,
            config_path=config_path,
            environment=generation.environment,
            directory=generation.directory,
            socket_path=socket_path,
            stub_url=self._stub.url_for(number),
            debug=live.now.logs.litellm_debug,
        )
        inventory = Inventory(socket_path, generation, timeout=live.now.health.timeout)
        return Replica(
            spec,
            environment=generation.environment,
            launcher=self._launcher,
            probe=LivenessProbe(socket_path, timeout=lambda: live.now.health.timeout),
            warm_up=self._wait_warm,
            take_line=lambda from_spec, line: self._take_line(from_spec, generation.digest, line),
            post=post,
            times=lambda: rules.replica(live.now),
            examine=inventory.look if self._on_trial(generation.digest) else None,
        )

    async def _wait_warm(self, replica: int) -> str | None:
        return await self._stub.wait_warm(replica, self._live.now.replicas.warm_up_timeout)

    def _take_line(self, spec: LaunchSpec, generation: str, line: str) -> None:
        self._logbook.take(slot=spec.slot, replica=spec.replica, generation=generation, text=line)
