"""What `litesup check` sees around it."""

from __future__ import annotations

import os
import socket
import sys
import sysconfig
from pathlib import Path

import pytest

from supervisor.cli import surroundings
from supervisor.cli.surroundings import look
from supervisor.settings.schema import Admin, Balancer, Replicas, Settings
from tests.scripted_daemon import ScriptedDaemon


def settings_for(port: int, runtime_dir: Path) -> Settings:
    return Settings(
        runtime_dir=runtime_dir,
        replicas=Replicas(count=3),
        balancer=Balancer(host=("127.0.0.1",), port=port),
        admin=Admin(enabled=False),
    )


def test_a_port_is_not_called_taken_while_litesup_itself_has_it(daemon: ScriptedDaemon, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with_daemon = look(settings_for(port, Path(os.environ["LITESUP_RUNTIME_DIR"])))
        without = look(settings_for(port, tmp_path / "absent"))
    assert with_daemon.occupied == ()
    assert [one.setting for one in without.occupied] == ["balancer.port"]


def test_everything_that_a_rule_may_ask_for_is_looked_at(tmp_path: Path) -> None:
    seen = look(settings_for(0, tmp_path / "absent"))
    assert seen.replicas == 3
    assert seen.prices is not None
    assert seen.memory is not None
    assert seen.memory.bytes > 0
    assert seen.memory.forked


def test_looking_leaves_nothing_behind(tmp_path: Path) -> None:
    look(settings_for(0, tmp_path / "absent"))
    assert not (tmp_path / "absent").exists()


def test_a_distributions_python_is_not_said_to_be_unoptimised(monkeypatch: pytest.MonkeyPatch) -> None:
    """Debian's is guided by a profile, and its CONFIG_ARGS do not say so."""
    monkeypatch.setattr(sysconfig, "get_config_var", lambda _name: "'--enable-shared'")
    for prefix, optimised in (("/usr", None), ("/usr/local", False)):
        monkeypatch.setattr(sys, "base_prefix", prefix)
        assert surroundings._python_optimised() is optimised
