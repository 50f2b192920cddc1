"""A key is made once, whoever asks first, and never one that others could read."""

import secrets
import stat
from concurrent.futures import ThreadPoolExecutor

import pytest
from pydantic import SecretStr

from supervisor.errors import ConfigurationRefused
from supervisor.litellm_config.master_key import FILE_NAME, PLACEHOLDER, kept, kept_or_made, objection_to


def test_a_made_key_is_private_and_stays_the_same(tmp_path):
    state = tmp_path / "deep" / "state"
    key = kept_or_made(state)
    assert objection_to(key.get_secret_value()) is None
    assert len(key.get_secret_value()) > 40
    assert stat.S_IMODE(state.stat().st_mode) == 0o700
    assert stat.S_IMODE((state / FILE_NAME).stat().st_mode) == 0o600
    assert kept_or_made(state) == kept(state) == key
    assert [file.name for file in state.iterdir()] == [FILE_NAME]


def test_all_who_start_at_once_get_the_same_key(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        keys = set(pool.map(lambda _: kept_or_made(tmp_path / "state").get_secret_value(), range(32)))
    assert len(keys) == 1


def test_a_key_that_another_made_meanwhile_is_the_one_that_counts(tmp_path, monkeypatch):
    real = secrets.token_urlsafe

    def interrupted(size):
        monkeypatch.setattr(secrets, "token_urlsafe", real)
        winners.append(kept_or_made(tmp_path))
        return real(size)

    winners: list[SecretStr] = []
    monkeypatch.setattr(secrets, "token_urlsafe", interrupted)
    assert kept_or_made(tmp_path) == winners[0] == kept(tmp_path)


def test_there_is_none_before_one_is_made(tmp_path):
    assert kept(tmp_path) is None


def test_a_key_that_others_can_read_is_refused_with_the_command_to_run(tmp_path):
    kept_or_made(tmp_path)
    (tmp_path / FILE_NAME).chmod(0o640)
    with pytest.raises(ConfigurationRefused, match="chmod 600"):
        kept_or_made(tmp_path)


def test_an_emptied_file_or_a_link_is_refused(tmp_path):
    (tmp_path / FILE_NAME).touch(0o600)
    with pytest.raises(ConfigurationRefused, match="empty"):
        kept_or_made(tmp_path)
    (tmp_path / FILE_NAME).rename(tmp_path / "elsewhere")
    (tmp_path / FILE_NAME).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigurationRefused, match="cannot be read"):
        kept_or_made(tmp_path)


def test_a_state_directory_that_cannot_be_made_is_said(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationRefused):
        kept_or_made(tmp_path / "file" / "state")


def test_the_placeholder_would_be_accepted_so_that_looking_finds_nothing_wrong_with_it():
    assert objection_to(PLACEHOLDER.get_secret_value()) is None
