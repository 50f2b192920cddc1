"""How a question is asked: who is left out, what is kept, when it ends."""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import os
import signal
from collections.abc import AsyncIterator, Sequence
from functools import partial
from types import SimpleNamespace

import pytest

from benchmarks import machine
from benchmarks.collect import CannotMeasureError, Progress, collect
from benchmarks.question import Run, in_turns
from benchmarks.result import document, load, parsed, save
from tests.benchmarks.made_up import QUESTION


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    monkeypatch.setattr("benchmarks.collect.disturbance", lambda *, first: "")


def ask(question=QUESTION, **options):
    return collect(question, **{"rounds": 2, "sides": question.sides, "command": "this one"} | options)


def test_every_run_is_kept_with_where_it_was_made():
    result = ask()
    assert (result.rounds, len(result.runs)) == (2, 12)
    assert (result.question, result.command, result.cut, result.disturbed) == ("made_up", "this one", "", "")
    assert {"cores", "memory", "kernel", "python", "load before"} <= result.machine.keys()
    assert {"litellm", "uvicorn", "gunicorn"} <= result.versions.keys()


def test_a_side_whose_program_is_missing_is_left_out_and_the_way_to_it_is_told(capsys, monkeypatch):
    monkeypatch.setattr(machine, "find", lambda program: None if program == "haproxy" else f"/bin/{program}")
    monkeypatch.setattr("benchmarks.collect.versions", dict)
    result = ask(dataclasses.replace(QUESTION, needs={"haproxy": ["haproxy"], "nginx": ["nginx"]}))
    assert {run.side for run in result.runs} == {"litesup", "nginx"}
    assert result.missing == {"haproxy": ["haproxy"]}
    assert "haproxy is left out: haproxy not found (apt install haproxy)" in capsys.readouterr().err


def test_without_what_all_need_nothing_is_measured(monkeypatch):
    monkeypatch.setattr(machine, "find", lambda program: None)
    with pytest.raises(CannotMeasureError, match="wrk not found: apt install wrk"):
        ask(dataclasses.replace(QUESTION, needs={"": ["wrk"]}))


def test_with_too_few_cores_nothing_is_measured():
    with pytest.raises(CannotMeasureError, match="1000 cores"):
        ask(dataclasses.replace(QUESTION, cores=1000))


def test_an_asynchronous_measurement_is_one_too():
    async def measure(rounds: int, sides: Sequence[str]) -> AsyncIterator[Run]:
        for number, side in in_turns(sides, rounds):
            yield Run(side, number, {"rate": 1.0})

    assert len(ask(dataclasses.replace(QUESTION, measure=measure)).runs) == 6


def test_no_round_is_begun_that_would_go_beyond_the_time():
    progress = Progress(QUESTION, rounds=5, budget=100.0, clock=0.0)
    for number, ended in ((0, 20.0), (0, 40.0), (1, 60.0), (1, 80.0)):
        assert progress.take(Run("litesup", number, {}), ended)
    assert not progress.take(Run("litesup", 2, {}), 100.0)
    assert [run.round for run in progress.runs] == [0, 0, 1, 1]
    assert progress.cut == "2 of 5 rounds, because another would have gone beyond 100 s"


def test_what_is_started_once_is_not_counted_for_each_round():
    progress = Progress(QUESTION, rounds=3, budget=160.0, clock=0.0)
    taken = [progress.take(Run("litesup", number, {}), now=now) for number, now in enumerate((80.0, 110.0, 140.0))]
    assert (taken, progress.cut) == ([True] * 3, "")


def test_a_measurement_that_is_cut_short_is_closed():
    closed, referred_to = [], []

    def measure(rounds, sides):
        referred_to.append(measuring := _measuring(rounds, sides))
        return measuring

    def _measuring(rounds, sides):
        try:
            for number, side in in_turns(sides, rounds):
                yield Run(side, number, {"rate": 1.0})
        finally:
            closed.append(True)

    result = ask(dataclasses.replace(QUESTION, measure=measure), budget=0.0, rounds=9)
    assert result.rounds == 1
    assert closed


def test_an_interruption_closes_the_measurement_and_goes_on_to_the_caller():
    closed = []

    async def measure(rounds, sides):
        try:
            yield Run("litesup", 0, {"rate": 1.0})
            raise KeyboardInterrupt
        finally:
            closed.append(True)

    with pytest.raises(KeyboardInterrupt):
        ask(dataclasses.replace(QUESTION, measure=measure))
    assert closed


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=str)
@pytest.mark.parametrize("inherited", [signal.default_int_handler, signal.SIG_IGN], ids=["", "background"])
def test_a_measurement_that_is_told_to_end_cleans_up_after_itself(number, inherited, request):
    closed = []
    request.addfinalizer(partial(signal.signal, signal.SIGINT, signal.signal(signal.SIGINT, inherited)))

    async def measure(rounds, sides):
        try:
            yield Run("litesup", 0, {"rate": 1.0})
            os.kill(os.getpid(), number)
            await asyncio.sleep(60)
        finally:
            closed.append(True)

    handlers = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)]
    with pytest.raises(KeyboardInterrupt):
        ask(dataclasses.replace(QUESTION, measure=measure))
    assert closed
    assert [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)] == handlers


def test_what_is_kept_can_be_read_again(tmp_path):
    result = ask()
    save(result, tmp_path)
    assert load(tmp_path) == {"made_up": parsed(document(result))}
    assert document(load(tmp_path)["made_up"]) == document(result)
    assert load(tmp_path)["made_up"].runs == result.runs


def test_figures_are_kept_with_more_digits_than_are_shown():
    result = dataclasses.replace(ask(), runs=(Run("litesup", 0, {"rate": 123456.789}),))
    assert parsed(document(result)).runs[0].figures == {"rate": 123456.8}


@pytest.mark.parametrize(
    ("load", "shares", "first", "said"),
    [
        (0.0, [0.0], True, ""),
        (9.0, [0.0], True, "the load of the last minute was 9.00"),
        (9.0, [0.0], False, ""),
        (0.0, [80.0, 60.0, 3.0], False, ""),
        (0.0, [80.0] * 99, False, "others were using 80 % of the machine"),
    ],
    ids=["quiet", "busy", "the load is of the question before", "quiet soon", "busy for long"],
)
def test_a_machine_that_others_use_is_said_to_be_so(monkeypatch, load, shares, first, said):
    seconds = itertools.count()
    monkeypatch.setattr("os.getloadavg", lambda: (load, 0.0, 0.0))
    monkeypatch.setattr("psutil.cpu_percent", lambda interval: shares.pop(0))
    monkeypatch.setattr("benchmarks.machine.time", SimpleNamespace(monotonic=lambda: float(next(seconds))))
    assert machine.disturbance(first=first) == said


def test_no_results_are_none(tmp_path):
    assert load(tmp_path / "results") == {}


def test_a_file_that_is_no_result_is_named(tmp_path):
    (tmp_path / "hop.json").write_text('{"runs": []}')
    with pytest.raises(ValueError, match=r"hop\.json: not a result .*measure it again"):
        load(tmp_path)
