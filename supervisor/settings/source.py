"""Where the settings come from: what was said at the start, kept so that they can be read again in the same way."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from supervisor import presence
from supervisor.errors import ConfigurationRefused, Finding, Severity
from supervisor.settings.load import DEFAULT_FILE, choose_settings_file, load_settings
from supervisor.settings.schema import Settings


@dataclass(frozen=True, slots=True)
class SettingsSource:
    """Flags and environment as at the start, and the file that was named with --settings, if any."""

    flags: Mapping[str, object]
    environ: Mapping[str, str] = dataclasses.field(repr=False)
    named: Path | None = None

    @property
    def file(self) -> Path:
        """The file that is read, or would be if it were there. Absolute."""
        return (choose_settings_file(self.named, self.environ) or DEFAULT_FILE).absolute()

    @property
    def has_file(self) -> bool:
        try:
            return self.file.stat().st_size > 0
        except OSError:
            return False

    def read(self) -> Settings:
        """Raises ConfigurationRefused with every problem at once. Blocks on the file."""
        return load_settings(flags=self.flags, environ=self.environ, settings_file=self.named)

    def read_again(self, *, had_file: bool) -> Settings:
        """As `read`. A file that was there and is gone, or empty, does not mean the defaults.

        That is what a save that failed half way leaves, and the defaults may let in whom the file did not.
        """
        if had_file and not self.has_file:
            what = "is empty" if presence.exists(self.file) else "is gone"
            hint = "Put it back; or, if the defaults are meant, write {} into it."
            raise ConfigurationRefused([Finding(Severity.ERROR, "settings-gone", f"the file {what}", hint, self.file)])
        return self.read()
