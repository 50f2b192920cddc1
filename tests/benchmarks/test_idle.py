"""What idling costs, out of what the kernel counted before and after."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from benchmarks.cost import processor_seconds, pss
from benchmarks.idle import figures, judge_core, judge_memory, question
from benchmarks.machine import versions
from benchmarks.question import Run


def test_processor_time_is_a_share_of_one_core_by_part():
    found = figures({"daemon": 1.0, "replicas": 5.0}, {"daemon": 2.5, "replicas": 8.0}, 300.0, {"daemon": 50.0})
    assert found == {"daemon_core": 0.5, "replicas_core": 1.0, "daemon_pss": 50.0}


@pytest.mark.parametrize(("core", "weight", "met"), [(0.5, 60.0, True), (0.51, 60.1, False)])
def test_the_goals_are_about_the_daemon_alone(core, weight, met):
    runs = [Run("litesup", 0, {"daemon_core": core, "daemon_pss": weight, "replicas_core": 9.0})]
    assert judge_core(runs).met is met
    assert judge_memory(runs).met is met


def test_a_shorter_time_is_said_on_the_page_and_leaves_time_for_starting():
    short = question(20.0)
    assert "no requests, 20 s" in short.how
    assert short.budget > 20.0


def test_processor_time_and_memory_of_a_process_are_the_kernels():
    before = processor_seconds(os.getpid())
    until = time.process_time() + 0.02
    while time.process_time() < until:
        pass
    assert processor_seconds(os.getpid()) - before >= 0.015
    assert pss([os.getpid(), 2**22 + 1]) > 1.0


def test_asking_for_versions_starts_no_daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    program = tmp_path / "node_modules" / "pm2" / "bin" / "pm2"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\nexit 1\n")
    program.chmod(0o755)
    program.parents[1].joinpath("package.json").write_text('{"version": "7.0.4"}')
    (tmp_path / "pm2").symlink_to(program)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert versions()["pm2"] == "7.0.4"
