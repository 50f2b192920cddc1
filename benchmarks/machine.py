"""What a figure means nothing without: the machine, what was installed on it, and whether anybody else was using it."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

_PACKAGES = {
    "nginx": "nginx-light",
    "haproxy": "haproxy",
    "wrk": "wrk",
    "taskset": "util-linux",
    "supervisord": "supervisor",
}
"""Of Debian, by program."""
_TOLD_BY = {"nginx": "-v", "haproxy": "-v", "wrk": "--version", "supervisord": "--version"}
_LIBRARIES = ("litellm", "uvicorn", "gunicorn", "uvloop", "aiohttp", "httptools")
_BUSY_SHARE = 10.0  # per cent of all cores, by others, at the moment of asking
_BUSY_LOAD = 0.25  # per core, over the last minute
_QUIET_WITHIN = 15.0  # seconds in which what ran before may come to an end
_TELLS_WITHIN = 20.0


def machine() -> dict[str, str]:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    model = next((line.split(":", 1)[1].strip() for line in lines if "model name" in line), platform.machine())
    optimised = "--enable-optimizations" in (sysconfig.get_config_var("CONFIG_ARGS") or "")
    build = "a distribution's" if sys.base_prefix == "/usr" else "profile-guided" if optimised else "plain"
    return {
        "cores": f"{cores()} x {model}",
        "memory": f"{psutil.virtual_memory().total / 2**30:.1f} GiB",
        "kernel": platform.release(),
        "python": f"{platform.python_version()} ({build} build)",
        "load before": " ".join(f"{load:.2f}" for load in os.getloadavg()),
    }


def versions() -> dict[str, str]:
    """Of what is measured and what measures; what is not installed is not there."""
    found = {}
    for name in _LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    for program, flag in _TOLD_BY.items():
        if (path := find(program)) is not None:
            found[program] = _said(path, flag)
    if (path := find("pm2")) is not None:
        found["pm2"] = _packaged(path)
    return found


def cores() -> int:
    """That this process may use."""
    return len(os.sched_getaffinity(0))


def find(program: str) -> str | None:
    """Where it is. Daemons are found where Debian puts them, too, which is not on everybody's PATH."""
    return shutil.which(program) or shutil.which(program, path="/usr/local/sbin:/usr/sbin:/sbin")


def missing(needs: Mapping[str, Sequence[str]], sides: Iterable[str]) -> dict[str, list[str]]:
    """Programs that are not there, by the side that needs them; under "" those that everybody needs."""
    lacking = {side: [name for name in needs.get(side, ()) if find(name) is None] for side in ("", *sides)}
    return {side: names for side, names in lacking.items() if names}


def advice(programs: Iterable[str]) -> str:
    """How to install them."""
    names = sorted(set(programs))
    ways = []
    if packages := [_PACKAGES[name] for name in names if name in _PACKAGES]:
        ways.append(f"apt install {' '.join(packages)}")
    if "pm2" in names:
        ways.append("npm install -g pm2")
    ways += [f"install {name}" for name in names if name not in _PACKAGES and name != "pm2"]
    return " and ".join(ways)


def disturbance(*, first: bool) -> str:
    """What speaks against measuring now, or "". What has just ended is given a little time to be over.

    Only the first question of several goes by the load average, because later it is the earlier ones' own.
    """
    load = os.getloadavg()[0]
    if first and load > _BUSY_LOAD * cores():
        return f"the load of the last minute was {load:.2f}"
    deadline = time.monotonic() + _QUIET_WITHIN
    while (share := psutil.cpu_percent(interval=1.0)) > _BUSY_SHARE:
        if time.monotonic() > deadline:
            return f"others were using {share:.0f} % of the machine"
    return ""


def _packaged(path: str) -> str:
    """What npm has installed there: pm2 starts a daemon of its own, and leaves it, even to tell its version."""
    for folder in Path(path).resolve().parents:
        if (file := folder / "package.json").is_file():
            return str(json.loads(file.read_text(encoding="utf-8")).get("version", "unknown"))
    return "unknown"


def _said(path: str, flag: str) -> str:
    try:
        told = subprocess.run([path, flag], capture_output=True, text=True, timeout=_TELLS_WITHIN, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"unknown ({type(error).__name__})"
    found = re.search(r"\d+\.\d+(\.\d+)*", told.stdout + told.stderr)
    return found[0] if found else "unknown"
