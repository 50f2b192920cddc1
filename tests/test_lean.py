"""What the daemon does not load. In processes of their own, for this one has loaded everything."""

from __future__ import annotations

import subprocess
import sys


def run(program: str) -> str:
    return subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout


def test_structlog_works_without_rich_and_whoever_wants_rich_later_finds_it():
    assert run("""
import sys
from supervisor.lean import load_structlog
load_structlog()
print(sorted({"rich", "pygments", "structlog"} & set(sys.modules)))
import rich, structlog
structlog.get_logger().info("still here")
""").startswith("['structlog']\n")


def test_what_is_loaded_already_stays():
    assert (
        run("""
import sys, rich
from supervisor.lean import load_structlog
load_structlog()
print(sys.modules["rich"] is rich)
""")
        == "True\n"
    )


def test_the_daemon_loads_nothing_that_only_a_terminal_needs():
    assert (
        run("""
import sys
from supervisor.lean import load_structlog
load_structlog()
import supervisor.cli.start, supervisor.cli.progress, supervisor.settings.source, supervisor.daemon
print(sorted({"rich", "pygments", "supervisor.doctor.diagnosis", "litellm"} & set(sys.modules)))
""")
        == "[]\n"
    )
