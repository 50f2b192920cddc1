"""Rules about the machine: what it has room for, and how its Python and LiteLLM were built.

What is so comes with the subject; nothing here looks.
"""

from __future__ import annotations

from collections.abc import Iterator

from supervisor.errors import Severity
from supervisor.litellm_config.lint.rule import Remark, Subject, rule

MIB = 2**20
# Private memory, measured: a program that has loaded LiteLLM, and what a replica forked from it comes to under load.
LOADED = 290 * MIB
FORKED = 115 * MIB


@rule(
    "port-taken",
    Severity.WARNING,
    "Something else listens where litesup would.",
    step="End what listens there (`ss -ltnp` shows it), or choose another port.",
)
def port_taken(subject: Subject) -> Iterator[Remark]:
    """`litesup start` ends with 1 as long as this is so. It is not said while a litesup of this runtime directory
    runs."""
    for occupied in subject.around.occupied:
        yield Remark(None, f"{occupied.setting}: {occupied.reason}.", path=tuple(occupied.setting.split(".")))


@rule(
    "memory-short",
    Severity.WARNING,
    "Too little memory for the replicas and the one more that a change needs.",
    step="Run fewer replicas, or give the machine (or the unit: MemoryMax) more memory.",
)
def memory_short(subject: Subject) -> Iterator[Remark]:
    """While a change rolls out there is one replica more than wanted. A replica forked from a program that has loaded
    LiteLLM comes to some 115 MiB under load, one that is started plainly to 290 MiB. What does not fit is swapped
    out, or killed by the kernel."""
    memory, replicas = subject.around.memory, subject.around.replicas
    if memory is None or replicas is None:
        return
    wanted = (replicas + 1) * (FORKED if memory.forked else LOADED) + (LOADED if memory.forked else 0)
    if wanted > memory.bytes:
        message = (
            f"{replicas} replicas, and one more during a change, take about {wanted // MIB} MiB; "
            f"{memory.source} {memory.bytes // MIB} MiB."
        )
        fitting = (memory.bytes - (LOADED if memory.forked else 0)) // (FORKED if memory.forked else LOADED) - 1
        hint = f"Set replicas to {fitting}." if fitting >= 1 else "Give it more memory."
        yield Remark(None, message, hint, ("replicas", "count"))


@rule(
    "python-unoptimised",
    Severity.NOTE,
    "A Python that was built without optimisation.",
    step="Use your distribution's Python, or build it with --enable-optimizations.",
)
def python_unoptimised(subject: Subject) -> Iterator[Remark]:
    """A build that was guided by a profile serves noticeably more requests with the same cores."""
    if subject.around.python_optimised is False:
        message = "This Python was built without --enable-optimizations."
        yield Remark(None, message, "A distribution's own Python serves more requests with the same cores.")


@rule(
    "litellm-uncompiled",
    Severity.NOTE,
    "A LiteLLM without bytecode.",
    step="python -m compileall -q on the directory where LiteLLM is installed.",
)
def litellm_uncompiled(subject: Subject) -> Iterator[Remark]:
    """Not every installer compiles. Loading LiteLLM then takes twice as long, and where its directory cannot be
    written, as under systemd's ProtectSystem=strict, every time."""
    directory = subject.around.uncompiled
    if directory is not None:
        message = "LiteLLM has no bytecode, so that loading it takes twice as long."
        yield Remark(None, message, f"python -m compileall -q {directory}")
