"""docs/benchmarks.md and its pictures: what they say follows from the runs, and what is there is what would be written."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from types import SimpleNamespace
from xml.etree import ElementTree as ET

import pytest

from benchmarks import __main__ as command
from benchmarks.page import Places, page, section, write
from benchmarks.picture import in_words, panels, picture
from benchmarks.question import Figure, Question, Run
from benchmarks.questions import NAMES, asked
from benchmarks.result import Result, load, save
from tests.benchmarks.made_up import QUESTION, measure

DOCS = Path(__file__).parents[2] / "docs"
ISSUED = 1800.0  # seconds that all questions may take, those that share their runs once
STALE = "run: python -m benchmarks.page"


def result(question=QUESTION, runs=None, **fields):
    return Result(
        **{
            "question": question.name,
            "date": "2026-01-02 03:04 UTC",
            "seconds": 100.0,
            "command": f"python -m benchmarks.{question.name} --rounds 3",
            "machine": {"cores": "2 x Cray", "load before": "0.01 0.02 0.03"},
            "versions": {"nginx": "1.22.1"},
            "disturbed": "",
            "cut": "",
            "missing": {},
            "runs": tuple(measure(3, question.sides)) if runs is None else runs,
        }
        | fields
    )


def growth(counts=(1, 2, 4), what="replica"):
    figure = Figure("memory", "memory", "MB", "less")
    question = Question(
        "grown", "Growth", "It grows.", ("litesup",), (figure,), (), lambda rounds, sides: iter(()), growth=True
    )
    runs = [
        Run("litesup", number, {"memory": 40.0 + count + number}, f"{count} {what}{'s' if count > 1 else ''}")
        for number in range(2)
        for count in counts
    ]
    return question, runs


def test_the_page_is_the_one_that_the_kept_results_make():
    results = load()
    assert (DOCS / "benchmarks.md").read_text(encoding="utf-8") == page(list(asked()), results), STALE
    drawn = {
        f"{question.name}.svg": picture(question, results[question.name].runs)
        for question in asked()
        if question.name in results
    }
    there = {file.name: file.read_text(encoding="utf-8") for file in (DOCS / "benchmarks").glob("*")}
    assert there == drawn, STALE


def test_every_result_that_is_kept_answers_a_question():
    assert set(load()) <= set(NAMES)


def test_all_questions_together_take_half_an_hour_at_most():
    each: dict[str, float] = {}
    for question in asked():
        group = question.shares or question.name
        each[group] = max(question.budget, each.get(group, 0.0))
    assert command.most(list(asked())) <= ISSUED
    assert sum(each.values()) <= 1.1 * ISSUED, f"no more is to spare than some of them leave: {each}"


def test_a_question_has_what_it_was_given_when_it_is_asked_alone():
    assert command.most([question for question in asked() if question.name == "hop"]) == 145.0 + command.BETWEEN


def test_the_table_says_of_every_goal_whether_it_is_met():
    text = page([QUESTION], {"made_up": result()})
    assert "| [The hop](#the-hop) | ≥ 0.4 × HAProxy's throughput | 1.00 × | yes |" in text
    assert "|  | p99 ≤ 2 ms | 4.50 ms | **no** |" in text


def test_the_reason_is_given_only_while_a_goal_is_not_met():
    text = section(QUESTION, result())
    assert "**Not met: p99 ≤ 2 ms.** Measured: 4.50 ms. Python needs its time; a faster parser was tried." in text
    assert "It never was slow enough" not in text
    quick = tuple(dataclasses.replace(run, figures=run.figures | {"p99": 1.0}) for run in result().runs)
    assert "Python needs its time" not in page([QUESTION], {"made_up": result(runs=quick)})


def test_a_reason_that_several_goals_share_is_given_once():
    twice = dataclasses.replace(
        QUESTION, goals=(QUESTION.goals[1], dataclasses.replace(QUESTION.goals[1], text="same"))
    )
    text = section(twice, result())
    assert "**Not met: p99 ≤ 2 ms.** Measured: 4.50 ms. **Not met: same.** Measured: 4.50 ms. Python needs" in text
    assert text.count("Python needs") == 1


def test_a_goal_whose_side_was_left_out_is_open_and_the_page_says_what_to_install():
    left = tuple(run for run in result().runs if run.side != "haproxy")
    text = page([QUESTION], {"made_up": result(runs=left, missing={"haproxy": ["haproxy"]})})
    assert "| not measured: no figure “rate” of haproxy with 64 clients | – |" in text
    assert "*haproxy* is left out, because it is not installed: apt install haproxy." in text


def test_a_question_without_a_result_is_in_the_table_only():
    other = dataclasses.replace(QUESTION, name="other", title="Another")
    text = page([QUESTION, other], {"made_up": result()})
    assert "| Another | ≥ 0.4 × HAProxy's throughput | not yet | – |" in text
    assert "## Another" not in text


def test_without_any_result_the_page_says_so_whatever_the_questions():
    assert page([QUESTION], {}) == page([], {})
    assert "Nothing has been measured yet." in page([], {})


def test_what_spoils_figures_is_said_beside_them():
    text = section(QUESTION, result(disturbed="the load of the last minute was 7.00", cut="2 of 3 rounds, because"))
    assert "**The machine was not quiet: the load of the last minute was 7.00.**" in text
    assert "Only 2 of 3 rounds, because." in text


def test_figures_have_median_spread_and_ratio():
    text = section(QUESTION, result())
    assert "|  | litesup | nginx | haproxy |" in text
    assert "| *99th percentile (ms)* |  |  |  |" in text
    assert "| 1 client | **4.50**<br>3.50 – 5.50 | 4.50<br>3.50 – 5.50<br>1 × |" in text
    assert "| 1 client | **8,000** | 6,000<br>0.75 × | 8,000<br>1 × |" in text


def test_a_figure_that_has_one_case_has_one_line_and_so_has_one_that_is_always_nothing():
    one = [run for run in result().runs if run.case == "1 client"]
    assert "| throughput (1/s), 1 client | **8,000** |" in section(QUESTION, result(runs=one))
    never = [dataclasses.replace(run, figures={**run.figures, "p99": 0.0}) for run in result().runs]
    assert "| 99th percentile (ms), always | 0 | 0 | 0 |" in section(QUESTION, result(runs=never))


def test_growth_has_its_sizes_across():
    question, runs = growth((1, 2, 4))
    assert section(question, result(question, runs)).endswith(
        "| replicas | 1 | 2 | 4 |\n|---|---:|---:|---:|\n"
        "| memory (MB) | 41.5<br>41 – 42 | 42.5<br>42 – 43 | 44.5<br>44 – 45 |\n"
    )


def test_the_machine_is_named_once_where_it_is_the_same():
    other = dataclasses.replace(QUESTION, name="other", title="Another")
    same = page([QUESTION, other], {"made_up": result(), "other": result(other)})
    assert "| cores | 2 x Cray |" in same
    assert "made_up 0.01 0.02 0.03, other 0.01 0.02 0.03" in same
    moved = result(other, machine={"cores": "4 x Cray", "load before": "0"})
    assert "| cores | 2 x Cray (made_up)<br>4 x Cray (other) |" in page(
        [QUESTION, other], {"made_up": result(), "other": moved}
    )


def test_a_picture_is_well_formed_and_can_be_read_aloud():
    root = ET.fromstring(picture(QUESTION, result().runs))
    space = {"svg": "http://www.w3.org/2000/svg"}
    assert root.get("role") == "img"
    labelled = [root.find(f".//*[@id='{name}']") for name in (root.get("aria-labelledby") or "").split()]
    told = [each.text for each in labelled if each is not None]
    assert told == ["The hop", in_words(QUESTION, result().runs)]
    assert "throughput, 64 clients: litesup 8,000 1/s, nginx 6,000 1/s, haproxy 8,000 1/s." in in_words(
        QUESTION, result().runs
    )
    assert "prefers-color-scheme: dark" in (root.findtext("svg:style", namespaces=space) or "")


def test_the_same_results_give_the_same_bytes_also_when_they_were_read_from_a_file(tmp_path):
    save(measured := result(), tmp_path)
    kept = load(tmp_path)
    assert picture(QUESTION, measured.runs) == picture(QUESTION, kept["made_up"].runs)
    assert page([QUESTION], {"made_up": measured}) == page([QUESTION], kept)


def test_every_side_has_a_bar_and_only_ours_is_marked():
    text = picture(QUESTION, result().runs)
    assert len(re.findall(r'class="bar', text)) == 2 * 2 * 3
    assert len(re.findall(r'class="bar ours"', text)) == 2 * 2
    assert text.count('class="whisker"') == 2 * 3, "throughput was the same in every round"


def test_nothing_is_drawn_outside_the_picture():
    for text in (picture(QUESTION, result().runs), picture(*growth())):
        root = ET.fromstring(text)
        _, _, width, height = map(float, (root.get("viewBox") or "").split())
        for each in root.iter():
            across = [float(each.get(name, "0")) for name in ("x", "cx")]
            down = [float(each.get(name, "0")) for name in ("y", "cy")]
            assert all(0 <= x <= width for x in across), each.attrib
            assert all(0 <= y <= height for y in down), each.attrib


@pytest.mark.parametrize(
    ("title", "columns"),
    [("p99", 3), ("from the save until the last one", 2), ("from the save until every replica knows the new model", 1)],
)
def test_titles_have_as_much_room_as_they_need(title, columns):
    figures = tuple(Figure(f"f{number}", title, "ms", "less") for number in range(3))
    question = dataclasses.replace(QUESTION, figures=figures)
    text = picture(question, [Run("litesup", 0, {figure.name: 1.0 for figure in figures})])
    assert len(set(re.findall(r'<text x="([\d.]+)"[^>]* class="panel"', text))) == columns


def test_the_ends_of_growth_are_marked_whatever_is_between():
    question, runs = growth((1, 2, 3, 4, 1000))
    marks = re.findall(r'class="quiet small" text-anchor="middle">([\d,]+)<', picture(question, runs))
    assert marks == ["1,000", "1"]


def test_cases_that_differ_by_much_have_scales_of_their_own():
    runs = [Run("litesup", 0, {"p99": p99}, case) for case, p99 in (("1 client", 0.1), ("64 clients", 90.0))]
    text = picture(QUESTION, runs)
    assert "each group has a scale of its own" in text
    widths = set(re.findall(r'class="bar ours"[^>]* width="([\d.]+)"', text))
    assert len(widths) == 1


def test_growth_is_a_line_along_what_is_counted():
    question, runs = growth()
    more = [Run("litesup", 0, {"memory": 50.0}, "1,000 streams"), Run("litesup", 0, {"memory": 60.0}, "5,000 streams")]
    assert [panel.along for panel in panels(question, runs + more)] == ["replicas", "streams"]
    text = picture(question, runs + more)
    assert text.count('class="line ours"') == 2
    assert text.count('class="dot ours"') == 5


def test_a_case_that_counts_nothing_is_no_growth():
    question, _ = growth()
    with pytest.raises(ValueError, match="“many replicas” is no step of growth"):
        picture(question, [Run("litesup", 0, {"memory": 1.0}, "many replicas")])


def test_what_was_not_measured_is_a_picture_that_says_so():
    assert "not measured" in picture(QUESTION, [])


@pytest.fixture
def trial(tmp_path, monkeypatch):
    """Two questions, of which the second one can be made to fail."""
    other = dataclasses.replace(QUESTION, name="other", title="Another")
    questions = [QUESTION, other]
    monkeypatch.setattr("benchmarks.collect.disturbance", lambda *, first: "")
    monkeypatch.setattr("benchmarks.page.asked", lambda: iter(questions))
    monkeypatch.setattr("benchmarks.__main__.asked", lambda: iter(questions))
    return questions, tmp_path


def run(*arguments):
    with pytest.raises(SystemExit) as ended:
        command.main(arguments)
    return ended.value.code


def test_all_questions_leave_results_a_page_and_pictures(trial, capsys):
    _, folder = trial
    assert run("--into", str(folder)) == 0
    assert sorted(load(folder / "results")) == ["made_up", "other"]
    assert sorted(file.name for file in (folder / "benchmarks").iterdir()) == ["made_up.svg", "other.svg"]
    assert "## Another" in (folder / "benchmarks.md").read_text()
    assert "1 of 2 goals met; p99 ≤ 2 ms: 4.50 ms" in capsys.readouterr().out


def test_some_questions_leave_the_results_of_the_others(trial):
    questions, folder = trial
    kept = result(questions[0], date="2001-01-01 00:00 UTC")
    save(kept, folder / "results")
    assert run("--only", "other", "--into", str(folder), "--rounds", "1") == 0
    assert load(folder / "results")["made_up"].date == kept.date
    assert load(folder / "results")["other"].rounds == 1
    assert "on 2001-01-01 00:00 UTC" in (folder / "benchmarks.md").read_text()


@pytest.mark.parametrize(
    ("error", "code", "said"), [(KeyboardInterrupt, 130, "interrupted"), (OSError, 1, "failed: OSError")]
)
def test_what_is_complete_is_kept_when_a_question_ends_early(trial, capsys, error, code, said):
    questions, folder = trial

    def fails(rounds, sides):
        yield Run("litesup", 0, {"rate": 1.0}, "1 client")
        raise error

    questions[1] = dataclasses.replace(questions[1], measure=fails)
    save(result(questions[1]), folder / "results")
    assert run("--into", str(folder)) == code
    assert f"other          {said}" in capsys.readouterr().out
    assert load(folder / "results")["other"].date == "2026-01-02 03:04 UTC"
    assert len(load(folder / "results")["made_up"].runs) == 18


def test_an_interruption_says_what_is_kept_and_what_was_not_asked(trial, capsys):
    questions, folder = trial

    def interrupted(rounds, sides):
        yield Run("litesup", 0, {"rate": 1.0}, "1 client")
        raise KeyboardInterrupt

    questions[0] = dataclasses.replace(questions[0], measure=interrupted)
    assert run("--into", str(folder)) == 130
    told = capsys.readouterr().out
    assert "made_up        interrupted; no result of it" in told
    assert "other          not asked" in told
    assert "no page was written" in told


@pytest.mark.parametrize(("side", "code"), [("nginx", 0), ("litesup", 1)])
def test_a_side_that_fails_is_told_and_ours_must_not(trial, capsys, side, code):
    questions, folder = trial

    def fails(rounds, sides):
        yield from measure(rounds, sides)
        yield Run(side, 0, {}, failed="it ended")

    questions[1] = dataclasses.replace(questions[1], measure=fails)
    assert run("--into", str(folder)) == code
    assert f"{side} failed (round 1): it ended" in capsys.readouterr().out
    assert f"**{side} failed (round 1): it ended.**" in (folder / "benchmarks.md").read_text()


def test_how_long_all_of_it_takes_at_most_is_reckoned_beforehand(trial, capsys):
    questions, folder = trial
    questions[1] = dataclasses.replace(questions[1], shares="made_up")
    run("--into", str(folder))
    assert "2 questions, at most 4 minutes" in capsys.readouterr().err, "180 s once, and what lies between"
    assert int(re.findall(r"\d+", command.reckoned(list(asked()), None))[1]) <= ISSUED / 60


def test_what_begins_late_has_less_time(trial, monkeypatch):
    questions, folder = trial
    clock = [0.0]
    given = []

    def late(question, **told):
        given.append(told["budget"])
        clock[0] += 300.0
        raise OSError

    monkeypatch.setattr("benchmarks.__main__.time", SimpleNamespace(monotonic=lambda: clock[0]))
    monkeypatch.setattr("benchmarks.__main__.collect", late)
    assert command.ask(questions, Places.below(folder), None) == 1
    assert given == [180.0, 65.0], "370 s in all, of which 300 are gone, and something for what comes after it"


def test_what_is_not_installed_is_said_before_anything_is_measured(trial, capsys, monkeypatch):
    questions, folder = trial
    questions[1] = dataclasses.replace(questions[1], needs={"nginx": ["pm2"]})
    monkeypatch.setattr("benchmarks.machine.find", lambda program: None)
    assert run("--into", str(folder)) == 0
    assert (
        "not installed: pm2; what needs it is left out (npm install -g pm2)" in capsys.readouterr().err.splitlines()[:2]
    )
    assert (
        "*nginx* is left out, because it is not installed: npm install -g pm2."
        in (folder / "benchmarks.md").read_text()
    )


def test_what_shares_the_runs_of_another_question_has_as_many_rounds(trial):
    questions, folder = trial
    questions[0] = dataclasses.replace(questions[0], budget=0.0)
    questions[1] = dataclasses.replace(questions[1], shares="made_up")
    assert run("--into", str(folder)) == 0
    results = load(folder / "results")
    assert (results["made_up"].rounds, results["other"].rounds) == (1, 1)
    text = (folder / "benchmarks.md").read_text()
    assert "`python -m benchmarks.other --rounds 1`: 1 round, the same as for [The hop](#the-hop), on " in text
    assert "`python -m benchmarks.made_up --rounds 3`: 1 round in 0 s, on " in text


def test_a_question_that_cannot_be_measured_here_is_no_failure(trial, capsys):
    questions, folder = trial
    questions[1] = dataclasses.replace(questions[1], cores=1000)
    assert run("--into", str(folder)) == 0
    assert "other          not measured: this needs 1000 cores" in capsys.readouterr().out


def test_a_picture_without_a_question_is_taken_away(trial):
    _, folder = trial
    save(result(), folder / "results")
    write(Places.below(folder))
    (folder / "benchmarks" / "gone.svg").write_text("<svg/>")
    write(Places.below(folder))
    assert [file.name for file in (folder / "benchmarks").iterdir()] == ["made_up.svg"]
