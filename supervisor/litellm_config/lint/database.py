"""Rules about the database that the operator gave LiteLLM."""

from __future__ import annotations

from collections.abc import Iterator

from supervisor.errors import Severity
from supervisor.litellm_config.database import GENERAL, LIMIT, SALT, URL, database_of
from supervisor.litellm_config.environment import MASTER_KEY
from supervisor.litellm_config.lint.rule import Remark, Subject, rule

_SALT_STEP = (
    f"Set {SALT} to sk- and 32 random bytes in hex, keep it as you keep the database, and never change it;"
    f" or set {MASTER_KEY} yourself."
)
_LIMIT_STEP = (
    "Ask the server what it allows (SHOW max_connections;), less what others use; lower"
    f" general_settings.{LIMIT}, or put a pooler in between, if it is not enough."
)


@rule(
    "salt-key-missing",
    Severity.ERROR,
    f"A database, a master key that litesup made, and no {SALT}.",
    example="general_settings: {database_url: 'postgresql://db/litellm'}\n",
    step=_SALT_STEP,
)
def salt_key_missing(subject: Subject) -> Iterator[Remark]:
    """LiteLLM encrypts what it stores with LITELLM_SALT_KEY, and without one with the master key. The one that litesup
    makes is in its state directory only: with another machine, or without that directory, nothing stored could be
    read again."""
    if subject.environ.get(SALT) or subject.environ.get(MASTER_KEY):
        return
    if subject.setting(GENERAL, "master_key") is not None:
        return
    database = database_of(subject.root, subject.environ)
    if database is not None:
        message = f"What LiteLLM stores would be encrypted with a key that litesup made, for want of {SALT}."
        yield Remark(database.at, message, _SALT_STEP, (GENERAL, URL) if database.at is not None else ())


@rule(
    "database-connections",
    Severity.NOTE,
    "How many connections the pool may open to the database.",
    example="general_settings: {database_url: 'postgresql://db/litellm'}\n",
    step=_LIMIT_STEP,
)
def database_connections(subject: Subject) -> Iterator[Remark]:
    """Each replica has connections of its own, and while one is replaced there is one replica more. A server that has
    no more to give refuses the new one, and with it the roll-out."""
    replicas = subject.around.replicas
    database = database_of(subject.root, subject.environ)
    if database is None or replicas is None or database.connections is None:
        return
    most = database.connections * (replicas + 1)
    message = (
        f"{replicas} replicas and the one that replaces another open up to {most} connections to the database,"
        f" {database.connections} each."
    )
    at = subject.setting(GENERAL, LIMIT) or database.at
    yield Remark(at, message, _LIMIT_STEP)
