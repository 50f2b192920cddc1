from __future__ import annotations

import ipaddress
from pathlib import Path

import pytest

from supervisor.errors import ConfigurationRefused, Finding
from supervisor.settings.load import load_settings
from supervisor.settings.schema import BalancingPolicy, Settings, schema_places

TYPED = [place for place in schema_places() if place[-1] in {"port", "count", "policy", "level", "timeout", "drain"}]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "etc" / "litesup.yaml"


def load(file: Path | None, text: str = "", environ: dict[str, str] | None = None, **flags: object) -> Settings:
    if file is not None:
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
    dotted = {name.replace("__", "."): value for name, value in flags.items()}
    return load_settings(flags=dotted, environ=environ or {}, settings_file=file)


def refusal(file: Path | None, text: str = "", environ: dict[str, str] | None = None, **flags: object) -> list[Finding]:
    with pytest.raises(ConfigurationRefused) as refused:
        load(file, text, environ, **flags)
    return list(refused.value.findings)


def test_everything_works_with_no_file_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert load(None) == Settings()


def test_the_file_beside_the_working_directory_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "litesup.yaml").write_text("balancer: {port: 8123}")
    assert load(None).balancer.port == 8123


@pytest.mark.parametrize(
    ("environ", "flag", "port"),
    [
        ({}, None, 8100),
        ({"LITESUP_PORT": "8200"}, None, 8200),
        ({"LITESUP_BALANCER__PORT": "8200"}, None, 8200),
        ({"LITESUP_PORT": "8200"}, 8300, 8300),
        ({"LITESUP_PORT": ""}, None, 8100),
    ],
)
def test_flags_win_over_the_environment_and_that_over_the_file(
    file: Path, environ: dict[str, str], flag: int | None, port: int
) -> None:
    assert load(file, "balancer: {port: 8100}", environ, balancer__port=flag).balancer.port == port


def test_a_file_can_be_named_by_a_variable(file: Path) -> None:
    load(file, "replicas: 7")
    assert load_settings(flags={}, environ={"LITESUP_SETTINGS": str(file)}, settings_file=None).replicas.count == 7


@pytest.mark.parametrize("text", ["replicas: 3", "replicas: {count: 3}", "replicas:\n  count: 3\n  launcher:\n"])
def test_a_number_of_replicas_may_be_given_short(file: Path, text: str) -> None:
    assert load(file, text).replicas.wanted == 3


def test_short_and_long_spellings_do_not_hide_each_other(file: Path) -> None:
    settings = load(file, "replicas: {launcher: plain, count: 2}", {"LITESUP_REPLICAS": "5"})
    assert (settings.replicas.count, settings.replicas.launcher.value) == (5, "plain")


def test_paths_in_the_file_are_relative_to_it_and_others_are_not(file: Path) -> None:
    text = "config: llm/config.yaml\nstate_dir: /var/x\n"
    settings = load(file, text, {"LITESUP_RUNTIME_DIR": "run"})
    assert settings.config == file.parent / "llm/config.yaml"
    assert settings.state_dir == Path("/var/x")
    assert settings.runtime_dir == Path("run")


def test_lists_may_be_written_with_commas(file: Path) -> None:
    settings = load(file, "access: {trusted: '10.0.0.0/8, ::1'}", {"LITESUP_HOST": "127.0.0.1,10.0.0.5"})
    assert settings.balancer.host == ("127.0.0.1", "10.0.0.5")
    assert settings.access.trusted == (ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("::1"))


def test_an_empty_section_or_value_leaves_the_defaults(file: Path) -> None:
    assert load(file, "queue:\nlogs:\n  level:\n") == Settings()


def test_every_problem_is_told_at_once_with_its_place(file: Path) -> None:
    text = "replicas: many\nbalancer:\n  prot: 3\n  policy: robin\naccess:\n  trusted: [10.0.0.1/24]\n"
    found = refusal(file, text, {"LITESUP_BALANCER__PORTS": "1"}, queue__size=-1)
    assert {(finding.line, finding.path) for finding in found} == {
        (1, "replicas.count"),
        (3, "balancer.prot"),
        (4, "balancer.policy"),
        (6, "access.trusted[0]"),
        (None, "queue.size"),
        (None, "LITESUP_BALANCER__PORTS"),
    }
    assert {finding.file for finding in found if finding.line} == {file}


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("balancer: {prot: 1}", "Did you mean port?"),
        ("replica: 3", "Did you mean replicas?"),
        ("queue: {zzz: 1}", "Known here: size, timeout."),
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest_known_one(file: Path, text: str, hint: str) -> None:
    assert [finding.hint for finding in refusal(file, text)] == [hint]


