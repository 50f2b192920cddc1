from __future__ import annotations

import dataclasses
import errno
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from click.testing import Result

from supervisor.litellm_config.lint import Surroundings
from supervisor.settings.schema import Settings
from tests.scripted_daemon import ScriptedDaemon

Run = Callable[..., Result]

GUIDE = """\
model_list:
  - model_name: gpt-4
    litellm_params:
      model: gpt-4o-2024-08-06
      api_base: https://acme.openai.azure.com/
      api_version: "2024-08-01-preview"
      api_key: ${AZURE_OPENAI_API_KEY}
"""
SECRET = "azure-secret-value"


@pytest.fixture(autouse=True)
def looked_at(monkeypatch: pytest.MonkeyPatch) -> list[Settings]:
    """What `check` would see on this machine: three replicas, and nothing else. The settings that it looked with."""
    looked: list[Settings] = []

    def look(settings: Settings) -> Surroundings:
        looked.append(settings)
        return Surroundings(replicas=3)

    monkeypatch.setattr("supervisor.cli.surroundings.look", look)
    return looked


@pytest.fixture
def config() -> Path:
    file = Path("litellm.config.yaml")
    file.write_text(GUIDE)
    return file


@pytest.fixture
def state_dir(tmp_path: Path) -> Path:
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    return state


def keep(state_dir: Path, key: str = "sk-kept-0123456789abcdef") -> str:
    file = state_dir / "master-key"
    file.touch(mode=0o600)
    file.write_text(key + "\n")
    return key


