"""The rules about the machine, and the looking itself."""

import socket
from pathlib import Path

import pytest

from supervisor.cli import surroundings as looking
from supervisor.errors import Finding, Severity
from supervisor.litellm_config.document import MapNode, parse
from supervisor.litellm_config.lint import Subject, Surroundings, lint
from supervisor.litellm_config.lint.machine import FORKED, LOADED, MIB
from supervisor.litellm_config.lint.surroundings import Memory, Occupied
from supervisor.litellm_config.prices import Prices, litellm_package, read_prices
from supervisor.settings.schema import Admin, Balancer, LauncherChoice, Settings

GOOD = "model_list: [{model_name: a, litellm_params: {model: openai/gpt-4o}}]\n"


def said(around: Surroundings, text: str = GOOD) -> list[Finding]:
    node, _ = parse(text, Path("c.yaml"))
    assert isinstance(node, MapNode)
    return list(lint(Subject(node, {}, node, around)))


def test_nothing_is_said_about_what_nobody_has_looked_at():
    assert said(Surroundings()) == []


def test_a_port_that_is_taken_is_named_by_its_setting():
    (finding,) = said(Surroundings(occupied=(Occupied("balancer.port", "port 8000 on 127.0.0.1 is taken: …"),)))
    assert (finding.code, finding.severity, finding.path) == ("port-taken", Severity.WARNING, "balancer.port")
    assert "8000" in finding.message


@pytest.mark.parametrize(
    ("replicas", "forked", "mebibytes", "fits"),
    [
        (3, True, (LOADED + 4 * FORKED) // MIB, True),
        (3, True, (LOADED + 4 * FORKED) // MIB - 1, False),
        (3, False, 4 * LOADED // MIB, True),
        (3, False, 4 * LOADED // MIB - 1, False),
    ],
)
def test_there_has_to_be_room_for_one_replica_more_than_wanted(replicas, forked, mebibytes, fits):
    memory = Memory(mebibytes * MIB, "the control group allows", forked)
    found = said(Surroundings(replicas=replicas, memory=memory))
    assert [finding.code for finding in found] == ([] if fits else ["memory-short"])
    if not fits:
        assert f"the control group allows {mebibytes} MiB" in found[0].message
        assert found[0].hint == "Set replicas to 2."


def test_how_python_and_litellm_were_built_is_a_note():
    found = said(Surroundings(python_optimised=False, uncompiled=Path("/opt/litellm")))
    assert [(one.code, one.severity) for one in found] == [
        ("python-unoptimised", Severity.NOTE),
        ("litellm-uncompiled", Severity.NOTE),
    ]
    assert found[1].hint.endswith("/opt/litellm")
    assert said(Surroundings(python_optimised=True)) == []


@pytest.mark.parametrize(("replicas", "codes"), [(1, []), (3, ["limit-per-replica"])])
def test_the_number_of_replicas_is_that_of_the_settings(replicas, codes):
    text = GOOD.replace("gpt-4o", "gpt-4o, rpm: 100")
    found = said(Surroundings(replicas=replicas), text)
    assert [finding.code for finding in found] == codes
    assert all("3 times 100" in finding.message for finding in found)


def test_a_listener_on_the_port_is_seen_and_its_absence_too():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        settings = Settings(balancer=Balancer(host=("127.0.0.1",), port=port), admin=Admin(enabled=False))
        (occupied,) = looking.occupied(settings)
        assert occupied.setting == "balancer.port"
        assert f"port {port} on 127.0.0.1 is taken" in occupied.reason
    assert looking.occupied(settings) == ()


def test_the_admin_port_is_looked_at_unless_it_is_off():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        balancer = Balancer(host=("127.0.0.1",), port=0)
        on = Settings(balancer=balancer, admin=Admin(port=port))
        off = Settings(balancer=balancer, admin=Admin(port=port, enabled=False))
        assert [one.setting for one in looking.occupied(on)] == ["admin.port"]
        assert looking.occupied(off) == ()


def test_the_lowest_limit_of_the_control_groups_counts(tmp_path):
    cgroups = tmp_path / "cgroup"
    own = cgroups / "system.slice" / "litesup.service"
    own.mkdir(parents=True)
    (own / "memory.max").write_text("max\n")
    (own.parent / "memory.max").write_text("1048576\n")
    (cgroups / "memory.max").write_text("2097152\n")
    proc = tmp_path / "self"
    proc.write_text("0::/system.slice/litesup.service\n")
    memory = looking.memory(LauncherChoice.AUTO, free=True, cgroups=cgroups, own=proc)
    assert memory == Memory(1048576, "the control group allows", forked=True)
    (own.parent / "memory.max").write_text("max\n")
    (cgroups / "memory.max").write_text("max\n")
    memory = looking.memory(LauncherChoice.PLAIN, free=False, cgroups=cgroups, own=proc)
    assert memory is not None
    assert memory.source == "this machine has"


def test_a_litellm_without_bytecode_is_recognised(tmp_path):
    (tmp_path / "router.py").touch()
    assert not looking.compiled(tmp_path)
    cache = tmp_path / "__pycache__"
    cache.mkdir()
    (cache / Path(looking.bytecode_of(tmp_path / "router.py")).name).touch()
    assert looking.compiled(tmp_path)


def test_the_price_map_is_read_without_importing_litellm():
    package = litellm_package()
    assert package is not None
    prices = read_prices(package)
    assert prices is not None
    assert prices.name_of("gpt-4o-2024-08-06", "azure") == "azure/gpt-4o-2024-08-06"
    assert prices.modes["text-embedding-3-small"] == "embedding"


@pytest.mark.parametrize("text", ["", "[]", "{"])
def test_a_price_map_that_cannot_be_read_is_none(tmp_path, text):
    (tmp_path / "model_prices_and_context_window_backup.json").write_text(text)
    assert read_prices(tmp_path) is None
    assert read_prices(tmp_path / "absent") is None
    assert Prices({"a": ""}).name_of("b") is None
