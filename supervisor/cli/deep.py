"""`litesup check --deep`: has a sealed LiteLLM load the configuration, and shows what each model would send."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from supervisor.cli.render import plural

if TYPE_CHECKING:
    from supervisor.deep_check.run import Event
    from supervisor.deep_check.verdict import ModelVerdict, Outcome
    from supervisor.errors import Finding
    from supervisor.litellm_config.generation import Generation
    from supervisor.observe.redact import Redactor

TIMEOUT = 60.0
_COLOURS = {"sent": "32", "answers by itself": "32", "failed": "31", "not checked": "33", "not asked": "2"}
_BEFORE_LOADED = {"loading": "importing LiteLLM", "imported": "loading the configuration"}


def deep_check(generation: Generation, *, timeout: float) -> Outcome:
    """What LiteLLM itself makes of a generation. Shows progress on stderr; a timeout is in seconds.

    Raises LitesupError where LiteLLM cannot be run, and OSError where no process can be started.
    """
    from supervisor.cli.terminal import Progress
    from supervisor.deep_check.plan import plan
    from supervisor.deep_check.run import run
    from supervisor.deep_check.verdict import judge
    from supervisor.litellm_config import include
    from supervisor.litellm_config.document import MapNode, Place

    written = include.load(generation.source, generation.written).root
    root = written or MapNode((), Place(generation.source, 1, 1))
    planned = plan(generation.config_text, generation.environment)
    redact = redactor(generation)
    names = {model.index: redact(model.name) for model in planned.models}
    with Progress(sys.stderr) as line:

        def show(events: Sequence[Event], seconds: float) -> None:
            line.show(progress_text(events, seconds, names))

        ended = run(generation, planned, timeout=timeout, progress=show)
    return judge(planned, ended, root, redact)


def with_excerpts(generation: Generation, findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Findings with the operator's own line under each error, as every other check shows it."""
    from supervisor.litellm_config.excerpt import with_excerpt

    return tuple(with_excerpt(finding, generation.written.texts) for finding in findings)


def progress_text(events: Sequence[Event], seconds: float, names: dict[int, str]) -> str:
    """The moving line as it reads now."""
    last = events[-1] if events else {"event": "loading"}
    clock = f"{seconds:.0f} s"
    if last["event"] in {"asking", "asked"}:
        done = sum(1 for event in events if event["event"] == "asked")
        name = names.get(int(last["index"]), "")
        return f"asked about {done} of {plural(len(names), 'model')} … {clock}  {name}"
    return f"{_BEFORE_LOADED.get(last['event'], 'asking LiteLLM')} … {clock}"


def deep_lines(outcome: Outcome, *, colour: bool) -> Iterator[str]:
    """One line per model, and one that says what was done."""
    for model in outcome.models:
        name = f"\x1b[{_COLOURS[model.verdict.value]}m{model.name}\x1b[0m" if colour else model.name
        yield f"{name}: {said(model)}"
    version = f"LiteLLM {outcome.version}" if outcome.version else "LiteLLM"
    what = f"was asked about {plural(len(outcome.models), 'model')}" if outcome.models else "was started"
    yield f"{version} {what} in {outcome.seconds:.1f} s; nothing left this machine"
    yield ""


def said(model: ModelVerdict) -> str:
    """What is said of one model."""
    from supervisor.deep_check.verdict import Verdict

    match model.verdict:
        case Verdict.SENT:
            return f"would {model.request}" + (f" (as {model.asked_for})" if model.asked_for else "")
        case Verdict.ITSELF:
            return "answers by itself; no provider is asked"
        case Verdict.NOT_ASKED if model.mode is not None:
            return f"not asked, because there is no harmless question for a model of mode {model.mode}"
        case Verdict.NOT_ASKED:
            return "not asked, because it only chooses among others"
    return f"{model.verdict.value}: {model.reason}" if model.reason else model.verdict.value


def deep_document(outcome: Outcome) -> dict[str, Any]:
    """The same for programs."""
    from supervisor.litellm_config.document import path_text

    return {
        "litellm_version": outcome.version,
        "seconds": round(outcome.seconds, 3),
        "sealed_by_kernel": outcome.sealed,
        "models": [
            {
                "model_name": model.name,
                "path": path_text(model.path),
                "mode": model.mode,
                "verdict": model.verdict.value,
                "asked_for": model.asked_for or None,
                "request": model.request or None,
                "reason": model.reason or None,
            }
            for model in outcome.models
        ],
    }


def redactor(generation: Generation) -> Redactor:
    """Knows the environment's secrets, what is typed into the file, and what the file says is a secret elsewhere."""
    import yaml

    from supervisor.observe.redact import Redactor

    redact = Redactor(generation.environment)
    redact.learn([generation.master_key])
    redact.learn(_secrets_in(yaml.safe_load(generation.config_text), generation.environment))
    return redact


def _secrets_in(value: Any, environment: Any, name: str = "") -> Iterator[str]:
    from supervisor.secret_names import names_a_secret

    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _secrets_in(inner, environment, str(key))
    elif isinstance(value, list):
        for inner in value:
            yield from _secrets_in(inner, environment, name)
    elif isinstance(value, str) and names_a_secret(name):
        reference = value.removeprefix("os.environ/")
        yield environment.get(reference, "") if reference != value else value
