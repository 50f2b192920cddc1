"""The soak's own judgement: what counts as explained, what counts as growth, and that a seed is a schedule."""

from __future__ import annotations

import dataclasses
import itertools
import json
import random
from datetime import UTC, datetime
from typing import Any

import pytest

from benchmarks.soak import growth, report, schedule
from benchmarks.soak.chaos import DEEDS, Done
from benchmarks.soak.gauges import Memory, Rest
from benchmarks.soak.judge import Ask, Judge, Request, Why, defects
from benchmarks.soak.report import Ending, Found, judged
from benchmarks.soak.schedule import WEIGHTS, Deed

NOON = 1_700_000_000.0
PLAIN = Request(Ask.PLAIN, "soak-1", NOON, NOON + 2, NOON + 1, 200, 1, whole=True, right=True)
CUT = dataclasses.replace(PLAIN, ask=Ask.STREAM, whole=False, right=False, error="replica_failed")
SUSPECT = dataclasses.replace(PLAIN, status=502, right=False, error="two replicas ended")


def event(name: str, after: float, **fields: Any) -> dict[str, Any]:
    """`after` is in seconds, from the moment when the request was sent."""
    return {
        "event": name,
        "timestamp": datetime.fromtimestamp(NOON + after, UTC).isoformat(),
        "level": "info",
        **fields,
    }


def death(replica: int = 7, slot: int = 1, after: float = 1.5, *, expected: bool = False) -> dict[str, Any]:
    return event("replica_exited", after, replica=replica, slot=slot, expected=expected, status="SIGKILL")


@pytest.mark.parametrize(
    ("request_", "log", "why"),
    [
        pytest.param(CUT, [death()], Why.CUT, id="its replica died meanwhile"),
        pytest.param(CUT, [event("replica_killed", 1.5, replica=7, slot=1)], Why.CUT, id="litesup killed it"),
        pytest.param(CUT, [], None, id="nobody died"),
        pytest.param(CUT, [death(slot=2)], None, id="another one died"),
        pytest.param(CUT, [death(after=60)], None, id="it died long after"),
        pytest.param(CUT, [death(after=-60)], None, id="it died long before"),
        pytest.param(CUT, [death(expected=True)], None, id="it was to leave, and should have finished"),
        pytest.param(dataclasses.replace(CUT, error=""), [death()], None, id="nobody could see it"),
        pytest.param(dataclasses.replace(CUT, whole=True), [death()], None, id="it looked complete"),
        pytest.param(dataclasses.replace(CUT, status=0), [death()], None, id="it never began, so it is sent again"),
        pytest.param(dataclasses.replace(PLAIN, right=False), [death()], None, id="somebody else's answer"),
        pytest.param(dataclasses.replace(PLAIN, status=503), [death()], None, id="nobody was ready"),
        pytest.param(
            SUSPECT,
            [death(7), death(8, slot=2), event("request_suspected", 1.6, request_id="soak-1", replicas=[7, 8])],
            Why.SUSPECT,
            id="two deaths",
        ),
        pytest.param(SUSPECT, [death(7), death(8, slot=2)], None, id="two deaths, and not a word about it"),
        pytest.param(
            SUSPECT,
            [death(7), event("request_suspected", 1.6, request_id="soak-1", replicas=[7, 8])],
            None,
            id="one death, and a false word",
        ),
        pytest.param(dataclasses.replace(SUSPECT, ask=Ask.HUGE), [death()], Why.NOT_HELD, id="too long to be held"),
        pytest.param(dataclasses.replace(SUSPECT, ask=Ask.HUGE), [], None, id="too long, and nobody died"),
        pytest.param(
            dataclasses.replace(CUT, ask=Ask.SOCKET, slot=None, status=101), [death()], Why.TUNNEL, id="a tunnel"
        ),
        pytest.param(dataclasses.replace(PLAIN, whole=False, left=True), [], Why.LEFT, id="the client left"),
    ],
)
def test_a_failure_is_explained_by_what_happened_to_its_replica_and_by_nothing_less(
    request_: Request, log: list[dict[str, Any]], why: Why | None
):
    assert Judge(log).why(request_) is why


