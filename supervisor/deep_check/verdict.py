"""What the sealed process's reports mean: one verdict per model, and findings. Pure.

What fails before a request is on its way is an error: it would fail in a replica too. What fails afterwards is not,
because then the stub's answer may be what is wrong. And where something wanted a connection that the check does not
give (a machine's own credentials, a licence), failing proves nothing, and says so.
"""

from __future__ import annotations

import enum
import ipaddress
import json
import re
import signal
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from supervisor.deep_check.answers import FAILURE, TOKEN
from supervisor.deep_check.plan import Model, Plan
from supervisor.deep_check.run import Event, Run
from supervisor.errors import Finding, LitesupError, Severity
from supervisor.litellm_config.document import ListNode, MapNode, Node, Path_, Scalar, finding_at, scalars
from supervisor.litellm_config.lint.codes_deep import DEEP

_SEVERITY = {code.code: code.severity for code in DEEP}
_LONGEST = 400  # characters of a reason
_MOST = 5  # addresses named in one sentence
_MODELS = "model_list"
# What LiteLLM adds to every reason: its class, said twice, and what else the router tried.
_NOISE = re.compile(
    r"\s*(?:Received Model Group=|Available Model Group Fallbacks=|LiteLLM Retried:|For further information).*",
    re.DOTALL,
)
# What only Python says, about values of a wrong type; all else may be LiteLLM's way to report a provider's fault.
_PYTHONS_OWN = re.compile(
    r"not supported between instances|unsupported operand|cannot be interpreted as|object is not|has no attribute"
    r"|can only concatenate|invalid literal|must be real number"
)
_PREFIX = re.compile(r"^(?:(?:litellm\.)?[A-Z]\w*(?:Error|Exception)(?: -|:)\s*)+")


class Verdict(enum.Enum):
    """SENT: a request would reach the provider. ITSELF: LiteLLM answers without asking anybody."""

    SENT = "sent"
    ITSELF = "answers by itself"
    FAILED = "failed"
    UNKNOWN = "not checked"
    NOT_ASKED = "not asked"


@dataclass(frozen=True, slots=True)
class ModelVerdict:
    index: int
    name: str
    verdict: Verdict
    mode: str | None = None
    asked_for: str = ""  # what a wildcard was taken for
    request: str = ""  # "POST https://…", without any credential
    reason: str = ""  # redacted

    @property
    def path(self) -> Path_:
        return (_MODELS, self.index)


@dataclass(frozen=True, slots=True)
class Outcome:
    models: tuple[ModelVerdict, ...]
    findings: tuple[Finding, ...]
    version: str | None  # of LiteLLM
    seconds: float
    sealed: bool  # by the kernel too


def judge(plan: Plan, run: Run, root: MapNode, redact: Callable[[str], str]) -> Outcome:
    """What came of the plan. `root` is the operator's document, for the places in it.

    Raises LitesupError where LiteLLM could not be run, so that nothing is known about the configuration.
    """
    events = {event["event"]: event for event in run.events}
    if "absent" in events:
        raise LitesupError(f"LiteLLM cannot be run here: {_plain(events['absent']['reason'], redact)}")
    sealed = bool(events.get("loading", {}).get("sealed"))
    version = events.get("imported", {}).get("version")
    if "loaded" not in events:
        _raise_if_nothing_is_known(run, events)
        return Outcome((), (_not_loaded(run, events, root, redact), *_cut(plan, root)), version, run.seconds, sealed)
    answers = {event["index"]: event for event in run.events if event["event"] == "asked"}
    models: list[ModelVerdict] = [ModelVerdict(one.index, redact(one.name), Verdict.NOT_ASKED) for one in plan.unasked]
    findings = [*_from_loading(events["loaded"], root, redact), *_cut(plan, root)]
    for model in plan.models:
        verdict, finding = _judge_model(model, answers.get(model.index), root, run, redact)
        models.append(verdict)
        findings += [finding] if finding is not None else []
    models.sort(key=lambda one: one.index)
    return Outcome(tuple(models), tuple(findings), version, run.seconds, sealed)


