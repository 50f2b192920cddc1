"""What is said about figures: medians, ratios, verdicts, and whose turn it is."""

from __future__ import annotations

import json

import pytest

from benchmarks import command
from benchmarks.question import (
    Figure,
    Goal,
    NotMeasured,
    Run,
    Verdict,
    cases,
    digits,
    in_turns,
    median,
    ratio,
    spread,
)
from benchmarks.questions import NAMES, asked, question
from benchmarks.table import lines, rows
from tests.benchmarks.made_up import QUESTION, measure

RUNS = [
    Run("litesup", 0, {"rate": 30.0}, "64 clients"),
    Run("litesup", 1, {"rate": 19.0}, "64 clients"),
    Run("litesup", 2, {"rate": 20.0, "failed": 1.0}, "64 clients"),
    Run("haproxy", 0, {"rate": 40.0}, "64 clients"),
    Run("haproxy", 0, {"rate": 4000.0}, "1 client"),
]


def test_the_median_and_the_spread_are_those_of_one_side_in_one_case():
    assert median(RUNS, "litesup", "rate", "64 clients") == 20.0
    assert spread(RUNS, "litesup", "rate", "64 clients") == (19.0, 30.0)
    assert ratio(RUNS, "litesup", "haproxy", "rate", "64 clients") == 0.5


def test_a_run_may_lack_a_figure():
    assert median(RUNS, "litesup", "failed", "64 clients") == 1.0


def test_cases_come_in_the_order_in_which_they_were_measured():
    assert cases(RUNS) == ["64 clients", "1 client"]


@pytest.mark.parametrize(("side", "figure", "case"), [("nginx", "rate", "64 clients"), ("litesup", "rate", "1 client")])
def test_what_was_not_measured_has_no_median(side, figure, case):
    with pytest.raises(NotMeasured, match=rf"“{figure}” of {side} with {case}"):
        median(RUNS, side, figure, case)


def test_nothing_is_a_multiple_of_nothing():
    with pytest.raises(NotMeasured, match="is 0"):
        ratio([Run("litesup", 0, {"failed": 1}), Run("nginx", 0, {"failed": 0})], "litesup", "nginx", "failed")


def test_a_goal_without_its_figures_is_neither_met_nor_missed():
    def judge(runs):
        return Verdict(ratio(runs, "litesup", "haproxy", "rate", "1 client") >= 0.4, "never reached")

    verdict = Goal("≥ 0.4 × HAProxy", judge).verdict(RUNS)
    assert verdict == Verdict(None, "not measured: no figure “rate” of litesup with 1 client")


@pytest.mark.parametrize("count", [1, 2, 3, 4])
@pytest.mark.parametrize("rounds", [1, 2, 6])
def test_every_side_has_its_turn_in_every_round(count, rounds):
    sides = "abcd"[:count]
    turns = list(in_turns(sides, rounds))
    assert sorted(turns) == [(number, side) for number in range(rounds) for side in sides]
    assert [number for number, _ in turns] == sorted(number for number, _ in turns)


def test_the_order_of_the_sides_changes_from_round_to_round():
    turns = list(in_turns("abc", 6))
    orders = ["".join(side for number, side in turns if number == wanted) for wanted in range(6)]
    assert sorted(orders) == ["abc", "acb", "bac", "bca", "cab", "cba"]
    assert orders[:2] == ["abc", "cba"]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (3.0, "3"),
        (12345.6, "12,346"),
        (99.94, "99.9"),
        (1.234, "1.23"),
        (0.01234, "0.012"),
        (-20.55, "-20.6"),
    ],
)
def test_figures_have_as_many_digits_as_mean_something(value, text):
    assert digits(value) == text


def test_a_figure_is_printed_with_its_unit():
    assert Figure("p99", "p99", "ms", "less").text(3.14159) == "3.14 ms"
    assert Figure("failed", "failed", "", "less").text(2.0) == "2"


def test_the_table_has_every_figure_beside_litesups():
    runs = list(measure(3, ("litesup", "haproxy")))
    found = {(row.case, row.figure.name, row.side): row for row in rows(QUESTION, runs)}
    assert len(found) == 8
    assert found["1 client", "p99", "litesup"].median == 4.5
    assert (found["1 client", "p99", "litesup"].lowest, found["1 client", "p99", "litesup"].highest) == (3.5, 5.5)
    assert found["1 client", "rate", "haproxy"].ratio == 1.0
    assert found["1 client", "rate", "litesup"].ratio is None
    text = "\n".join(lines(QUESTION, runs))
    assert "met      ≥ 0.4 × HAProxy's throughput: 1.00 ×" in text
    assert "NOT MET  p99 ≤ 2 ms: 4.50 ms" in text


def test_one_question_can_be_asked_alone(capsys):
    command.main(QUESTION, ["--rounds", "2", "--sides", "haproxy", "litesup", "--json"])
    printed = capsys.readouterr()
    document = json.loads(printed.out)
    assert document["command"] == "python -m benchmarks.made_up --rounds 2 --sides litesup haproxy"
    assert len(document["runs"]) == 8
    assert "round 2: haproxy, 64 clients: throughput 8,000 1/s" in printed.err
    command.main(QUESTION, ["--rounds", "1"])
    assert "throughput (1/s)" in capsys.readouterr().out


def test_a_side_that_there_is_not_is_refused(capsys):
    with pytest.raises(SystemExit) as ended:
        command.main(QUESTION, ["--sides", "caddy"])
    assert ended.value.code == 2
    assert "litesup" in capsys.readouterr().err


def test_every_question_is_a_module_of_that_name():
    assert [question.name for question in asked()] == list(NAMES)
    assert len({question.title for question in asked()}) == len(NAMES), "the page links to titles"


def test_a_module_without_a_question_is_told_from_one_that_there_is_not():
    with pytest.raises(LookupError, match=r"benchmarks/table\.py has no QUESTION"):
        question("table")
    with pytest.raises(ModuleNotFoundError):
        question("nothing")


@pytest.mark.parametrize("name", NAMES)
def test_a_question_is_whole(name):
    asked_for = question(name)
    assert asked_for.sides[0] == "litesup"
    assert len({figure.name for figure in asked_for.figures}) == len(asked_for.figures)
    assert asked_for.goals
    assert asked_for.shares in {"", *NAMES}
    assert set(asked_for.needs) <= {"", *asked_for.sides}
    assert {*asked_for.drawn} <= {figure.name for figure in asked_for.figures}
    assert all(figure.unit in {"s", "ms", "us", "MB", "kB", "1/s", "%", "x", ""} for figure in asked_for.figures)
    assert all(goal.verdict([]).met is not True for goal in asked_for.goals), "nothing measured, nothing met"
