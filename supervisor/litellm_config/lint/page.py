"""Writes docs/checks.md from the codes: `python -m supervisor.litellm_config.lint.page [FILE]`."""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path

from supervisor.litellm_config.lint.codes import Code, all_codes

FILE = Path("docs/checks.md")
WIDTH = 118
_HEAD = """\
# What `litesup check` finds

Written by `python -m supervisor.litellm_config.lint.page`; a test fails when it is stale.

An **error** refuses the configuration: `start` ends with 3, a running daemon goes on with what it has. A **warning**
surprises later. A **note** informs. The severity given here is the usual one; where a finding is milder or graver, its
text says why. `litesup check --explain CODE` prints the section of one code.
"""


def page() -> str:
    """The whole page."""
    parts = [_HEAD]
    for heading, codes in all_codes().items():
        parts.append(f"## {heading}\n")
        parts += [section(code) for code in codes]
    return "\n".join(parts)


def section(code: Code) -> str:
    """What the page says of one code."""
    lines = [f"### {code.code}", "", f"**{code.severity.value.capitalize()}.** {code.summary}", ""]
    if code.why:
        lines += [_wrapped(code.why), ""]
    if code.example:
        lines += ["```yaml", code.example.rstrip("\n"), "```", ""]
    lines += [_wrapped(f"*What to do:* {code.step}"), ""]
    return "\n".join(lines)


def _wrapped(text: str) -> str:
    return textwrap.fill(" ".join(text.split()), WIDTH, break_long_words=False, break_on_hyphens=False)


def main() -> None:
    file = Path(sys.argv[1]) if len(sys.argv) > 1 else FILE
    file.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
