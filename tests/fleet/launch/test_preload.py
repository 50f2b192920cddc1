from __future__ import annotations

import importlib.util
import re
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import supervisor.fleet.launch as package
from supervisor.fleet import probe
from supervisor.litellm_config import environment

PROGRAM = Path(package.__path__[0]) / "litellm_program.py"


@pytest.fixture
def program(tmp_path: Path) -> dict[str, Any]:
    """The program as it is, with lists of our own beside it."""
    (tmp_path / "preload").mkdir()
    for version in ("1.9.0", "1.80.0", "1.106.2"):
        (tmp_path / "preload" / f"{version}.txt").write_text(f"# a comment\n\nmodule_of_{version}\n")
    copy = tmp_path / "litellm_program.py"
    copy.write_text(PROGRAM.read_text())
    return runpy.run_path(str(copy))


def test_a_version_takes_its_own_list(program: dict[str, Any]):
    assert program["modules_to_preload"]("1.80.0") == ["module_of_1.80.0"]


@pytest.mark.parametrize("version", ["1.106.3", "1.106.2.post1", "1.8", "2.0"])
def test_a_version_without_a_list_of_its_own_takes_none(program: dict[str, Any], version: str):
    assert program["modules_to_preload"](version) == []


def test_importing_the_program_imports_no_litellm(program: dict[str, Any]):
    assert "litellm" not in program


def test_the_fork_server_and_its_replicas_hold_nothing_of_the_daemons():
    look = f"import runpy, sys; runpy.run_path({str(PROGRAM.with_name('zygote.py'))!r}); print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-P", "-c", look], capture_output=True, text=True, check=True
    ).stdout.split()
    assert "litesup_large_blocks" in loaded
    assert not {"supervisor", "asyncio", "psutil"} & set(loaded)


def test_the_variable_that_names_tokenizers_is_the_one_that_the_configuration_sets(program: dict[str, Any]):
    assert program["TOKENIZERS"] == environment.TOKENIZERS


def test_the_route_that_is_found_first_is_the_one_that_probes_ask_for(program: dict[str, Any]):
    assert probe._REQUEST.startswith(f"GET {program['PROBED']} HTTP/1.1\r\n".encode())


def package_directory(name: str) -> Path:
    spec = importlib.util.find_spec(name)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent


def test_nobody_reads_what_the_fork_server_lets_go_of():
    readers = {
        (name, line.strip())
        for package, name in (("tiktoken", "_mergeable_ranks"), ("litellm", "json_data"))
        for path in package_directory(package).rglob("*.py")
        for line in path.read_text(encoding="utf-8").splitlines()
        if re.search(rf"(\.|import .*){name}\b", line) and path.name != "_educational.py"
    }
    assert readers == {
        ("_mergeable_ranks", "self._mergeable_ranks = mergeable_ranks"),
        ("_mergeable_ranks", '"mergeable_ranks": self._mergeable_ranks,'),  # pickling of an encoding that has no name
    }
    source = (package_directory("litellm") / "utils.py").read_text(encoding="utf-8")
    assert [line for line in source.splitlines() if "json_data" in line] == [
        "        json_data = json.load(f)",
        "        json_data = json.load(f)",
        "claude_json_str = json.dumps(json_data)",
    ]
