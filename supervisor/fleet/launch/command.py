"""From a generation's rendered file to what one replica is started with. Pure, but for looking at a path's length.

Owns LiteLLM's arguments and the variables that differ from one replica to the next; all of these begin with `LITESUP_`,
and nothing that comes from the operator does, so that a launcher can leave them out when it compares environments.
Which LiteLLM it is, and which tokenizers it loads ahead (`environment`), begin so too, and are compared.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from supervisor.errors import ConfigurationRefused, Finding, Severity
from supervisor.fleet.launch.spec import LaunchSpec
from supervisor.litellm_config.environment import LITELLM, NO_SCHEMA_UPDATE, TOKENIZERS

OWN_PREFIX = "LITESUP_"
WARM_UP_URL = "LITESUP_WARM_UP_URL"
WARM_UP_HOOK = "litesup_warmup:warm_up"  # the name under which `litellm_program` loads `warmup`
HOOKS = "LITELLM_WORKER_STARTUP_HOOKS"
LONGEST_SOCKET_PATH = 107  # bytes; unix(7): sun_path less the final null

_COMPARED = (LITELLM, TOKENIZERS)

# uvicorn closes idle connections after 5 s, which is sooner than the balancer gives them up.
_KEEPALIVE_SECONDS = 120


def launch_spec(
    *,
    replica: int,
    slot: int,
    config_path: Path,
    environment: Mapping[str, str],
    directory: Path,
    socket_path: Path,
    stub_url: str | None = None,
    debug: bool = False,
) -> LaunchSpec:
    """What one replica of a generation is started with.

    `environment` is the generation's, `directory` that of the operator's file, `stub_url` where this replica warms up
    (`WarmUpStub.url_for`), None for no warm-up. Raises ConfigurationRefused for a socket path that is too long.
    """
    check_socket_path(socket_path)
    arguments = ["--config", str(config_path), "--keepalive_timeout", str(_KEEPALIVE_SECONDS), "--num_workers", "1"]
    if debug:
        arguments.append("--detailed_debug")
    return LaunchSpec(
        replica=replica,
        slot=slot,
        arguments=tuple(arguments),
        environment=_with_warm_up(environment, stub_url),
        socket_path=socket_path,
        directory=directory,
    )


def _with_warm_up(environment: Mapping[str, str], stub_url: str | None) -> dict[str, str]:
    if stub_url is None:
        return dict(environment)
    hooks = ",".join(filter(None, (WARM_UP_HOOK, environment.get(HOOKS))))
    return {**environment, HOOKS: hooks, WARM_UP_URL: stub_url}


def shared_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """What all replicas of a generation have in common, as far as it matters while LiteLLM is imported."""
    return {name: value for name, value in environment.items() if name in _COMPARED or not _one_replicas_own(name)}


def _one_replicas_own(name: str) -> bool:
    return name in (HOOKS, NO_SCHEMA_UPDATE) or name.startswith(OWN_PREFIX)


def check_socket_path(path: Path) -> None:
    """Raises ConfigurationRefused when the kernel would not take this path for a unix socket."""
    size = len(str(path).encode())
    if size > LONGEST_SOCKET_PATH:
        raise ConfigurationRefused(
            [
                Finding(
                    Severity.ERROR,
                    "runtime-dir-too-long",
                    f"the socket path {path} has {size} bytes; the kernel takes {LONGEST_SOCKET_PATH}",
                    hint=f"choose a runtime directory that is at least {size - LONGEST_SOCKET_PATH} bytes shorter"
                    " (--runtime-dir)",
                )
            ]
        )