def _raise_if_nothing_is_known(run: Run, events: Mapping[str, Event]) -> None:
    if "refused" in events:
        return
    if run.timed_out:
        step = "loading the configuration" if "imported" in events else "importing LiteLLM"
        raise LitesupError(f"no result within {run.seconds:.0f} s, while {step}; allow more with --timeout")
    if run.status == -signal.SIGKILL:
        raise LitesupError("the process in which LiteLLM was to load was killed; is there enough memory?")
    if "loading" not in events:
        raise LitesupError(f"the process in which LiteLLM was to load did not start (status {run.status})")


def _not_loaded(run: Run, events: Mapping[str, Event], root: MapNode, redact: Callable[[str], str]) -> Finding:
    told = events.get("refused", {})
    reason = str(told.get("reason") or "")
    if not reason or reason.startswith("SystemExit"):
        said = [line for line in run.last_lines if "rror" in line] or list(run.last_lines)
        reason = said[-1] if said else f"it ended with status {run.status} and said nothing"
    path, node = _suspected(told, reason, root)
    where = f" ({told['place']})" if told.get("place") else ""
    refused = told.get("refused") or []
    if refused:
        message = f"Whether LiteLLM starts is not known: it wanted to reach {_listed(refused)}, and then gave up"
        hint = "The check lets nothing out. See whether that can be reached from here, and start."
        severity, code = Severity.WARNING, "deep-not-checked"
    else:
        message, severity, code = "LiteLLM refuses to start", Severity.ERROR, "deep-not-loaded"
        hint = "Put right what it names; every replica would end like this."
    whole = f"{message}: {_plain(reason, redact)}{redact(where)}"
    if node is None:
        return Finding(severity, code, whole, hint, file=root.place.file)
    return finding_at(node, severity, code, whole, hint=hint, path=path)


def _suspected(told: Mapping[str, Any], reason: str, root: MapNode) -> tuple[Path_, Node | None]:
    """The place in the document that LiteLLM was busy with: told by it, else the longest text of both."""
    outside = [(path, scalar) for path, scalar in scalars(root) if path[0] != _MODELS]
    for path, scalar in outside:
        if told.get("value") and scalar.value == told["value"]:
            return path, scalar
    setting = told.get("setting")
    section = root.get("litellm_settings")
    if isinstance(setting, str) and isinstance(section, MapNode) and section.key(setting) is not None:
        return ("litellm_settings", setting), section.key(setting)
    named = [
        (len(text), path, scalar)
        for path, scalar in outside
        for text in (scalar.value, path[-1])
        if isinstance(text, str) and len(text) > 3 and re.search(rf"\b{re.escape(text)}\b", reason)
    ]
    if named:
        _, path, scalar = max(named, key=lambda found: found[0])
        return path, scalar
    return (), None


def _from_loading(loaded: Event, root: MapNode, redact: Callable[[str], str]) -> Iterator[Finding]:
    for text in loaded.get("errors") or []:
        message = f"LiteLLM starts, and logs an error: {_plain(text, redact)}"
        hint = "Every replica would log the same, and go on without what failed."
        path, node = _suspected({}, text, root)
        if node is None:
            yield Finding(Severity.WARNING, "deep-load-error", message, hint, file=root.place.file)
        else:
            yield finding_at(node, Severity.WARNING, "deep-load-error", message, hint=hint, path=path)
    if refused := loaded.get("refused"):
        message = f"While loading, LiteLLM wanted to reach {_listed(refused)}; the check lets nothing out."
        yield Finding(Severity.NOTE, "deep-nothing-sent", redact(message), file=root.place.file)


def _cut(plan: Plan, root: MapNode) -> Iterator[Finding]:
    if plan.cut:
        message = f"Not tried, because it could only be tried by reaching for it: {'; '.join(plan.cut)}."
        yield Finding(Severity.NOTE, "deep-cut", message, file=root.place.file)


