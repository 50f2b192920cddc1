"""The operator's own Python modules: callbacks, guardrails, custom auth and the like.

LiteLLM looks for `module.attribute` beside the file that it was given, and otherwise imports the module by name. The
file that it is given lies in the runtime directory, so each module found beside the operator's file gets a stand-in
there: a file of the same name that runs the module's code, as it was when the generation was made, under its own
`__file__`, and makes the modules beside it importable. A replica that is restarted later thus still runs the code of
its generation, whatever has been saved meanwhile. (Importing by name would be too little: a package of that name in
site-packages would win, and the working directory is not on the path of every launcher.)

Which values name a module is not looked up in a list of settings: any text of that form for which such a file exists is
taken for one. A stand-in too many harms nothing.
"""

from __future__ import annotations

import re
from pathlib import Path

from supervisor.litellm_config.document import Node, scalars
from supervisor.litellm_config.files import DISK, Files

_DOTTED = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+")

_STAND_IN = """\
# Stands in for {path} because LiteLLM looks for it beside the rendered configuration.
import sys

__file__ = {path!r}
if {directory!r} not in sys.path:
    sys.path.append({directory!r})
exec(compile({source!r}, __file__, "exec", dont_inherit=True), globals())
"""


def named_modules(root: Node, directory: Path, files: Files = DISK) -> tuple[Path, ...]:
    """The modules in `directory` that values of the document name, as absolute paths."""
    found: dict[Path, None] = {}
    for _, scalar in scalars(root):
        if isinstance(scalar.value, str) and _DOTTED.fullmatch(scalar.value):
            file = directory.joinpath(*scalar.value.split(".")[:-1]).with_suffix(".py")
            if files.is_module(file):
                found[file] = None
    return tuple(found)


def stand_in(file: Path, directory: Path, source: bytes) -> str:
    """What to write in place of `file`, whose content is `source`."""
    return _STAND_IN.format(path=str(file), directory=str(directory), source=source)
