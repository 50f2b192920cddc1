"""Shows that a fault's test depends on the protection that it names: takes that out of the daemon, and runs the test.

    python -m tests.faults.without NAME…     ends with 0 if each of these tests fails then, as it should
    python -m tests.faults.without --list    what can be taken out, and how

The daemon that the test starts takes it out of itself (`TEST_WITHOUT`, see `program`); the files are left alone.
"""

from __future__ import annotations

import dataclasses
import importlib
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.daemon import ROOT
from tests.faults.catalogue import named

LONG = 3600.0
PATIENCE = 20.0  # seconds that each wait of the test may take here, where it will be in vain


def _module(name: str) -> Any:
    """To put something else in the place of one of its names."""
    return importlib.import_module(name)


@dataclass(frozen=True, slots=True)
class Removal:
    """`what` is what the daemon does not do any more."""

    what: str
    apply: Callable[[], None]


def _no_second_try() -> None:
    from supervisor.policy import retry

    decide = retry.decide

    def once(failure: retry.Failure, attempts: retry.Attempts) -> retry.Next:
        following = decide(failure, attempts)
        repeats = failure is retry.Failure.LOST and following is retry.Next.ANOTHER
        return retry.Next.CLIENT_MAY_REPEAT if repeats else following

    retry.decide = once


def _no_end_of_tries() -> None:
    from supervisor.policy import retry

    decide = retry.decide

    def for_ever(failure: retry.Failure, attempts: retry.Attempts) -> retry.Next:
        following = decide(failure, attempts)
        return retry.Next.ANOTHER if following is retry.Next.SUSPECT else following

    retry.decide = for_ever


def _nobody_is_silent() -> None:
    from supervisor.policy.health import Verdict

    _module("supervisor.fleet.suspicion").judge = lambda vitals, *, now, rules: (
        Verdict.SUSPECT if vitals.misses else Verdict.WELL
    )


def _a_kept_connection_for_probes() -> None:
    import aiohttp

    class Kept(aiohttp.UnixConnector):
        def __init__(self, path: str, **options: Any) -> None:
            super().__init__(path, **{**options, "force_close": False})

    _module("aiohttp").UnixConnector = Kept


def _what_is_cut_looks_whole() -> None:
    from supervisor.balancer.relay import ClientStream

    def orderly(self: ClientStream, event: bytes = b"") -> None:
        self.put([], last=True)
        if self._transport is not None:
            self._transport.close()

    ClientStream.break_off = orderly  # type: ignore[method-assign]


def _no_deadline_for_replicas_that_start() -> None:
    from supervisor import rules

    fleet = rules.fleet

    def patient(settings: Any) -> Any:
        made = fleet(settings)
        return dataclasses.replace(made, planning=dataclasses.replace(made.planning, start_timeout=math.inf))

    rules.fleet = patient


def _no_time_to_stand() -> None:
    from supervisor import rules

    fleet = rules.fleet

    def hasty(settings: Any) -> Any:
        made = fleet(settings)
        return dataclasses.replace(made, planning=dataclasses.replace(made.planning, settle=0.0))

    rules.fleet = hasty


def _the_kernel_alone_is_asked() -> None:
    _module("supervisor.watch").FileWatch.__init__.__kwdefaults__["look_every"] = LONG


def _no_patience_with_the_fork_server_ends() -> None:
    launcher = _module("supervisor.fleet.launch.forked").ForkedLauncher
    launcher.__init__.__kwdefaults__["answer_timeout"] = LONG


def _threads_are_forked() -> None:
    from supervisor.fleet.launch.auto import AutoLauncher

    async def silent(self: AutoLauncher, reason: str, environment: object) -> None:
        pass

    AutoLauncher._fall_back = silent  # type: ignore[method-assign]


def _a_second_signal_means_nothing() -> None:
    from supervisor.stopping import StopRequest

    def once(self: StopRequest, reason: str) -> None:
        self.reason = reason
        self.asked.set()

    StopRequest.ask = once  # type: ignore[method-assign]


def _no_lock() -> None:
    from supervisor.control import lock

    lock._locked = lambda file: True


def _the_wall_clock() -> None:
    defaults = _module("supervisor.fleet.pool").Pool.__init__.__kwdefaults__
    defaults["clock"] = time.time  # which is wrong already: see `program`


def _the_log_is_written_at_once() -> None:
    from supervisor.observe.sink import Sink

    def write(self: Sink, line: str, *, soon: bool = True) -> None:
        os.write(self._descriptor, line.encode() + b"\n")

    Sink.write = write  # type: ignore[method-assign]