def _judge_model(
    model: Model, told: Event | None, root: MapNode, run: Run, redact: Callable[[str], str]
) -> tuple[ModelVerdict, Finding | None]:
    def found(
        verdict: Verdict, code: str | None = None, message: str = "", hint: str = "", **facts: str
    ) -> tuple[ModelVerdict, Finding | None]:
        judged = ModelVerdict(model.index, name, verdict, mode, model.asked_for, **facts)
        if code is None:
            return judged, None
        node = _entry(root, model.index)
        return judged, finding_at(node, _SEVERITY[code], code, message, hint=hint, path=judged.path)

    mode = model.mode if told is None else told.get("mode")
    name = redact(model.name)
    if told is None:
        hint = (
            "Allow more time with --timeout."
            if run.timed_out
            else "The process ended early; see what it was asked last."
        )
        return found(Verdict.UNKNOWN, "deep-not-checked", f"{name} was not asked: no time was left for it.", hint)
    if "left_out" in told:
        reason = _plain(told["left_out"], redact) or "LiteLLM does not say why"
        hint = "LiteLLM would start without this model, and answer that it does not exist."
        message = f"LiteLLM leaves {name} out: {reason}"
        return found(Verdict.FAILED, "deep-model-left-out", message, hint, reason=reason)
    if told.get("skipped"):
        return found(Verdict.NOT_ASKED)
    sent = _provider_request(told.get("sent") or [])
    reason = _plain("; ".join(told.get("problems") or []) or _error_of(told.get("answer") or ""), redact)
    if sent is None and told.get("status") == 200:
        return found(Verdict.ITSELF)
    if sent is None:
        refused = [*(told.get("refused") or []), *(one["url"] for one in told.get("sent") or [])]
        if refused or told.get("status") == 0:
            wanted = f" It wanted to reach {_listed(refused)}." if refused else ""
            hint = "The check lets nothing out; litesup test asks the model itself, once the pool runs."
            message = redact(f"Whether {name} works is not known: {reason}{wanted}")
            return found(Verdict.UNKNOWN, "deep-not-checked", message, hint, reason=reason)
        hint = "Every request for this model would end like this, before a provider is asked."
        return found(Verdict.FAILED, "deep-model-failed", f"{name} fails in LiteLLM: {reason}", hint, reason=reason)
    request = redact(f"{sent['method']} {sent['url']}")
    if sent["credential"] == "reference":
        hint = "Write it as ${NAME} or os.environ/NAME and nothing else, and set the variable."
        message = f"{name} would send the text of a reference as its credential."
        return found(Verdict.FAILED, "deep-reference-sent", message, hint, request=request, reason=message)
    retried = str(told.get("retried") or "")
    if FAILURE not in retried and _PYTHONS_OWN.search(retried):
        reason = _plain(_error_of(retried), redact)
        hint = "Look at num_retries, timeouts and policies: a number in quotes, or from a variable, stays a text there."
        message = f"When the provider of {name} fails, so does LiteLLM, instead of trying again: {reason}"
        return found(Verdict.FAILED, "deep-retry-failed", message, hint, request=request, reason=reason)
    if sent["credential"] == "none" and _is_public(sent["url"]):
        hint = "Set api_key, or the provider's own variable, if it wants one."
        message = f"{name} would be asked for with no credential: {request}"
        return found(Verdict.SENT, "deep-no-credential", message, hint, request=request)
    return found(Verdict.SENT, request=request)


def _provider_request(sent: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The request for the model itself, among those for tokens and descriptions: the last whose API is known."""
    asked = [one for one in sent if one["dialect"] != TOKEN]
    posted = [one for one in asked if one["method"] == "POST"]
    known = [one for one in posted if one["dialect"] is not None]
    for chosen in (known, posted, asked):
        if chosen:
            return chosen[-1]
    return None


def _error_of(answer: str) -> str:
    try:
        document = json.loads(answer)
    except ValueError:
        return answer
    error = document.get("error", document) if isinstance(document, dict) else document
    return str(error.get("message") or error) if isinstance(error, dict) else str(error)


def _plain(reason: str, redact: Callable[[str], str]) -> str:
    """LiteLLM's own reason in one line, redacted before it is shortened."""
    text = " ".join(_NOISE.sub("", redact(reason)).split())
    text = _PREFIX.sub("", text) or text
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def _entry(root: MapNode, index: int) -> Node | None:
    models = root.get(_MODELS)
    if not isinstance(models, ListNode) or index >= len(models.items):
        return None
    entry = models.items[index]
    name = entry.get("model_name") if isinstance(entry, MapNode) else None
    return name if isinstance(name, Scalar) else entry


def _is_public(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_global
    except ValueError:
        return "." in host and not host.endswith((".internal", ".local", ".localhost", ".svc", ".lan"))


def _listed(addresses: list[str]) -> str:
    named = ", ".join(addresses[:_MOST])
    return named if len(addresses) <= _MOST else f"{named} and {len(addresses) - _MOST} more"
