"""The database that the operator gave LiteLLM: whether there is one, who changes its schema, how many connections.

Pure. LiteLLM looks for it in its environment and in `general_settings` (`proxy_cli.run_server`). At its start each
process brings the schema up to date, unless `disable_prisma_schema_update`, or where that is not written
`DISABLE_SCHEMA_UPDATE`, says otherwise. Several that do so at once disturb each other (BerriAI/litellm#14400), so that
litesup lets the first replica of a generation do it and gives all others that variable.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from supervisor.errors import Finding, Severity
from supervisor.litellm_config.document import MapNode, Node, Scalar, finding_at
from supervisor.litellm_config.environment import NO_SCHEMA_UPDATE
from supervisor.litellm_config.expand import resolved

GENERAL = "general_settings"
URL = "database_url"
NO_UPDATE = "disable_prisma_schema_update"
LIMIT = "database_connection_pool_limit"
DEFAULT_LIMIT = 10
"""Connections of one process (`LiteLLMDatabaseConnectionPool`); it replaces whatever the URL itself says."""

SALT = "LITELLM_SALT_KEY"
_URLS = ("DATABASE_URL", "DIRECT_URL")
_PARTS = ("DATABASE_HOST", "DATABASE_USERNAME", "DATABASE_NAME")
_READER = "DATABASE_URL_READ_REPLICA"
_TOKENS = ("IAM_TOKEN_DB_AUTH", "AZURE_POSTGRESQL_AUTH")


@dataclass(frozen=True, slots=True)
class Database:
    """`connections` are those of one replica at most, None where that is not a number; `at` is where it is written."""

    at: Node | None
    migrates: bool
    connections: int | None


def database_of(root: MapNode, environ: Mapping[str, str]) -> Database | None:
    """The database that a replica with this configuration and environment uses; None without one."""
    section = root.get(GENERAL)
    general = section if isinstance(section, MapNode) else MapNode((), root.place)
    written = general.get(URL)
    in_environment = any(environ.get(name) for name in (*_URLS, *_TOKENS)) or all(environ.get(name) for name in _PARTS)
    if not in_environment and not _is_url(written, environ):
        return None
    return Database(written, _migrates(general, environ), _connections(general, environ))


@dataclass(frozen=True, slots=True)
class Settled:
    """Whether a replica changes the schema unless it is told not to, and a document that lets it be told so."""

    root: MapNode
    migrates: bool
    findings: tuple[Finding, ...] = ()


def settle_schema_update(root: MapNode, environ: Mapping[str, str]) -> Settled:
    """Leaves out a switch that says what is so anyway: written there, it would win over the variable."""
    database = database_of(root, environ)
    general = root.get(GENERAL)
    if database is None or not database.migrates:
        return Settled(root, migrates=False)
    if not isinstance(general, MapNode) or (switch := general.get(NO_UPDATE)) is None:
        return Settled(root, migrates=True)
    message = f"`{NO_UPDATE}` is left out, so that only the first replica brings the schema up to date."
    finding = finding_at(switch, Severity.NOTE, "schema-update", message, path=(GENERAL, NO_UPDATE))
    return Settled(root.with_value(GENERAL, general.without(NO_UPDATE)), migrates=True, findings=(finding,))


def _migrates(general: MapNode, environ: Mapping[str, str]) -> bool:
    value = _value(general.get(NO_UPDATE), environ)
    if value is None:
        value = environ.get(NO_SCHEMA_UPDATE, "")
    return value.strip().lower() != "true" if isinstance(value, str) else not value


def _connections(general: MapNode, environ: Mapping[str, str]) -> int | None:
    limit = _value(general.get(LIMIT), environ)
    try:
        one = DEFAULT_LIMIT if limit is None else int(str(limit))
    except ValueError:
        return None
    return one * (2 if environ.get(_READER) else 1)


def _is_url(node: Node | None, environ: Mapping[str, str]) -> bool:
    """Also one that LiteLLM's key management alone can resolve."""
    if not isinstance(node, Scalar) or not node.value:
        return False
    value = resolved(node, environ)
    return value is None or bool(value)


def _value(node: Node | None, environ: Mapping[str, str]) -> object:
    return resolved(node, environ) if isinstance(node, Scalar) else None
