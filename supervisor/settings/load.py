"""From flags, environment and `litesup.yaml` to one `Settings`, or to every reason why not.

The only I/O of the settings. What is given on the command line wins over the environment, that over the file, and
that over the defaults; each value remembers where it came from, so that a problem can be shown in its place.
"""

from __future__ import annotations

import dataclasses
import difflib
import ipaddress
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from supervisor import presence
from supervisor.errors import ConfigurationRefused, Finding, Severity
from supervisor.settings.directories import choose_runtime_dir, choose_state_dir, prepare_directory
from supervisor.settings.document import Place, read_document
from supervisor.settings.schema import Settings, schema_places

__all__ = ["load_settings", "prepare_directory", "runtime_dir", "state_dir"]

DEFAULT_FILE = Path("litesup.yaml")
PREFIX = "LITESUP_"
SHORT: Mapping[str, str] = {
    "LITESUP_REPLICAS": "replicas.count",
    "LITESUP_HOST": "balancer.host",
    "LITESUP_PORT": "balancer.port",
    "LITESUP_LAST_GOOD": "rollout.last_good",
}
"""Variables for what the command line has a flag for; all others are spelt LITESUP_SECTION__SETTING."""

FILES: tuple[Place, ...] = (("config",), ("runtime_dir",), ("state_dir",))
"""Settings that name a file: relative to the settings file when they stand in it."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a value was given: a place in a file, or the name of a variable or setting."""

    file: Path | None = None
    line: int | None = None
    column: int | None = None
    name: str = ""


@dataclass(slots=True)
class Gathered:
    """Values so far, nested like the settings, and the origin of each."""

    values: dict[str, Any] = dataclasses.field(default_factory=dict)
    origins: dict[Place, Origin] = dataclasses.field(default_factory=dict)

    def put(self, place: Place, value: object, origin: Origin) -> None:
        """Sets one value over whatever is there."""
        if place == ("replicas",) and not isinstance(value, dict):
            place = ("replicas", "count")  # `replicas: 3`
        inner = self.values
        for part in place[:-1]:
            deeper = inner.get(str(part))
            if not isinstance(deeper, dict):
                deeper = inner[str(part)] = {}
            inner = deeper
        inner[str(place[-1])] = value
        for stale in [known for known in self.origins if known[: len(place)] == place]:
            del self.origins[stale]
        self.origins[place] = origin

    def origin(self, place: Place) -> Origin:
        """Of the value itself, or of the nearest thing around it."""
        for length in range(len(place), 0, -1):
            if place[:length] in self.origins:
                return self.origins[place[:length]]
        return Origin()


def load_settings(*, flags: Mapping[str, object], environ: Mapping[str, str], settings_file: Path | None) -> Settings:
    """The settings in force. `flags` maps dotted names ("replicas.count") to values; None means not given.

    Without `settings_file` and LITESUP_SETTINGS, `litesup.yaml` in the working directory is read if it is there.
    Raises ConfigurationRefused with every problem at once.
    """
    gathered, problems = Gathered(), []
    file = choose_settings_file(settings_file, environ)
    if file is not None:
        _gather_file(file, gathered)
    problems += _gather_environment(environ, gathered)
    for name, value in flags.items():
        if value is not None and value != ():
            gathered.put(tuple(name.split(".")), value, Origin(name=name))
    settings: Settings | None = None
    try:
        settings = Settings.model_validate(gathered.values)
    except ValidationError as error:
        found = [_finding(detail, gathered) for detail in error.errors(include_url=False)]
        problems += sorted(found, key=lambda finding: finding.line or 0)
    if settings is not None:
        problems += examine(settings, gathered)
    if problems or settings is None:
        raise ConfigurationRefused(problems)
    return settings


def choose_settings_file(given: Path | None, environ: Mapping[str, str]) -> Path | None:
    """The file to read, or None where there is none; one that was named has to exist."""
    named = given or (Path(text).expanduser() if (text := environ.get("LITESUP_SETTINGS")) else None)
    return named or (DEFAULT_FILE if presence.exists(DEFAULT_FILE) else None)


