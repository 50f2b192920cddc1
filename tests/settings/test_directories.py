from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from supervisor.errors import LitesupError
from supervisor.settings.directories import (
    LONGEST_SOCKET_NAME,
    SOCKET_PATH_LIMIT,
    choose_runtime_dir,
    choose_state_dir,
    prepare_directory,
)
from supervisor.settings.load import runtime_dir, state_dir
from supervisor.settings.schema import Settings


@pytest.mark.parametrize(
    ("configured", "environ", "uid", "chosen"),
    [
        ("/a", {"RUNTIME_DIRECTORY": "/run/x"}, 1000, "/a"),
        (None, {"RUNTIME_DIRECTORY": "/run/x:/run/y", "XDG_RUNTIME_DIR": "/run/user/1000"}, 1000, "/run/x"),
        (None, {"XDG_RUNTIME_DIR": "/run/user/1000"}, 1000, "/run/user/1000/litesup"),
        (None, {"XDG_RUNTIME_DIR": "relative"}, 1000, "/tmp/litesup-1000"),
        (None, {"RUNTIME_DIRECTORY": "", "XDG_RUNTIME_DIR": ""}, 1000, "/tmp/litesup-1000"),
        (None, {}, 0, "/run/litesup"),
    ],
)
def test_where_the_runtime_directory_is(configured: str | None, environ: dict[str, str], uid: int, chosen: str) -> None:
    given = Path(configured) if configured else None
    assert choose_runtime_dir(given, environ, uid) == Path(chosen)
    assert runtime_dir(Settings(runtime_dir=given), environ, uid) == Path(chosen)


@pytest.mark.parametrize(
    ("configured", "environ", "uid", "chosen"),
    [
        ("/a", {"STATE_DIRECTORY": "/var/lib/x"}, 1000, "/a"),
        (None, {"STATE_DIRECTORY": "/var/lib/x:/var/lib/y", "HOME": "/home/u"}, 1000, "/var/lib/x"),
        (None, {"XDG_STATE_HOME": "/home/u/state", "HOME": "/home/u"}, 1000, "/home/u/state/litesup"),
        (None, {"HOME": "/home/u"}, 1000, "/home/u/.local/state/litesup"),
        (None, {"HOME": "/root"}, 0, "/var/lib/litesup"),
        (None, {}, 1000, "/var/tmp/litesup-1000"),
    ],
)
def test_where_the_state_directory_is(configured: str | None, environ: dict[str, str], uid: int, chosen: str) -> None:
    given = Path(configured) if configured else None
    assert choose_state_dir(given, environ, uid) == Path(chosen)
    assert state_dir(Settings(state_dir=given), environ, uid) == Path(chosen)


def test_a_relative_directory_means_the_same_wherever_the_daemon_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert choose_runtime_dir(Path("run"), {}, 1000) == tmp_path / "run"


def test_a_directory_is_made_private(short_dir: Path) -> None:
    made = prepare_directory(short_dir / "a/b")
    assert stat.S_IMODE(made.stat().st_mode) == 0o700


def test_a_directory_that_others_could_enter_is_closed_to_them(short_dir: Path) -> None:
    open_to_all = short_dir / "open"
    open_to_all.mkdir()
    open_to_all.chmod(0o777)
    prepare_directory(open_to_all)
    assert stat.S_IMODE(open_to_all.stat().st_mode) == 0o700


def test_a_directory_that_others_use_as_well_is_left_as_it_is_and_refused(short_dir: Path) -> None:
    shared = short_dir / "tmp"
    shared.mkdir()
    shared.chmod(0o777)
    (shared / "of-somebody").touch()
    with pytest.raises(LitesupError, match="open to other users"):
        prepare_directory(shared)
    assert stat.S_IMODE(shared.stat().st_mode) == 0o777
    (shared / "daemon.lock").touch()  # where it has run before, it is its own
    prepare_directory(shared)
    assert stat.S_IMODE(shared.stat().st_mode) == 0o700


def test_a_path_that_leaves_no_room_for_sockets_is_refused_with_its_length(short_dir: Path) -> None:
    longest = SOCKET_PATH_LIMIT - 1 - LONGEST_SOCKET_NAME
    fits = short_dir / ("x" * (longest - len(str(short_dir)) - 1))
    assert len(str(prepare_directory(fits))) == longest
    with pytest.raises(LitesupError, match=rf"is {longest + 1} bytes long.*--runtime-dir"):
        prepare_directory(Path(f"{fits}x"))
    assert prepare_directory(Path(f"{fits}x"), sockets=False).is_dir()


def test_a_file_in_the_way_is_refused(short_dir: Path) -> None:
    (short_dir / "file").touch()
    with pytest.raises(LitesupError, match="cannot use"):
        prepare_directory(short_dir / "file")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a directory of somebody else's")
def test_a_directory_of_somebody_elses_is_refused(short_dir: Path) -> None:
    foreign = short_dir / "foreign"
    foreign.mkdir()
    os.chown(foreign, 12345, 12345)
    with pytest.raises(LitesupError, match="belongs to another user \\(uid 12345\\)"):
        prepare_directory(foreign)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a link of somebody else's")
def test_a_link_that_somebody_else_made_is_refused_even_if_it_leads_to_us(short_dir: Path) -> None:
    ours = short_dir / "ours"
    ours.mkdir()
    link = short_dir / "link"
    link.symlink_to(ours)
    prepare_directory(link)
    os.lchown(link, 12345, 12345)
    with pytest.raises(LitesupError, match="uid 12345"):
        prepare_directory(link)