@pytest.mark.parametrize(
    ("log", "killed", "why"),
    [
        pytest.param([death(expected=True)], {7}, Why.CUT, id="the soak killed it while it was leaving"),
        pytest.param([death(expected=True)], {8}, None, id="the soak killed another one"),
        pytest.param(
            [death(expected=True) | {"status": "exit 0"}], {7}, None, id="it was gone before it could be killed"
        ),
        pytest.param([death(expected=True, slot=2)], {7}, None, id="it was not the one that answered"),
    ],
)
def test_a_replica_that_is_killed_while_it_leaves_explains_what_it_could_not_finish(
    log: list[dict[str, Any]], killed: set[int], why: Why | None
):
    assert Judge(log, killed).why(CUT) is why
    assert bool(judged(soaked(requests=[CUT], log=log, killed=frozenset(killed))).unexplained) is (why is None)


GIVEN_UP = event("request_retried", 1.4, replica=7, slot=1, reason="given up", request_id="soak-1")
ACCUSED = event("request_suspected", 1.6, request_id="soak-1", replicas=[7, 8])


@pytest.mark.parametrize(
    ("log", "stopped", "why"),
    [
        pytest.param([GIVEN_UP, death(8, slot=2), ACCUSED], {7}, Why.SUSPECT, id="the soak had stopped the first"),
        pytest.param([GIVEN_UP, death(8, slot=2), ACCUSED], {8}, None, id="nobody had stopped the first"),
        pytest.param([GIVEN_UP, ACCUSED], {7}, None, id="the second one lives"),
        pytest.param([death(8, slot=2), ACCUSED], {7}, None, id="the first one was not given up"),
        pytest.param(
            [GIVEN_UP | {"reason": "lost"}, death(8, slot=2), ACCUSED], {7}, None, id="the first one was lost unseen"
        ),
        pytest.param(
            [GIVEN_UP | {"request_id": "soak-2"}, death(8, slot=2), ACCUSED], {7}, None, id="another request gave it up"
        ),
    ],
)
def test_a_hang_counts_as_a_loss_where_the_soak_made_it(log: list[dict[str, Any]], stopped: set[int], why: Why | None):
    assert Judge(log, stopped=stopped).why(SUSPECT) is why
    found = soaked(requests=[SUSPECT], log=log, stopped=frozenset(stopped))
    assert bool(judged(found).unexplained) is (why is None)


def test_the_daemons_own_errors_are_defects_and_what_it_tells_operators_is_not():
    fine = [event("rollout_failed", 0, reason="a bad file") | {"level": "error"}, event("litellm", 0, line="ERROR")]
    bad = [
        event("uncaught_exception", 0, exception="Traceback …") | {"level": "critical"},
        event("replica_killed", 0, cause="internal error", reason="a bug"),
        event("Task was destroyed but it is pending!", 0) | {"level": "error"},
    ]
    assert defects(fine) == []
    assert len(defects([*fine, *bad])) == 3


def test_a_line_is_not_bent_by_a_few_odd_measurements():
    flat = [(float(second), 50.0 + random.Random(second).uniform(-0.2, 0.2)) for second in range(300)]
    odd = [(at, 90.0 if at % 10 == 3 else value) for at, value in flat]
    rising = [(at, value + at * 0.01) for at, value in odd]
    assert abs(growth.slope(odd) * 300) < 0.2
    assert growth.slope(rising) * 300 == pytest.approx(3.0, abs=0.2)


def test_too_few_measurements_show_no_growth_and_are_told_by_their_number():
    assert growth.trend("uss", [], allowed=1.0).points == 0
    assert not growth.trend("uss", [(1.0, 50.0)], allowed=1.0).grows


def test_the_first_half_of_a_soak_is_its_warm_up():
    climbs_then_rests = [(float(second), min(second, 100) * 1.0) for second in range(200)]
    later = growth.later_half(climbs_then_rests, until=200.0)
    assert not growth.trend("uss", later, allowed=0.5).grows


