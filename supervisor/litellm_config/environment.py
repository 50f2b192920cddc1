"""The environment that a replica gets: the operator's own, less what would turn LiteLLM into something else.

Owns the two tables: names that litesup sets, and names that it withholds because LiteLLM, its command line or a library
would take them as an instruction meant for the daemon. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping

# Set whatever the operator's environment says.
FIXED: Mapping[str, str] = {
    # Without it the price map is fetched while importing: seconds of retries where there is no internet, and a thread.
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    # Without it importing LiteLLM reads any `.env` above site-packages.
    "LITELLM_MODE": "PRODUCTION",
    # numpy's threads would forbid forking, and a proxy computes nothing with them.
    "OPENBLAS_NUM_THREADS": "1",
    # A unix socket has no address to be trusted by; the balancer sends exactly one forwarded address.
    "FORWARDED_ALLOW_IPS": "*",
}

MASTER_KEY = "LITELLM_MASTER_KEY"

NO_SCHEMA_UPDATE = "DISABLE_SCHEMA_UPDATE"
"""Set to "true", LiteLLM leaves the database's schema alone (`should_update_prisma_schema`)."""

SCHEMA_IS_CURRENT = "LITESUP_SCHEMA_IS_CURRENT"
"""Set, another replica has just brought the schema up to date, and nobody needs to compare (`litellm_program`)."""

LITELLM = "LITESUP_LITELLM"
"""Which LiteLLM is installed (`installed`): another one is another environment, and so another generation."""

TOKENIZERS = "LITESUP_TOKENIZERS"
"""Which tokenizers a fork server loads ahead (`tokenizers`), with commas between; not set for none."""

# Options of LiteLLM's command line, and of the server below it, that can be given as variables.
_WITHHELD = frozenset(
    {
        "CONFIG_FILE_PATH",
        "DEBUG",
        "DETAILED_DEBUG",
        "GRANIAN_RUNTIME_THREADS",
        "HOST",
        "KEEPALIVE_TIMEOUT",
        "LIMIT_CONCURRENCY",
        "LITELLM_DEV_ENV_HOT_RELOAD",
        "MAX_REQUESTS_BEFORE_RESTART",
        "MAX_REQUESTS_BEFORE_RESTART_JITTER",
        "NUM_WORKERS",
        "PORT",
        "PROMETHEUS_METRICS_PORT",
        "PROMETHEUS_MULTIPROC_DIR",
        "SSL_CERTFILE_PATH",
        "SSL_KEYFILE_PATH",
        "TIMEOUT_WORKER_HEALTHCHECK",
        "WEB_CONCURRENCY",
        "WORKER_CONFIG",
        "prometheus_multiproc_dir",
        # What systemd says to the daemon alone; some of it is another at each start, and would name a generation anew.
        "INVOCATION_ID",
        "JOURNAL_STREAM",
        "MAINPID",
        "MANAGERPID",
        "NOTIFY_SOCKET",
        "SYSTEMD_EXEC_PID",
    }
)
_WITHHELD_PREFIXES = ("LITELLM_CONFIG_BUCKET_", "LISTEN_", "LITESUP_", "WATCHDOG_")


def withheld(name: str) -> bool:
    """Whether a variable of this name never reaches a replica from outside."""
    return name in _WITHHELD or name.startswith(_WITHHELD_PREFIXES)


def reserved(name: str) -> bool:
    """Whether a replica sees something else under this name than the operator's environment says."""
    return withheld(name) or name in FIXED


def compose(
    environ: Mapping[str, str], additions: Mapping[str, str], generated: Mapping[str, str], master_key: str
) -> dict[str, str]:
    """A replica's environment. `additions` are the configuration's own, `generated` those made for its references."""
    inherited = {name: value for name, value in {**environ, **additions}.items() if not withheld(name)}
    return {**inherited, **generated, **FIXED, MASTER_KEY: master_key}
