"""Looks at what the rules about the machine need to know. The only place of `litesup check` that touches it."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path

import psutil

from supervisor import memory as kernels
from supervisor.balancer.listen import listen
from supervisor.control.client import ControlClient
from supervisor.errors import LitesupError
from supervisor.litellm_config.lint import Surroundings
from supervisor.litellm_config.lint.surroundings import Memory, Occupied
from supervisor.litellm_config.prices import litellm_package, read_prices
from supervisor.settings.load import runtime_dir
from supervisor.settings.schema import LauncherChoice, Settings

# Large modules of LiteLLM: where none of them is compiled, nothing was.
_TELLING = ("__init__.py", "router.py", "proxy/proxy_server.py")


def look(settings: Settings) -> Surroundings:
    """What is so on this machine, for these settings. Never raises: what cannot be seen is left out."""
    package = litellm_package()
    runs = _runs(settings)
    return Surroundings(
        replicas=settings.replicas.wanted,
        prices=read_prices(package) if package is not None else None,
        occupied=() if runs else occupied(settings),
        memory=memory(settings.replicas.launcher, free=not runs),
        python_optimised=_python_optimised(),
        uncompiled=package if package is not None and not compiled(package) else None,
    )


def _runs(settings: Settings) -> bool:
    """Whether a litesup of this runtime directory holds its ports and memory already."""
    try:
        ControlClient(runtime_dir(settings, os.environ, os.geteuid())).status_document(timeout=2.0)
    except LitesupError:
        return False
    return True


def occupied(settings: Settings) -> tuple[Occupied, ...]:
    """The ports of these settings that cannot be listened on now."""
    wanted = [("balancer.port", settings.balancer.host, settings.balancer.port)]
    if settings.admin.enabled:
        wanted.append(("admin.port", (settings.admin.host,), settings.admin.port))
    return tuple(Occupied(name, reason) for name, hosts, port in wanted if (reason := _objection(hosts, port)))


def _objection(hosts: Sequence[str], port: int) -> str:
    try:
        sockets = asyncio.run(listen(hosts, port))
    except LitesupError as error:
        return str(error)
    for sock in sockets:
        sock.close()
    return ""


def memory(
    launcher: LauncherChoice, *, free: bool, cgroups: Path = kernels.CGROUPS, own: Path = kernels.OWN
) -> Memory | None:
    """What replicas may use: what the machine has, or, with `free`, has left of it; or a control group's limit."""
    forked = launcher is not LauncherChoice.PLAIN
    system = psutil.virtual_memory()
    has = Memory(system.available, "this machine has available", forked)
    if not free:
        has = Memory(system.total, "this machine has", forked)
    limit = kernels.limit(cgroups, own)
    return Memory(limit, "the control group allows", forked) if limit is not None and limit < has.bytes else has


def _python_optimised() -> bool | None:
    if sys.base_prefix == "/usr":
        return None  # a distribution's own: Debian's is guided by a profile, and does not say so there
    arguments = sysconfig.get_config_var("CONFIG_ARGS")
    return "--enable-optimizations" in arguments if isinstance(arguments, str) and arguments else None


def compiled(package: Path) -> bool:
    """Whether this package has bytecode."""
    return any(bytecode_of(package / name).exists() for name in _TELLING)


def bytecode_of(module: Path) -> Path:
    """Where this Python looks for the bytecode of a module."""
    return Path(importlib.util.cache_from_source(str(module)))
