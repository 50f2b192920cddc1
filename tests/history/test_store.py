"""What is kept of good generations: privately, whole, the last ten, and nothing of it can end anything."""

from __future__ import annotations

import json
import os
import re
import stat
import time
from pathlib import Path

import pytest
from pydantic import SecretStr

from supervisor.history.store import MOST, History, InForce
from supervisor.litellm_config.files import Written
from supervisor.litellm_config.generation import Generation

SOURCE = Path("/etc/litesup/litellm.config.yaml")


def generation(text: str, *, source: Path = SOURCE, digest: str = "") -> Generation:
    written = Written({source: text}, {source.parent / "hooks.py": b"\x00\xffcode"})
    environment = {"SECRET": "a-value-of-the-environment"}
    return Generation(
        digest or f"{text:0>12}", "rendered", environment, SecretStr("sk-key"), source, (), (), written=written
    )


def good(text: str, **how: object) -> InForce:
    return InForce(generation(text), "test", **how)  # type: ignore[arg-type]


@pytest.fixture
def history(tmp_path: Path) -> History:
    return History(tmp_path, SOURCE)


def texts(history: History) -> list[str]:
    return [kept.written.texts[SOURCE] for kept in history.shelf().entries]


def test_without_a_directory_there_is_nothing_and_nothing_is_made(history: History) -> None:
    assert history.shelf().entries == ()
    assert not history.directory.exists()


def test_what_was_kept_is_read_back_as_it_was(history: History) -> None:
    made = history.keep(good("model_list: []\n# \N{SNOWMAN}\n"))
    [kept] = history.shelf().entries
    assert kept == made
    assert kept.written == generation("model_list: []\n# \N{SNOWMAN}\n").written
    assert kept.reason == "test"


def test_it_is_private_and_holds_no_value_of_the_environment(history: History) -> None:
    history.keep(good("a"))
    [file] = history.directory.iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(history.directory.stat().st_mode) == 0o700
    assert "a-value-of-the-environment" not in file.read_text()
    assert "sk-key" not in file.read_text()
    typed = InForce(generation("typed-secret", digest="d1"), "test")
    assert "typed-secret" not in repr(history.keep(typed))


def test_a_directory_that_others_may_read_is_made_private(history: History) -> None:
    history.directory.mkdir(mode=0o755)
    history.directory.chmod(0o755)
    history.keep(good("a"))
    assert stat.S_IMODE(history.directory.stat().st_mode) == 0o700


def test_the_last_ten_are_kept(history: History) -> None:
    for number in range(MOST + 3):
        history.keep(good(str(number)))
    assert texts(history) == [str(number) for number in range(MOST + 2, 2, -1)]
    assert len(list(history.directory.iterdir())) == MOST


def test_the_same_words_are_kept_once_and_come_first_again(history: History) -> None:
    for text in ("a", "b", "a"):
        history.keep(good(text))
    assert texts(history) == ["a", "b"]


def test_what_was_gone_back_to_keeps_its_place_and_is_the_last_that_stood(history: History) -> None:
    for text in ("a", "b", "c"):
        history.keep(good(text))
    history.keep(good("b", gone_back_to=True, instead_of=frozenset({"c's"})))
    shelf = history.shelf()
    assert texts(history) == ["c", "b", "a"]
    assert shelf.last_stood()[0].written.texts[SOURCE] == "b"
    assert shelf.last_stood()[0].instead_of == {"c's"}
    assert [kept.written.texts[SOURCE] for kept in shelf.before(generation("b"))] == ["a"]
    assert [kept.written.texts[SOURCE] for kept in shelf.before(generation("not good yet"))] == ["b", "c", "a"]


def test_what_serves_now_is_the_last_that_stood_though_a_file_claims_to_be_of_the_future(history: History) -> None:
    history.keep(good("a"))
    [file] = history.directory.iterdir()
    document = json.loads(file.read_text())
    file.write_text(json.dumps({**document, "stood_at": document["stood_at"] + 1e9}))
    history.keep(good("b"))
    assert history.shelf().last_stood()[0].written.texts[SOURCE] == "b"


