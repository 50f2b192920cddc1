"""Inside a replica: from a fresh process, plain or forked, to a program that serves on its socket.

Executed by path, never imported by the daemon, and standard library only. The plain launcher executes this file; the
fork server loads it and calls the same functions in the child. A *program* is a Python file with two functions:
`load()`, which imports what can be imported ahead, and `serve(arguments, socket_path)`, which returns or raises
SystemExit when it is done. A third, `rehearse()`, is called after `load` by the fork server only, if there is one.

The replica leaves through the interpreter: LiteLLM says why it refused to start from an exit hook, and logging
queues flush there.
"""

from __future__ import annotations

import gc
import importlib.util
import json
import os
import signal
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

HERE = Path(__file__).resolve().parent
EXPENDABLE = 300
"""How much sooner than the daemon a replica dies for memory, of a thousand: it is replaced, the daemon is not."""


def load_file(path: Path, name: str) -> ModuleType:
    """Imports one file by its path, so that no other module of that name can come in its place."""
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


kernel = load_file(HERE / "kernel.py", "litesup_kernel")


def tie_to_daemon(daemon: int) -> None:
    """From here on this process cannot outlive the daemon."""
    if not kernel.die_with_parent(daemon):
        os._exit(1)  # the daemon is gone, and nobody reads what could be said


def settle(order: dict[str, Any]) -> None:
    """Makes this process the replica that the order asks for; needs the environment to be in place already."""
    reset_signals()
    kernel.name_process(f"litesup-r{order['replica']}")
    kernel.volunteer_for_oom(EXPENDABLE)
    os.chdir(order["directory"])
    if order["directory"] not in sys.path:
        # Last, as LiteLLM itself does: callbacks beside the configuration are found, and nothing else is shadowed.
        sys.path.append(order["directory"])
    sys.argv = ["litellm", *order["arguments"]]
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # a pipe would hold lines back by the block
    if "numpy.random" in sys.modules:  # Python's own generator is seeded again by every fork
        sys.modules["numpy.random"].seed()
    if "multiprocessing" in sys.modules:
        sys.modules["multiprocessing"].current_process().authkey = os.urandom(32)
    gc.enable()


def reset_signals() -> None:
    """What a program finds when it is started from a shell, whatever the daemon or the fork server had set."""
    signal.set_wakeup_fd(-1)
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        if signal.getsignal(number) is not None:
            signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_IGN)  # as Python does at its start: they are exceptions then
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def main() -> None:
    order = json.loads(sys.argv[1])
    tie_to_daemon(order["daemon"])
    settle(order)
    program = load_file(Path(order["program"]), "litesup_program")
    gc.disable()  # a third of the import's time
    program.load()
    gc.freeze()
    gc.enable()
    program.serve(order["arguments"], order["socket"])


if __name__ == "__main__":
    main()