def examine(settings: Settings, gathered: Gathered | None = None) -> list[Finding]:
    """What no single setting can see: rules between settings."""
    gathered = gathered or Gathered()
    found = []
    beyond = [host for host in settings.balancer.host if not is_loopback(host)]
    if beyond and not settings.access.allow and settings.access.trusted is None:
        found.append(
            _error(
                "open-to-network",
                f"listening on {', '.join(beyond)} lets everybody who reaches that address use the models' keys",
                "Say in litesup.yaml who may connect, or who may come without a key (an empty list: nobody), "
                "for example:\n"
                "      access:\n"
                "        allow: [127.0.0.0/8, ::1, 10.0.0.0/24]\n"
                "        trusted: [127.0.0.0/8, ::1, 10.0.0.0/24]",
                gathered.origin(("balancer", "host")),
                ("balancer", "host"),
            )
        )
    if settings.admin.enabled and not is_loopback(settings.admin.host):
        found.append(
            _error(
                "admin-open-to-network",
                f"the admin port has no access control and cannot listen on {settings.admin.host}",
                "Keep it on 127.0.0.1, and reach it through an SSH tunnel or an agent on this machine.",
                gathered.origin(("admin", "host")),
                ("admin", "host"),
            )
        )
    return found


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.strip("[]").partition("%")[0]).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def runtime_dir(settings: Settings, environ: Mapping[str, str], uid: int) -> Path:
    return choose_runtime_dir(settings.runtime_dir, environ, uid)


def state_dir(settings: Settings, environ: Mapping[str, str], uid: int) -> Path:
    return choose_state_dir(settings.state_dir, environ, uid)


def _gather_file(file: Path, gathered: Gathered) -> None:
    document = read_document(file)
    for place, value in _leaves(document.values):
        if value is None:
            continue  # an empty line leaves the default
        if place in FILES and isinstance(value, str) and value:
            given: object = file.absolute().parent / Path(value).expanduser()
        else:
            given = value
        line, column = document.positions.get(place, (None, None))
        gathered.put(place, given, Origin(file, line, column))
    for place, (line, column) in document.positions.items():
        gathered.origins.setdefault(place, Origin(file, line, column))


def _gather_environment(environ: Mapping[str, str], gathered: Gathered) -> list[Finding]:
    known = {PREFIX + "__".join(part.upper() for part in place): place for place in schema_places()}
    known |= {name: tuple(target.split(".")) for name, target in SHORT.items()}
    problems = []
    for name, text in sorted(environ.items()):
        if not name.startswith(PREFIX) or name == "LITESUP_SETTINGS" or not text:
            continue
        if name in known:
            gathered.put(known[name], text, Origin(name=name))
        elif advice := _did_you_mean(name, [*known, "LITESUP_SETTINGS"], prefix=PREFIX):
            # Without a near relative among the settings it is somebody else's variable, and none of our business.
            problems.append(
                _error("setting-unknown", f"there is no setting for the variable {name}", advice, Origin(name=name), ())
            )
    return problems


def _leaves(values: Mapping[Any, object], prefix: Place = ()) -> Iterator[tuple[Place, object]]:
    for key, value in values.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, (*prefix, str(key)))
        else:
            yield (*prefix, str(key)), value


def _finding(detail: ErrorDetails, gathered: Gathered) -> Finding:
    place: Place = detail["loc"]
    while place and str(place[-1]).startswith(("IPv4", "IPv6", "is-instance", "function-")):
        place = place[:-1]  # pydantic's names for the branches of a union
    origin = gathered.origin(place)
    if detail["type"] == "extra_forbidden":
        siblings = [known[-1] for known in _siblings(place[:-1])]
        section = spelt(place[:-1]) or "litesup.yaml"
        advice = _did_you_mean(str(place[-1]), siblings) or f"Known here: {', '.join(siblings)}."
        return _error("setting-unknown", f"{section} has no {place[-1]}", advice, origin, place)
    if detail["type"] in ("model_type", "model_attributes_type", "dataclass_type"):
        text = "should hold settings as `name: value` lines"
    else:
        text = detail["msg"].removeprefix("Value error, ").removeprefix("Input ")
    given = detail["input"]
    shown = f", not {given!r}" if isinstance(given, (str, int, float, bool)) and len(str(given)) < 60 else ""
    return _error("setting-invalid", f"{spelt(place)} {text}{shown}", "", origin, place)


def _siblings(place: Place) -> list[tuple[str, ...]]:
    names = {known[: len(place) + 1] for known in schema_places() if known[: len(place)] == place}
    return sorted(names)


def _did_you_mean(name: str, known: list[str], prefix: str = "") -> str:
    bare = [other.removeprefix(prefix) for other in known]
    near = difflib.get_close_matches(name.removeprefix(prefix), bare, n=1, cutoff=0.7)
    return f"Did you mean {prefix}{near[0]}?" if near else ""


def _error(code: str, message: str, hint: str, origin: Origin, place: Place) -> Finding:
    return Finding(
        Severity.ERROR, code, message, hint, origin.file, origin.line, origin.column, origin.name or spelt(place)
    )


def spelt(place: Place) -> str:
    """As people write it: access.trusted[0]."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place).removeprefix(".")
