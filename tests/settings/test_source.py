"""Settings are read again as they were read at the start, and a file that is gone is not the defaults."""

from pathlib import Path

import pytest

from supervisor.errors import ConfigurationRefused
from supervisor.settings.source import SettingsSource


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path / "litesup.yaml"


def test_flags_and_environment_win_again(file: Path) -> None:
    source = SettingsSource({"balancer.port": 9000}, {"LITESUP_QUEUE__SIZE": "5"})
    file.write_text("balancer: {port: 1}\nqueue: {size: 1, timeout: 1}\n")
    settings = source.read()
    assert (settings.balancer.port, settings.queue.size, settings.queue.timeout) == (9000, 5, 1.0)


def test_the_usual_file_is_read_when_it_appears_later(file: Path) -> None:
    source = SettingsSource({}, {})
    assert source.file == file
    assert not source.has_file
    file.write_text("queue: {size: 1}\n")
    assert source.read_again(had_file=False).queue.size == 1


def test_the_file_is_the_one_that_was_named(file: Path, tmp_path: Path) -> None:
    named = tmp_path / "named.yaml"
    assert SettingsSource({}, {}, Path("named.yaml")).file == named
    assert SettingsSource({}, {"LITESUP_SETTINGS": str(named)}).file == named
    assert SettingsSource({}, {}).file == file


@pytest.mark.parametrize("text", [None, ""])
def test_a_file_that_is_gone_or_empty_does_not_mean_the_defaults(file: Path, text: str | None) -> None:
    source = SettingsSource({}, {})
    if text is not None:
        file.write_text(text)
    with pytest.raises(ConfigurationRefused, match="is empty" if text == "" else "is gone"):
        source.read_again(had_file=True)
    assert source.read_again(had_file=False).queue.size == 1000
    file.write_text("{}\n")
    assert source.read_again(had_file=True).queue.size == 1000


def test_it_does_not_show_the_environment() -> None:
    assert "sk-" not in repr(SettingsSource({}, {"LITELLM_MASTER_KEY": "sk-secret"}))