def test_check_says_what_is_adapted_and_ends_with_0(
    run_cli: Run, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", SECRET)
    result = run_cli("check")
    assert result.exit_code == 0
    assert result.stdout.splitlines()[0] == "litellm.config.yaml"
    assert "azure/" in result.stdout
    assert result.stdout.splitlines()[-1].endswith("notes: the configuration can be used")
    assert SECRET not in result.output


def test_check_refuses_with_3_and_every_place(run_cli: Run, config: Path) -> None:
    result = run_cli("check", config)
    assert result.exit_code == 3
    assert "7:16 error" in result.stdout
    assert result.stdout.splitlines()[-1] == "1 error, 1 note: the configuration is refused"


def test_check_as_json_has_the_same_findings(run_cli: Run, config: Path) -> None:
    result = run_cli("check", "--json")
    document = json.loads(result.stdout)
    assert (result.exit_code, document["ok"], document["generation"]) == (3, False, None)
    assert {finding["code"] for finding in document["findings"]} >= {"reference-unset"}
    assert document["findings"][0]["line"] == 7


def test_check_tells_of_litesup_yaml_too(run_cli: Run, config: Path) -> None:
    Path("litesup.yaml").write_text("balancer: {prot: 1}\n")
    result = run_cli("check")
    assert result.exit_code == 3
    assert "Did you mean port?" in result.stdout


def test_check_looks_at_the_machine_with_the_settings_in_force(
    run_cli: Run, config: Path, looked_at: list[Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", SECRET)
    Path("litesup.yaml").write_text("balancer: {port: 8123}\n")
    config.write_text(GUIDE + "      rpm: 100\n")
    result = run_cli("check", config)
    assert result.exit_code == 0
    assert [settings.balancer.port for settings in looked_at] == [8123]
    assert "3 times 100" in result.stdout


def test_a_warning_refuses_nothing(run_cli: Run, config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", SECRET)
    config.write_text(GUIDE + "modle_list: []\n")
    result = run_cli("check")
    assert result.exit_code == 0
    assert result.stdout.splitlines()[-1] == "1 warning, 2 notes: the configuration can be used"
    assert json.loads(run_cli("check", "--json").stdout)["ok"] is True


def test_explain_prints_the_section_of_a_code_and_checks_nothing(run_cli: Run, looked_at: list[Settings]) -> None:
    result = run_cli("check", "--explain", "cost-unknown")
    assert result.exit_code == 0
    assert "base_model" in result.stdout
    assert looked_at == []


def test_explain_knows_what_was_meant(run_cli: Run) -> None:
    result = run_cli("check", "--explain", "cost-unkown")
    assert result.exit_code == 2
    assert "Did you mean `cost-unknown`?" in result.stderr


def test_problems_of_litesup_yaml_do_not_hide_those_of_the_file(run_cli: Run, config: Path) -> None:
    Path("litesup.yaml").write_text("balancer: {prot: 1}\n")
    document = json.loads(run_cli("check", config, "--json").stdout)
    assert {finding["code"] for finding in document["findings"]} >= {"setting-unknown", "reference-unset"}


def test_a_configuration_that_is_not_there_is_refused(run_cli: Run) -> None:
    assert run_cli("check").exit_code == 3
    assert run_cli("render").exit_code == 3


def test_render_prints_what_litellm_reads_and_no_secret(
    run_cli: Run, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", SECRET)
    result = run_cli("render")
    assert result.exit_code == 0
    params = yaml.safe_load(result.stdout)["model_list"][0]["litellm_params"]
    assert params["model"] == "azure/gpt-4o-2024-08-06"
    assert params["api_key"] == "os.environ/AZURE_OPENAI_API_KEY"
    assert "azure-adapted" in result.stderr
    assert SECRET not in result.output


def test_key_prints_the_key_and_nothing_else(
    run_cli: Run, config: Path, state_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", SECRET)
    key = keep(state_dir)
    result = run_cli("key", "--state-dir", state_dir)
    assert (result.exit_code, result.stdout, result.stderr) == (0, key + "\n", "")


def test_the_operators_own_key_wins_over_the_kept_one(
    run_cli: Run, config: Path, state_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", SECRET)
    monkeypatch.setenv("LITELLM_MASTER_KEY", "sk-from-the-environment-0123456789")
    keep(state_dir)
    assert run_cli("key", "--state-dir", state_dir).stdout == "sk-from-the-environment-0123456789\n"


def test_without_the_daemons_environment_the_kept_key_is_shown_with_a_word_of_caution(
    run_cli: Run, config: Path, state_dir: Path
) -> None:
    key = keep(state_dir)
    result = run_cli("key", "--state-dir", state_dir)
    assert (result.exit_code, result.stdout) == (0, key + "\n")
    assert "litesup check" in result.stderr


def test_before_the_first_start_there_is_no_key_and_none_is_made(
    run_cli: Run, config: Path, state_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", SECRET)
    result = run_cli("key", "--state-dir", state_dir)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "the first start makes one" in result.stderr
    assert list(state_dir.iterdir()) == []


def test_a_key_that_others_can_read_is_not_shown(run_cli: Run, config: Path, state_dir: Path) -> None:
    key = keep(state_dir)
    (state_dir / "master-key").chmod(0o644)
    result = run_cli("key", "--state-dir", state_dir)
    assert result.exit_code == 3
    assert key not in result.output


def test_the_running_daemons_configuration_is_the_one_that_counts(
    run_cli: Run, daemon: ScriptedDaemon, state_dir: Path, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere.yaml"
    elsewhere.write_text("model_list: []\ngeneral_settings: {master_key: sk-in-the-file-0123456789abcdef}\n")
    answer = daemon.operations.answer
    daemon.operations.answer = dataclasses.replace(
        answer, daemon=dataclasses.replace(answer.daemon, config=str(elsewhere))
    )
    assert run_cli("key", "--state-dir", state_dir).stdout == "sk-in-the-file-0123456789abcdef\n"


def test_the_unit_is_printed_with_this_installations_path(
    run_cli: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program = tmp_path / "bin" / "litesup"
    program.parent.mkdir()
    program.touch()
    monkeypatch.setattr("sys.argv", [str(program)])
    text = run_cli("systemd", "print").stdout
    assert f"ExecStart={program} start" in text
    assert f"ExecReload={program} reload --wait" in text
    assert "/opt/litesup" not in text


def test_somebody_elses_key_is_not_shown_and_root_may_see_it(
    run_cli: Run, config: Path, state_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", SECRET)
    key = keep(state_dir)
    own = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: own + 4711)
    result = run_cli("key", "--state-dir", state_dir)
    assert result.exit_code == 1
    assert key not in result.output
    assert f"sudo -u '#{own}' litesup key --state-dir {state_dir}" in result.stderr
    if own == 0:
        os.chown(state_dir / "master-key", 4711, -1)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert run_cli("key", "--state-dir", state_dir).stdout == key + "\n"


def test_in_a_directory_that_is_closed_to_its_user_a_command_finds_no_settings(
    run_cli: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after `sudo -u litesup`, which keeps the working directory."""

    def closed(path: Path) -> bool:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(Path, "exists", closed)
    for command in ("status", "check"):
        result = run_cli(command)
        assert result.exception is None or isinstance(result.exception, SystemExit), command
        assert "litesup.yaml" not in result.output
