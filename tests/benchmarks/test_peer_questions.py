"""What the questions about the real LiteLLM compute from their runs, and when their goals are met."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest
import yaml

from benchmarks import boot, first_request, job, memory, recovery, reload
from benchmarks.clients import ANSWERED, CUT, Told
from benchmarks.peers import POOLS
from benchmarks.peers.pool import FAST, PACED, Place, config_text
from benchmarks.peers.program import Log
from benchmarks.question import Figure, Question, Run
from benchmarks.sitting import RequestsLostError, Sittings, answered_all, first_and_steady

QUESTIONS = (boot.QUESTION, memory.QUESTION, first_request.QUESTION, recovery.QUESTION, reload.QUESTION, job.QUESTION)


def runs(**sides: Mapping[str, float]) -> list[Run]:
    return [Run(side, 0, figures) for side, figures in sides.items()]


def met(question: Question, made: list[Run]) -> list[bool | None]:
    return [goal.verdict(made).met for goal in question.goals]


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda question: question.name)
def test_every_side_of_a_question_can_be_started(question: Question) -> None:
    assert set(question.sides) <= set(POOLS)
    assert set(question.drawn) <= {figure.name for figure in question.figures}


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda question: question.name)
def test_without_runs_no_goal_is_judged(question: Question) -> None:
    assert set(met(question, [])) == {None}


def test_boot_is_judged_by_all_three_and_not_by_the_first_answer() -> None:
    theirs = {"gunicorn": {"ready": 8.0, "answered": 1.0}, "uvicorn": {"ready": 20.0, "answered": 1.0}}
    assert met(boot.QUESTION, runs(litesup={"ready": 6.0, "answered": 5.0}, **theirs)) == [True, True]
    assert met(boot.QUESTION, runs(litesup={"ready": 6.1, "answered": 0.1}, **theirs)) == [False, True]
    assert met(boot.QUESTION, runs(litesup={"ready": 7.1, "answered": 0.1}, **theirs)) == [False, False]


def test_memory_is_judged_at_rest_and_after_the_requests() -> None:
    gunicorn = {"idle": 400.0, "served": 1000.0}
    assert met(memory.QUESTION, runs(litesup={"idle": 460.0, "served": 1150.0}, gunicorn=gunicorn)) == [True, True]
    assert met(memory.QUESTION, runs(litesup={"idle": 461.0, "served": 1151.0}, gunicorn=gunicorn)) == [False, False]


def test_a_first_request_is_judged_by_its_kind() -> None:
    assert met(first_request.QUESTION, runs(litesup={"cold_plain": 2.0, "cold_stream": 2.1})) == [True, False]


def test_recovery_is_judged_by_the_median() -> None:
    made = [Run("litesup", number, {"recovered": seconds}) for number, seconds in enumerate((0.3, 0.4, 3.0))]
    assert met(recovery.QUESTION, made) == [True]
    assert met(recovery.QUESTION, made[1:]) == [False]


def test_one_lost_request_in_any_round_is_one_too_many() -> None:
    fine = {"reloaded": 4.0, "failed": 0.0, "cut": 0.0}
    assert met(reload.QUESTION, runs(litesup=fine)) == [True, True]
    rounds = [Run("litesup", 0, fine), Run("litesup", 1, fine), Run("litesup", 2, {**fine, "cut": 1.0})]
    assert met(reload.QUESTION, rounds) == [True, False]
    assert met(reload.QUESTION, runs(litesup={**fine, "reloaded": 4.1})) == [False, True]


def job_runs(rate: float, p99: float, case: str = "") -> list[Run]:
    """All cases alike, but for litesup's in one of them."""
    made = []
    for name in job.CASES:
        ours = (rate, p99) if name == case else (100.0, 9.0)
        made.append(Run("litesup", 0, {"rate": ours[0], "p99": ours[1]}, name))
        made.append(Run("gunicorn", 0, {"rate": 100.0, "p99": 20.0}, name))
        made.append(Run("nginx", 0, {"rate": 90.0, "p99": 10.0}, name))
    return made


def test_the_job_is_judged_beside_the_best_peer_of_each_figure() -> None:
    assert met(job.QUESTION, job_runs(100.0, 9.0)) == [True, True]


@pytest.mark.parametrize("case", job.CASES)
def test_the_job_has_to_be_done_as_well_in_every_case(case: str) -> None:
    assert met(job.QUESTION, job_runs(99.0, 9.0, case)) == [False, True]
    assert met(job.QUESTION, job_runs(100.0, 9.1, case)) == [True, False]


def test_the_job_is_not_judged_when_a_case_has_no_peer() -> None:
    made = [run for run in job_runs(100.0, 9.0) if run.side == "litesup" or run.case != "plain, 8 clients"]
    assert met(job.QUESTION, made) == [None, None]


