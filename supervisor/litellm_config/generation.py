"""The generation: one immutable version of what replicas run.

A pure value. Two generations with the same digest are the same generation, whatever file they were read from.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from pydantic import SecretStr

from supervisor.errors import Finding
from supervisor.litellm_config.environment import NO_SCHEMA_UPDATE, SCHEMA_IS_CURRENT
from supervisor.litellm_config.files import Written


@dataclass(frozen=True, slots=True)
class Generation:
    """A rendered LiteLLM configuration and the environment that it needs.

    `digest` covers `config_text` and `environment`. `config_text` holds references instead of what variables hold,
    except in the elements of lists, which LiteLLM does not resolve. `environment` is a replica's whole environment
    less what differs from one replica to the next.
    """

    digest: str  # 12 hexadecimal digits, keyed so that it tells nothing about a secret
    config_text: str = dataclasses.field(repr=False)  # may hold a secret that the operator typed, or wrote into a list
    environment: Mapping[str, str] = dataclasses.field(repr=False)
    master_key: SecretStr
    source: Path  # the operator's file, absolute
    watched: tuple[Path, ...]  # every file on which this generation depends, absolute, existing or not
    adaptations: tuple[Finding, ...]  # what was changed on the way to LiteLLM, and warnings
    key_header: str = "Authorization"  # where its replicas look for a key
    migrates: bool = False  # a replica of it brings a database's schema up to date when it starts, unless told not to
    written: Written = dataclasses.field(default_factory=Written, repr=False)  # what it was made of

    def without_migration(self) -> Self:
        """The same, for a replica that leaves the schema alone."""
        if not self.migrates:
            return self
        told = {NO_SCHEMA_UPDATE: "true", SCHEMA_IS_CURRENT: "1"}
        return dataclasses.replace(self, environment={**self.environment, **told})

    @property
    def directory(self) -> Path:
        """Where LiteLLM runs, so that callbacks beside the operator's file are found."""
        return self.source.parent
