from __future__ import annotations

from pathlib import Path

import pytest

from supervisor.errors import ConfigurationRefused
from supervisor.fleet.launch.command import check_socket_path, launch_spec, shared_environment
from supervisor.fleet.launch.spec import LaunchSpec


def spec_for(**changes: object) -> LaunchSpec:
    values: dict[str, object] = {
        "replica": 7,
        "slot": 2,
        "config_path": Path("/run/x/abc.yaml"),
        "environment": {"KEY": "secret"},
        "directory": Path("/etc/litesup"),
        "socket_path": Path("/run/x/7.sock"),
        "stub_url": "http://127.0.0.1:1234/token",
    }
    return launch_spec(**values | changes)  # type: ignore[arg-type]


def test_litellm_gets_its_file_and_a_keepalive_longer_than_the_balancers():
    arguments = " ".join(spec_for().arguments)
    assert arguments == "--config /run/x/abc.yaml --keepalive_timeout 120 --num_workers 1"
    assert spec_for(debug=True).arguments[-1] == "--detailed_debug"


def test_no_secret_is_among_the_arguments_or_in_the_repr():
    assert "secret" not in repr(spec_for())
    assert "secret" not in " ".join(spec_for().arguments)


def test_the_warm_up_runs_before_the_operators_own_hooks():
    spec = spec_for(environment={"LITELLM_WORKER_STARTUP_HOOKS": "mine:hook"})
    assert spec.environment["LITELLM_WORKER_STARTUP_HOOKS"] == "litesup_warmup:warm_up,mine:hook"
    assert spec.environment["LITESUP_WARM_UP_URL"] == "http://127.0.0.1:1234/token"


def test_without_a_stub_the_environment_stays_as_it_is():
    assert spec_for(stub_url=None).environment == {"KEY": "secret"}


def test_two_replicas_of_a_generation_share_what_a_fork_server_is_started_with():
    one, two = spec_for(), spec_for(replica=8, stub_url="http://127.0.0.1:1234/other")
    assert one.environment != two.environment
    assert shared_environment(one.environment) == shared_environment(two.environment) == {"KEY": "secret"}


@pytest.mark.parametrize("name", ["LITESUP_LITELLM", "LITESUP_TOKENIZERS"])
def test_what_a_fork_server_loads_is_told_to_it(name: str):
    assert shared_environment(spec_for(environment={name: "x"}).environment) == {name: "x"}


@pytest.mark.parametrize(("path", "fits"), [("/" + "x" * 106, True), ("/" + "x" * 107, False), ("/" + "ü" * 53, True)])
def test_a_socket_path_is_measured_in_bytes(path: str, fits: bool):
    if fits:
        check_socket_path(Path(path))
        return
    with pytest.raises(ConfigurationRefused, match="at least 1 bytes shorter"):
        check_socket_path(Path(path))
