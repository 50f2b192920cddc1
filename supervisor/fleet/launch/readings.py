"""Inside the fork server: which environment variables its program looks at, or changes, while it is loaded.

Executed by path, never imported by the daemon, and standard library only. What was looked at is all that can have
made the loading what it was; so a replica whose environment differs in other variables only may be forked from here.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

# In whose name others go through the environment.
_VIEWS = "collections.abc"  # as that module calls itself
_BETWEEN = frozenset({"os", _VIEWS})

# They go through all of it and take what the daemon counts anyway (`basis`), or nothing: wsgiref keeps a copy for a
# CGI program.
_HARMLESS = frozenset({"urllib.request", "wsgiref.handlers"})

_SETTINGS = "pydantic_settings"


@dataclass(slots=True)
class Readings:
    """`names` exactly as spelt; `folded` in lower case, where the reader does not mind the spelling.

    `everything` says that somebody unknown went through the whole environment, and who.
    """

    names: set[str] = field(default_factory=set)
    folded: set[str] = field(default_factory=set)
    everything: str = ""

    def told(self) -> dict[str, Any]:
        return {"names": sorted(self.names), "folded": sorted(self.folded), "everything": self.everything}

    def whole(self, frame: FrameType | None) -> None:
        """Somebody goes through the whole environment; `frame` is where that is noticed."""
        while frame is not None and frame.f_globals.get("__name__") in _BETWEEN:
            frame = frame.f_back
        who = "" if frame is None else str(frame.f_globals.get("__name__"))
        if who in _HARMLESS:
            return
        wanted = _settings_fields(frame) if who.partition(".")[0] == _SETTINGS else None
        if wanted is None:
            self.everything = self.everything or who or "unknown"
        else:
            self.folded |= wanted


def _settings_fields(frame: FrameType | None) -> set[str] | None:
    """What a class of settings looks for in the environment; None where that cannot be told."""
    while frame is not None and "settings_cls" not in frame.f_locals:
        frame = frame.f_back
    if frame is None:
        return None
    settings = frame.f_locals["settings_cls"]
    if settings.model_config.get("env_nested_delimiter"):
        return None
    wanted = set()
    for name, one in settings.model_fields.items():
        alias = one.validation_alias
        choices = [alias] if alias is None or isinstance(alias, str) else list(getattr(alias, "choices", [alias]))
        for choice in choices:
            if choice is not None and not isinstance(choice, str):
                return None
            wanted.add((choice or settings.model_config.get("env_prefix", "") + name).lower())
    return wanted


_current = Readings()


class _Recorded(os._Environ[Any]):  # noqa: SLF001  # of texts, and of the bytes of `os.environb`
    """Stands in for the class of `os.environ`, which stays the object that everybody holds."""

    def __getitem__(self, key: Any) -> Any:
        caller = sys._getframe(1)  # noqa: SLF001
        if caller.f_code.co_name != "__iter__" or caller.f_globals.get("__name__") != _VIEWS:
            _current.names.add(_text(key))  # and not while all of it is gone through, which `__iter__` judges
        return super().__getitem__(key)

    def __contains__(self, key: object) -> bool:
        _current.names.add(_text(key))
        return super().__contains__(key)

    def __setitem__(self, key: Any, value: Any) -> None:
        _current.names.add(_text(key))
        super().__setitem__(key, value)

    def __delitem__(self, key: Any) -> None:
        _current.names.add(_text(key))
        super().__delitem__(key)

    def __iter__(self) -> Iterator[Any]:
        _current.whole(sys._getframe(1))  # noqa: SLF001
        return super().__iter__()


def _text(key: object) -> str:
    return os.fsdecode(key) if isinstance(key, str | bytes) else repr(key)


@contextlib.contextmanager
def recorded() -> Iterator[Readings]:
    """What is looked at inside the block. Not for use in several threads, and not within itself."""
    global _current  # noqa: PLW0603
    _current = readings = Readings()
    both = (os.environ, os.environb)
    for environ in both:
        environ.__class__ = _Recorded
    try:
        yield readings
    finally:
        for environ in both:
            environ.__class__ = os._Environ  # noqa: SLF001