@pytest.mark.parametrize("seed", range(5))
def test_a_seed_is_a_schedule_and_a_deck_holds_every_deed(seed: int):
    deck = sum(WEIGHTS.values())
    drawn = list(itertools.islice(schedule.steps(seed), deck))
    assert drawn == list(itertools.islice(schedule.steps(seed), deck))
    assert drawn != list(itertools.islice(schedule.steps(seed + 1), deck))
    assert {step.deed for step in drawn} == set(Deed) == set(DEEDS)


def soaked(**changes: Any) -> Found:
    """Ten minutes in which nothing happened."""
    rest = Rest(0.0, 60.0, 90.0, 50, 4, 30, 0, 0, 0, 0, 0, 5, 5, 12, 20)
    found = Found(
        seed=1,
        seconds=600.0,
        requests=[PLAIN],
        done=[Done(Deed.KILL, NOON, NOON + 1, "slot 1 (replica 7)")],
        log=[death()],
        memory=[Memory(float(at), 61.0, 91.0) for at in range(600)],
        rests=[dataclasses.replace(rest, at=at) for at in range(0, 600, 30)],
        provider_open=0,
        ending=Ending(0, 0, "stopped", 0, 0),
    )
    return dataclasses.replace(found, **changes)


def test_ten_quiet_minutes_pass_and_say_so():
    verdict = judged(soaked())
    assert verdict.passed
    text = "\n".join(report.lines(verdict))
    assert text.endswith("passed")
    assert json.loads(json.dumps(report.as_json(verdict)))["passed"] is True


def creeping(name: str, by: float) -> list[Rest]:
    """The rests of a soak in which one thing grows by this in each."""
    rests = soaked().rests
    return [dataclasses.replace(rest, **{name: getattr(rest, name) + by * n}) for n, rest in enumerate(rests)]


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"requests": [CUT], "log": []}, "1 failures that nothing explains"),
        ({"memory": [Memory(float(at), 61.0 + at / 100, 91.0) for at in range(600)]}, "uss under load, MiB grows"),
        ({"rests": creeping("rss", 0.5)}, "rss at rest, MiB grows"),
        ({"rests": creeping("descriptors", 1)}, "descriptors grows"),
        ({"rests": creeping("tasks", 1)}, "tasks grows"),
        ({"rests": creeping("processes", 1)}, "processes grows"),
        ({"rests": creeping("held_bytes", 1)}, "held bytes at rest"),
        ({"provider_open": 1}, "still under way at the provider"),
        ({"requests": [dataclasses.replace(PLAIN, first_byte=NOON + 61)]}, "waited longer than 60 s"),
        ({"log": [event("uncaught_exception", 0) | {"level": "critical"}]}, "the daemon's log: uncaught_exception"),
        ({"ending": Ending(0, 0, "stopped", 1, 0)}, "1 processes and 0 sockets left"),
        ({"ending": Ending(1, 0, "stopped", 0, 0)}, "the daemon's 1"),
        ({"ending": Ending(0, 5, "it is still stopping", 0, 0)}, "exit 5 (it is still stopping)"),
    ],
)
def test_each_of_these_is_a_fault(changes: dict[str, Any], fault: str):
    verdict = judged(soaked(**changes))
    assert not verdict.passed
    assert any(fault in each for each in verdict.faults), verdict.faults
    assert f"failed: {len(verdict.faults)} faults" in "\n".join(report.lines(verdict))


def test_a_short_soak_is_over_before_the_daemon_is_warm_and_so_allows_it_more():
    warming = [Memory(float(at), 50.0 + at / 20, 70.0) for at in range(120)]
    assert judged(soaked(seconds=120.0, memory=warming, rests=soaked().rests[:4])).passed
    running_away = [Memory(float(at), 50.0 + at / 2, 70.0) for at in range(120)]
    assert not judged(soaked(seconds=120.0, memory=running_away, rests=soaked().rests[:4])).passed
