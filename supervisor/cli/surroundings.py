"""Looks at what the rules about the machine need to know. The only place of `litesup check` that touches it."""

from __future__ import annotations

from supervisor.litellm_config.lint import Surroundings
from supervisor.settings.schema import Settings


def look(settings: Settings) -> Surroundings:
    """What is so on this machine, for these settings. Never raises: what cannot be seen is left out."""
    return Surroundings(replicas=settings.replicas.wanted)
