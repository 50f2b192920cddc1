"""What a rule may know beyond the document: the settings that matter to it, and the machine.

A value, so that a rule stays a function of what it is given. Who looks (`litesup check`) fills it in; a daemon that
reads its configuration does not look, and the rules about the machine are silent there.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Surroundings:
    """None, or nothing, stands for: not looked at. A rule says nothing about what nobody has looked at."""

    replicas: int | None = None


NOT_LOOKED_AT = Surroundings()
