"""What a replica inherits, and what `environment_variables` adds to it."""

from pathlib import Path
from typing import Any

import pytest

from supervisor.errors import Severity
from supervisor.litellm_config.document import MapNode, parse, plain_value
from supervisor.litellm_config.environment import compose
from supervisor.litellm_config.section import Moved, move_out
from supervisor.litellm_config.vault import Vault


@pytest.mark.parametrize(
    "name",
    [
        "PORT",
        "HOST",
        "NUM_WORKERS",
        "DEBUG",
        "DETAILED_DEBUG",
        "MAX_REQUESTS_BEFORE_RESTART",
        "LIMIT_CONCURRENCY",
        "KEEPALIVE_TIMEOUT",
        "PROMETHEUS_METRICS_PORT",
        "PROMETHEUS_MULTIPROC_DIR",
        "WORKER_CONFIG",
        "CONFIG_FILE_PATH",
        "LITELLM_CONFIG_BUCKET_NAME",
        "NOTIFY_SOCKET",
        "INVOCATION_ID",
        "JOURNAL_STREAM",
        "SYSTEMD_EXEC_PID",
        "WATCHDOG_USEC",
        "LISTEN_FDS",
        "SSL_KEYFILE_PATH",
        "LITESUP_REPLICAS",
    ],
)
def test_what_is_meant_for_the_daemon_or_would_bend_litellm_is_withheld(name):
    assert name not in compose({name: "1"}, {}, {}, "sk-x")
    assert name not in compose({}, {name: "1"}, {}, "sk-x")


def test_everything_else_is_inherited_and_a_few_names_are_set():
    environ = {
        "HTTPS_PROXY": "p",
        "AWS_REGION": "r",
        "LITELLM_LOCAL_MODEL_COST_MAP": "False",
        "LITELLM_MASTER_KEY": "old",
    }
    environment = compose(environ, {"AWS_REGION": "other"}, {"LITESUP_REF_1": "x"}, "sk-x")
    assert environment["HTTPS_PROXY"] == "p"
    assert environment["AWS_REGION"] == "other"
    assert environment["LITESUP_REF_1"] == "x"
    assert environment["LITELLM_LOCAL_MODEL_COST_MAP"] == "True"
    assert environment["LITELLM_MODE"] == "PRODUCTION"
    assert environment["OPENBLAS_NUM_THREADS"] == "1"
    assert environment["LITELLM_MASTER_KEY"] == "sk-x"


NO_VAULT = Vault()


def run(text: str, environ: dict[str, str], vault: Vault = NO_VAULT) -> tuple[Moved, Any, list[tuple[str, Severity]]]:
    node, _ = parse(f"environment_variables:\n{text}", Path("c.yaml"))
    assert isinstance(node, MapNode)
    moved = move_out(node, environ, vault)
    return moved, plain_value(moved.root), [(finding.code, finding.severity) for finding in moved.findings]


def test_the_section_moves_into_the_environment_and_out_of_the_document():
    moved, left, _ = run(
        "  A: text\n  B: ${OUT}-x\n  C: 5\n  D: true\n  E: os.environ/OUT\n  F: ${NO:-f}\n", {"OUT": "o"}
    )
    assert moved.variables == {"A": "text", "B": "o-x", "C": "5", "D": "True", "E": "o", "F": "f"}
    assert left == {}


def test_a_variable_that_refers_to_itself_is_dropped_or_missing():
    moved, left, findings = run("  A: ${A}\n  B: os.environ/B\n", {"A": "a"})
    assert moved.variables == {"A": "a"}
    assert left == {}
    assert findings == [("environment-moved", Severity.NOTE), ("reference-unset", Severity.ERROR)]
    assert "dropped" in moved.findings[0].message


def test_what_only_key_management_knows_is_left_to_litellm():
    moved, left, findings = run("  A: ${A}\n  B: os.environ/C\n  D: x-${E}\n", {}, Vault(present=True))
    assert moved.variables == {}
    assert left == {"environment_variables": {"A": "os.environ/A", "B": "os.environ/C"}}
    assert findings == [("reference-in-vault", Severity.NOTE)] * 2 + [("reference-unset", Severity.ERROR)]


def test_names_that_litellm_blocks_or_litesup_withholds_are_left_out_with_a_warning():
    moved, left, findings = run("  PATH: /evil\n  PORT: 1\n  EMPTY:\n", {})
    assert moved.variables == {}
    assert left == {}
    assert {severity for _, severity in findings} == {Severity.WARNING}
    assert len(findings) == 3


def test_a_value_that_is_no_text_is_an_error():
    assert run("  A: [1]\n", {})[2] == [("wrong-type", Severity.ERROR)]