def test_another_way_of_choosing_is_no_peer_and_is_told_of_beside_the_default() -> None:
    better = [Run(job.LEAST, 0, {"rate": 150.0, "p99": 5.0}, name) for name in job.CASES]
    goal, _ = job.QUESTION.goals
    alone, beside = goal.verdict(job_runs(100.0, 9.0)), goal.verdict([*job_runs(100.0, 9.0), *better])
    assert (alone.met, beside.met) == (True, True)
    both = "plain 1.00 ×, 1.00 ×, 1.00 ×; streamed 1.00 ×, 1.00 ×, 1.00 ×"
    assert alone.measured == both
    assert beside.measured == f"{both} (least_outstanding: {both.replace('1.00', '1.50')})"
    assert met(job.QUESTION, [*job_runs(99.0, 9.0, "plain, 1 client"), *better]) == [False, True]


def test_processor_time_is_shared_out_over_the_warm_up_too() -> None:
    told = Told(3.5, {ANSWERED: 350, CUT: 1, "503": 2}, [0.01] * 350)
    found = job.figures(told, used=4.2)
    assert found["rate"] == pytest.approx(100.0)
    assert found["cpu"] == pytest.approx(4.2 / (350 * (3.5 + job.WARM_UP) / 3.5) * 1e3)
    assert found["failed"] == 3
    assert found["p99"] == pytest.approx(10.0)


def test_the_first_request_is_the_slowest_of_all_replicas_and_no_steady_one() -> None:
    found = first_and_steady("plain", [[20.0, *[50.0] * 9, *[10.0] * 10], [30.0, *[50.0] * 9, *[12.0] * 10]])
    assert found == {"first_plain": 30.0, "steady_plain": 11.0, "cold_plain": pytest.approx(30.0 / 11.0)}


def test_what_was_not_all_answered_ends_the_measurement() -> None:
    answered_all(Told(1.0, {ANSWERED: 3}), 3)
    with pytest.raises(RequestsLostError, match="2 of 3 requests were answered"):
        answered_all(Told(1.0, {ANSWERED: 2, "503": 1}), 3)


async def test_questions_about_the_same_start_share_it() -> None:
    sat = []

    async def sit(side: str, provider: str) -> Mapping[str, float]:
        sat.append(side)
        return {"ready": 1.0, "idle": 2.0}

    sittings = Sittings(sit, of="boot", sides=(), rounds=1, budget=1.0, before=lambda: sat.append("read"))
    found = []
    for name in ("ready", "idle"):
        measured = sittings.measure([Figure(name, name, "s", "less")])(2, ["litesup", "gunicorn"])
        assert isinstance(measured, AsyncIterator)
        found.append([(run.side, run.round, dict(run.figures)) async for run in measured])
    assert sat[0] == "read", "before the first, and before no other"
    assert sorted(sat[1:]) == ["gunicorn", "gunicorn", "litesup", "litesup"]
    assert found[0][0] == ("litesup", 0, {"ready": 1.0})
    assert found[1][0] == ("litesup", 0, {"idle": 2.0})


@pytest.mark.parametrize("side", ["litesup", "uvicorn"])
async def test_a_peer_that_lost_requests_may_try_again_and_we_may_not(side: str) -> None:
    sat: list[str] = []

    async def sit(side: str, _: str) -> dict[str, float]:
        sat.append(side)
        if len(sat) == 1:
            raise RequestsLostError("2 of 3 requests were answered")
        return {"ready": 1.0}

    measured = Sittings(sit, of="boot", sides=(), rounds=1, budget=1.0).measure(
        [Figure("ready", "ready", "s", "less")]
    )(1, [side])
    assert isinstance(measured, AsyncIterator)
    if side == "litesup":
        assert (await anext(measured)).failed == "2 of 3 requests were answered"
        assert sat == ["litesup"]
    else:
        assert (await anext(measured)).figures == {"ready": 1.0}
        assert sat == ["uvicorn", "uvicorn"]


def test_all_sides_get_the_same_models_and_those_that_were_added() -> None:
    document = yaml.safe_load(config_text("http://provider", ["one-more"]))
    bases = {entry["model_name"]: entry["litellm_params"]["api_base"] for entry in document["model_list"]}
    assert bases == {FAST: "http://provider/", PACED: "http://provider/paced/", "one-more": "http://provider/"}


def test_a_place_shows_its_key_to_nobody(tmp_path: Path) -> None:
    place = Place(tmp_path, "http://provider")
    assert place.key not in repr(place)
    assert place.key not in " ".join(place.litellm("--port", "1"))


def test_a_log_is_read_on_from_where_it_was_and_by_whole_lines(tmp_path: Path) -> None:
    log = Log(tmp_path / "log")
    assert log.lines() == []
    log.path.write_bytes(b"one started\ntwo star")
    assert log.count("started") == 1
    since = len(log.lines())
    with log.path.open("ab") as file:
        file.write(b"ted\nthree\n")
    assert log.count("started", since) == 1
    assert log.end() == "one started\ntwo started\nthree"