def test_what_came_into_force_last_comes_first_though_the_clock_was_put_back(
    history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    history.keep(good("a"))
    monkeypatch.setattr(time, "time", lambda: 1000.0)
    history.keep(good("b"))
    history.keep(good("c"))
    assert texts(history) == ["c", "b", "a"]
    assert [kept.written.texts[SOURCE] for kept in history.shelf().before(generation("c"))] == ["b", "a"]


def test_generations_of_another_file_are_neither_seen_nor_pushed_out(history: History, tmp_path: Path) -> None:
    other = Path("/srv/other.yaml")
    History(tmp_path, other).keep(InForce(generation("theirs", source=other), "test"))
    for number in range(MOST + 1):
        history.keep(good(str(number)))
    assert len(texts(history)) == MOST
    assert len(History(tmp_path, other).shelf().entries) == 1


def test_the_beginning_of_a_digest_names_a_generation(history: History) -> None:
    for text, digest in (("a", "aa11"), ("b", "aa22")):
        history.keep(InForce(generation(text, digest=digest), "test"))
    assert [kept.digest for kept in history.shelf().named("aa1")] == ["aa11"]
    assert len(history.shelf().named("aa")) == 2
    assert history.shelf().named("b") == ()


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda file: file.write_text(file.read_text()[: file.stat().st_size // 2]), "cut off"),
        (lambda file: file.write_bytes(b"\xff\xfe\x00"), "cut off|wrong|decode"),
        (lambda file: file.write_text(""), "cut off"),
        (lambda file: file.write_text('{"format": 2}'), "format"),
        (lambda file: file.write_text('{"format": 1}'), "missing"),
        (lambda file: file.write_text(file.read_text().replace('"/etc', '"etc')), "missing"),
        (lambda file: file.write_text(file.read_text().replace('"kept_at": ', '"kept_at": NaN, "x": ')), "wrong kind"),
        (lambda file: file.chmod(0o640), "chmod 600"),
    ],
    ids=["half", "not text", "empty", "newer", "bare", "relative", "no time", "readable"],
)
def test_a_damaged_file_is_skipped_with_a_word_and_the_others_are_read(
    history: History, damage: object, said: str
) -> None:
    history.keep(good("a"))
    [file] = history.directory.iterdir()
    history.keep(good("b"))
    damage(file)  # type: ignore[operator]
    shelf = history.shelf()
    assert [kept.written.texts[SOURCE] for kept in shelf.entries] == ["b"]
    [skipped] = shelf.skipped
    assert str(file) in skipped
    assert re.search(said, skipped), skipped
    history.keep(good("a"))
    assert texts(history) == ["a", "b"], "kept anew, it is whole again"


def test_neither_links_nor_pipes_nor_directories_are_followed(history: History, tmp_path: Path) -> None:
    history.keep(good("a"))
    [file] = history.directory.iterdir()
    outside = tmp_path / "outside.json"
    file.rename(outside)
    (history.directory / "link.json").symlink_to(outside)
    os.mkfifo(history.directory / "pipe.json", 0o600)
    (history.directory / "folder.json").mkdir(mode=0o700)
    shelf = history.shelf()
    assert shelf.entries == ()
    assert len(shelf.skipped) == 3


def test_what_a_killed_writer_left_is_not_read_and_goes_in_time(history: History) -> None:
    history.keep(good("a"))
    left = history.directory / ".unfinished-1234.json"
    left.write_text("{")
    assert history.shelf().skipped == ()
    history.keep(good("b"))
    assert left.exists(), "somebody may still write it"
    os.utime(left, (1.0, 1.0))
    history.keep(good("c"))
    assert not left.exists()


def test_a_disk_that_is_full_leaves_what_was_kept_before(history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    history.keep(good("a"))
    with monkeypatch.context() as disk:

        def full(_descriptor: int) -> None:
            raise OSError(28, "No space left on device")

        disk.setattr("supervisor.history.store.os.fsync", full)
        with pytest.raises(OSError, match="No space left"):
            history.keep(good("b"))
    assert texts(history) == ["a"]
    assert len(list(history.directory.iterdir())) == 1, "and nothing half-written"