def _as_many_files_as_there_were() -> None:
    _module("supervisor.balancer.server").affordable = lambda wanted: wanted


def _heads_may_be_late() -> None:
    from supervisor.balancer.front import ClientConnection

    ClientConnection._head_is_late = lambda self: None  # type: ignore[method-assign]


def _bodies_may_be_late() -> None:
    from supervisor.balancer.body import ArrivingBody

    made = ArrivingBody.__init__

    def patient(self: ArrivingBody, *arguments: Any, **options: Any) -> None:
        made(self, *arguments, **{**options, "patience": LONG})

    ArrivingBody.__init__ = patient  # type: ignore[method-assign]


def _who_leaves_is_not_noticed() -> None:
    from supervisor.balancer.exchange import Exchange

    Exchange.cancel = lambda self: None  # type: ignore[method-assign]


def _children_are_left() -> None:
    from supervisor.fleet.launch.child import Child

    async def left(self: Child) -> None:
        pass

    Child._kill_session = left  # type: ignore[method-assign]


def _a_refusal_ends_it() -> None:
    from supervisor.history.keeper import Keeper

    async def fail(self: Keeper) -> None:
        raise OSError(28, "No space left on device")

    Keeper.run = fail  # type: ignore[method-assign]


def _nobody_is_worn_out() -> None:
    _module("supervisor.fleet.recycler").next_recycling = lambda wears, limits, *, available: None


REMOVALS: dict[str, Removal] = {
    "replica-killed": Removal("send a request whose replica died to another", _no_second_try),
    "request-that-kills": Removal("stop after two deaths", _no_end_of_tries),
    "replica-stopped": Removal("give up or kill a replica that misses its probes", _nobody_is_silent),
    "socket-removed": Removal("connect anew for each probe", _a_kept_connection_for_probes),
    "memory-grows": Removal("replace a replica that has grown", _nobody_is_worn_out),
    "replica-leaves-children": Removal("kill the session of a replica that ended", _children_are_left),
    "stream-cut": Removal("end visibly what was cut", _what_is_cut_looks_whole),
    "reset": Removal("end visibly what was cut", _what_is_cut_looks_whole),
    "slow-boot": Removal("bound how long a replica may start", _no_deadline_for_replicas_that_start),
    "ready-then-silent": Removal("let the first new replica stand before the others follow", _no_time_to_stand),
    "watch-overflow": Removal("look at the files beside listening to the kernel", _the_kernel_alone_is_asked),
    "fork-server-stopped": Removal("bound how long a fork may take", _no_patience_with_the_fork_server_ends),
    "fork-server-with-threads": Removal("fall back on plain replicas", _threads_are_forked),
    "terminated-twice": Removal("take a second signal for haste", _a_second_signal_means_nothing),
    "second-start": Removal("lock the runtime directory", _no_lock),
    "clock-jumps": Removal("go by the monotonic clock", _the_wall_clock),
    "log-reader-blocks": Removal("write the log in a thread, from a bounded line", _the_log_is_written_at_once),
    "state-full": Removal("go on when the history cannot be written", _a_refusal_ends_it),
    "idle-connections": Removal("raise the limit of open files", _as_many_files_as_there_were),
    "slow-loris": Removal("bound how long a head may take", _heads_may_be_late),
    "upload-stalls": Removal("bound how long a body may stall", _bodies_may_be_late),
    "client-leaves-waiting": Removal("notice clients that leave", _who_leaves_is_not_noticed),
}


def take_out(name: str) -> None:
    REMOVALS[name].apply()


def fails_without(name: str) -> bool:
    """Runs the fault's test with the protection taken out of its daemon."""
    test = str(Path(__file__).parent / named(name).test)
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "--timeout", "100", test]
    environment = {**os.environ, "TEST_WITHOUT": name, "TEST_PATIENCE": str(PATIENCE)}
    finished = subprocess.run(command, check=False, cwd=ROOT, env=environment, capture_output=True, text=True)
    failed = finished.returncode == 1
    reason = next((line for line in finished.stdout.split("\n") if line.startswith("E  ")), "E   it passed")
    print(f"{name:26} {'fails' if failed else 'STILL PASSES'}: {reason[1:].strip()[:150]}", flush=True)
    return failed


def main() -> None:
    names = sys.argv[1:]
    if names == ["--list"]:
        for name, removal in REMOVALS.items():
            print(f"{name:26} does not: {removal.what}")
        return
    if not names or any(name not in REMOVALS for name in names):
        sys.exit("usage: python -m tests.faults.without NAME…, or --list for the names")
    results = [fails_without(name) for name in names]
    sys.exit(0 if all(results) else 1)


if __name__ == "__main__":
    main()
