"""What a side that fails costs the others, and what a measurement leaves running."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping

import psutil
import pytest

from benchmarks.attempt import LONGEST, attempt, failed
from benchmarks.collect import collect
from benchmarks.left_over import nothing_left
from benchmarks.page import section
from benchmarks.question import Goal, Run, Verdict
from benchmarks.result import document, parsed
from benchmarks.table import lines
from tests.benchmarks.made_up import QUESTION
from tests.benchmarks.test_page import result


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    monkeypatch.setattr("benchmarks.collect.disturbance", lambda *, first: "")


async def fails(error: Exception) -> Mapping[str, float]:
    raise error


async def never() -> Mapping[str, float]:
    await asyncio.Event().wait()
    raise AssertionError("unreachable")


async def test_a_side_that_fails_has_a_run_that_says_why():
    assert (await attempt("nginx", 1, fails(RuntimeError("it ended\nand said a lot")), 9, case="1 client")) == Run(
        "nginx", 1, {}, "1 client", "it ended"
    )
    assert (await attempt("nginx", 0, fails(KeyError("pid")), 9)).failed == "KeyError: 'pid'"
    assert (await attempt("nginx", 0, fails(TimeoutError()), 9)).failed == "TimeoutError"
    assert len((await attempt("nginx", 0, fails(RuntimeError("x" * 999)), 9)).failed) == LONGEST


async def test_a_side_that_takes_too_long_is_not_waited_for():
    assert (await attempt("uvicorn", 0, never(), 0.01)).failed == "not done within 0.01 s"


async def test_an_interruption_is_no_failure_of_a_side():
    task = asyncio.create_task(attempt("uvicorn", 0, never(), 60))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_a_failure_is_on_the_page_and_in_the_table_and_the_others_figures_are_too():
    runs = (*result().runs, failed("nginx", 3, RuntimeError("nothing listens on [127.0.0.1]:80"), case="1 client"))
    text = section(QUESTION, result(runs=runs))
    assert r"**nginx failed (round 4, 1 client): nothing listens on \[127.0.0.1\]:80.**" in text
    assert "8,000" in text
    assert "nginx failed (round 4, 1 client): nothing listens on [127.0.0.1]:80" in list(lines(QUESTION, runs))
    kept = parsed(document(result(runs=runs)))
    assert kept.runs[-1] == runs[-1]
    assert '"failed"' not in document(result())


def test_where_litesup_failed_no_goal_is_met_and_where_a_peer_did_it_is_the_runs_that_count():
    goal = Goal("fast", lambda runs: Verdict(True, "1 s"))
    assert goal.verdict([Run("litesup", 0, {}, failed="it ended")]) == Verdict(False, "1 s; litesup failed once")
    assert goal.verdict([Run("nginx", 0, {}, failed="it ended")]) == Verdict(True, "1 s")


@pytest.mark.parametrize("plainly", [False, True], ids=["async", "sync"])
def test_a_measurement_that_hangs_is_ended_when_its_time_is_over_and_what_was_complete_counts(plainly):
    closed = []

    async def measure(rounds, sides):
        try:
            yield Run("litesup", 0, {"rate": 1.0})
            await never()
        finally:
            closed.append(True)

    def measure_plainly(rounds, sides):
        try:
            yield Run("litesup", 0, {"rate": 1.0})
            time.sleep(60)
        finally:
            closed.append(True)

    question = dataclasses.replace(QUESTION, measure=measure_plainly if plainly else measure)
    found = collect(question, rounds=2, sides=("litesup",), command="this one", budget=0.2)
    assert closed
    assert len(found.runs) == 1
    assert found.cut == "what was complete in round 1 of 2 when its time was over"


def test_a_measurement_of_which_nothing_was_complete_is_none():
    async def measure(rounds, sides):
        yield Run("litesup", 0, await never())

    with pytest.raises(RuntimeError, match="nothing of it was complete"):
        collect(
            dataclasses.replace(QUESTION, measure=measure), rounds=1, sides=("litesup",), command="this", budget=0.1
        )


@pytest.mark.parametrize("plainly", [False, True], ids=["async", "sync"])
def test_who_presses_ctrl_c_twice_does_not_disturb_the_cleaning_up(plainly, capsys):
    closed = []

    async def measure(rounds, sides):
        try:
            yield Run("litesup", 0, {"rate": 1.0})
            os.kill(os.getpid(), signal.SIGINT)
            await never()
        finally:
            os.kill(os.getpid(), signal.SIGINT)
            await asyncio.sleep(0.01)
            closed.append(True)

    def measure_plainly(rounds, sides):
        try:
            yield Run("litesup", 0, {"rate": 1.0})
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(60)
        finally:
            os.kill(os.getpid(), signal.SIGINT)
            closed.append(True)

    question = dataclasses.replace(QUESTION, measure=measure_plainly if plainly else measure)
    with pytest.raises(KeyboardInterrupt):
        collect(question, rounds=1, sides=("litesup",), command="this one")
    assert closed
    assert "ending what was started" in capsys.readouterr().err


DAEMON = """
import os, subprocess, sys
idle = [sys.executable, "-c", "import time; time.sleep(600)"]
child = subprocess.Popen(idle, stdout=subprocess.DEVNULL, start_new_session=True)
print(child.pid, flush=True)
os._exit(0)
"""


def test_nothing_that_was_started_runs_on_though_its_parent_is_gone():
    with nothing_left():
        started = subprocess.run([sys.executable, "-c", DAEMON], stdout=subprocess.PIPE, check=True)
        pid = json.loads(started.stdout)
        assert psutil.Process(pid).ppid() == os.getpid()
    assert not psutil.pid_exists(pid)


def test_what_ran_before_runs_on():
    process = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
    with nothing_left():
        pass
    assert process.poll() is None
    process.communicate(b"")