def test_a_misspelt_variable_is_refused_and_a_foreign_one_is_not(file: Path) -> None:
    found = refusal(file, "", {"LITESUP_REPLICS": "3"})
    assert [(one.code, one.hint) for one in found] == [("setting-unknown", "Did you mean LITESUP_REPLICAS?")]
    assert load(file, "", {"LITESUP_WEBSITE_COLOUR": "blue"}) == Settings()


@pytest.mark.parametrize(
    "text",
    [
        "balancer: {port: yes}",
        "balancer: {port: 65536}",
        "balancer: {host: []}",
        "queue: {timeout: .inf}",
        "queue: {timeout: 0}",
        "queue: {timeout: .nan}",
        "replicas: 0",
        "replicas: [3]",
        "logs: 3",
        "logs: [text]",
        "- replicas",
        "replicas",
    ],
)
def test_values_that_make_no_sense_are_refused(file: Path, text: str) -> None:
    assert refusal(file, text)


@pytest.mark.parametrize(
    ("text", "code", "line"),
    [
        ("balancer: {port: 1", "settings-syntax", 1),
        ("replicas: 3\n\tqueue: {}\n", "settings-syntax", 2),
        ("replicas: 3\nqueue: {}\nreplicas: 4\n", "settings-twice", 3),
        ("a: !!python/object:os.system {}\n", "settings-syntax", 1),
        ("a: &a [*a]\n", "setting-unknown", 1),
    ],
)
def test_broken_yaml_is_refused_with_its_line(file: Path, text: str, code: str, line: int) -> None:
    found = refusal(file, text)
    assert [(finding.code, finding.line) for finding in found] == [(code, line)]


def test_a_file_that_was_named_has_to_be_there(file: Path) -> None:
    with pytest.raises(ConfigurationRefused, match="No such file"):
        load_settings(flags={}, environ={}, settings_file=file)


def test_a_file_that_is_not_text_is_refused(file: Path) -> None:
    load(file, "")
    file.write_bytes(b"replicas: \xff\xfe")
    with pytest.raises(ConfigurationRefused, match="not UTF-8"):
        load_settings(flags={}, environ={}, settings_file=file)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.5", "fe80::1%eth0", "vm1.internal"])
def test_listening_beyond_loopback_is_refused_with_the_lines_to_add(file: Path, host: str) -> None:
    found = refusal(file, f"balancer:\n  host: ['127.0.0.1', '{host}']\n")
    assert [(finding.code, finding.line) for finding in found] == [("open-to-network", 2)]
    assert "access:" in found[0].hint
    assert "trusted:" in found[0].hint


@pytest.mark.parametrize("access", ["allow: [10.0.0.0/24]", "trusted: [10.0.0.0/24]", "trusted: []"])
def test_listening_beyond_loopback_is_fine_once_access_was_thought_of(file: Path, access: str) -> None:
    settings = load(file, f"balancer: {{host: 0.0.0.0}}\naccess:\n  {access}\n")
    assert settings.balancer.host == ("0.0.0.0",)
    assert settings.balancer.policy is BalancingPolicy.ROUND_ROBIN


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "[::1]", "localhost"])
def test_loopback_needs_no_access_rules(file: Path, host: str) -> None:
    assert load(file, f"balancer: {{host: ['{host}']}}").balancer.host == (host,)


def test_the_admin_port_stays_on_loopback_unless_it_is_off(file: Path) -> None:
    assert [one.code for one in refusal(file, "admin: {host: 0.0.0.0}")] == ["admin-open-to-network"]
    assert not load(file, "admin: {host: 0.0.0.0, enabled: false}").admin.enabled


def test_a_problem_is_shown_where_the_value_in_force_was_given(file: Path) -> None:
    environ = {"LITESUP_ACCESS__TRUSTED": "10.0.0.2/24"}
    (found,) = refusal(file, "access:\n  trusted: [10.0.0.1/24]\n", environ)
    assert (found.path, found.file, found.line) == ("LITESUP_ACCESS__TRUSTED", None, None)


@pytest.mark.parametrize("place", TYPED, ids=".".join)
def test_a_problem_in_a_variable_names_the_variable(file: Path, place: tuple[str, ...]) -> None:
    name = "LITESUP_" + "__".join(place).upper()
    assert [finding.path for finding in refusal(file, "", {name: "nonsense"})] == [name]
