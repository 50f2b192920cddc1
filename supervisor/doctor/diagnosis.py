"""From what was seen to what is wrong and what to do next: the setup guide's troubleshooting, made precise. Pure."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass

from supervisor.doctor.address import url_of
from supervisor.doctor.deployments import Deployment
from supervisor.status import Status


class Failure(enum.Enum):
    """Why an attempt brought no HTTP response."""

    REFUSED = "refused"
    TIMEOUT = "timeout"
    UNREACHABLE = "unreachable"
    CUT = "cut"


class Verdict(enum.Enum):
    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Attempt:
    """One request and what came of it. `message` is the error's own text, redacted; `own` that litesup wrote it."""

    seconds: float
    status: int = 0
    failure: Failure | None = None
    message: str = ""
    own: bool = False


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the report, and the next steps where there are any."""

    name: str
    verdict: Verdict
    summary: str
    advice: tuple[str, ...] = ()
    said: str = ""  # what the other side said, in its own words


def judge_balancer(address: str, attempt: Attempt, status: Status | None, runtime_dir: str) -> Check:
    """Is it up: `GET /health` at `address`. `status` is what the daemon of `runtime_dir` says, if one answers."""
    name = "balancer"
    if attempt.failure is not None:
        listening = [url_of(other) for other in status.balancer.listening] if status else []
        elsewhere = listening if address not in listening else []
        advice = []
        if status is None:
            advice.append(f"No daemon answers in {runtime_dir} either. Start one with: litesup start")
            advice.append("If it runs as a service: systemctl status litesup; journalctl -u litesup -n 50")
        elif elsewhere:
            advice.append(f"The daemon (pid {status.daemon.pid}) listens on {', '.join(elsewhere)}: use that address.")
        else:
            advice.append(
                f"The daemon runs (pid {status.daemon.pid}, {status.daemon.condition.value}); see: litesup logs"
            )
        if attempt.failure in {Failure.TIMEOUT, Failure.UNREACHABLE}:
            advice.append("A firewall or network security group may drop the packets; try it on the machine itself.")
        return Check(name, Verdict.FAILED, f"{address} {_HOW[attempt.failure]}", tuple(advice), attempt.message)
    if attempt.status == 200:
        if status is not None and status.ready_replicas < status.wanted_replicas:
            few = f"{status.ready_replicas} of {status.wanted_replicas} replicas ready"
            return Check(name, Verdict.WARNING, f"{address} is up, with {few}", ("See why with: litesup status",))
        return Check(name, Verdict.OK, f"{address} is up")
    if attempt.status == 503:
        advice = ["No replica is ready. See why with: litesup status; litesup logs"]
        return Check(name, Verdict.FAILED, f"{address} is up, but cannot serve (503)", tuple(advice), attempt.message)
    foreign = f"Something else may listen there; which process: ss -ltnp 'sport = :{address.rpartition(':')[2]}'"
    return Check(name, Verdict.FAILED, f"{address}/health answered {attempt.status}", (foreign,), attempt.message)


def judge_model(model: str, attempt: Attempt, served_by: Sequence[Deployment]) -> Check:
    """Does a chat completion get through to the provider. `served_by` are the model's deployments."""
    name = f"model {model}"
    target = served_by[0] if served_by else None
    where = f" by {_names(served_by)}" if served_by else ""
    if attempt.status == 200:
        made_up = ", made up locally (mock_response)" if target and target.mocked else ""
        return Check(name, Verdict.OK, f"answered in {attempt.seconds:.1f} s{where}{made_up}")
    if attempt.failure is not None:
        advice = {
            Failure.TIMEOUT: _network_advice(target),
            Failure.REFUSED: ("The balancer went away during the test; see: litesup status",),
            Failure.UNREACHABLE: ("The balancer went away during the test; see: litesup status",),
            Failure.CUT: ("The connection ended without an answer; see: litesup logs",),
        }[attempt.failure]
        return Check(name, Verdict.FAILED, f"no answer within {attempt.seconds:.0f} s{where}", advice, attempt.message)
    if attempt.own:
        return Check(name, Verdict.FAILED, f"litesup answered {attempt.status}", _own_advice(attempt), attempt.message)
    summary, advice = _answered(attempt, target)
    return Check(name, Verdict.FAILED, f"{summary} ({attempt.status}){where}", advice, attempt.message)


def _answered(attempt: Attempt, target: Deployment | None) -> tuple[str, tuple[str, ...]]:
    """What a status of the provider's means, and the next steps."""
    said = attempt.message.lower()
    match attempt.status:
        case 401:
            return "the provider does not accept the key", _key_advice(target)
        case 403:
            network = ("virtual network", "firewall", "public access", "private endpoint", "traffic is not from")
            if any(word in said for word in network):
                return "the provider refuses this network", _private_endpoint_advice(target)
            return "the provider forbids it", (*_key_advice(target), *_private_endpoint_advice(target))
        case 404:
            return "the provider does not know the model", _missing_advice(target)
        case 429:
            return "the provider's limit is reached", (
                "Wait, and try again; or raise the deployment's tokens-per-minute quota.",
                "A second deployment under the same model_name, or a fallback, takes over while this one is limited.",
            )
        case 408 | 504:
            return "the provider did not answer in time", _network_advice(target)
        case status if _no_connection(said):
            return "the provider cannot be reached", _network_advice(target)
        case status if status >= 500:
            return "the provider, or LiteLLM, failed", (
                "See what LiteLLM says with: litesup logs",
                "Check the provider's own status page, and try again.",
            )
        case _:
            return "the request was refused", ("See what LiteLLM says with: litesup logs",)


def _no_connection(said: str) -> bool:
    return any(
        word in said for word in ("connection error", "cannot connect", "name or service not known", "apiconnection")
    )


def _key_advice(target: Deployment | None) -> tuple[str, ...]:
    if target is None or not target.key_variable:
        first = "Check the key of this model in the configuration; better, move it to a variable."
    else:
        first = f"Check that {target.key_variable} is set to a key of {target.where}, where litesup runs."
    changed = "After a change of the environment, restart litesup; a change of .env is read by: litesup reload"
    expired = "If it is set, it may have expired or been regenerated: copy it anew from the provider's portal."
    resource = (
        (f"A key belongs to one resource: it has to be one of {target.host}, which serves {target.model}.",)
        if target is not None and target.provider == "azure" and target.host
        else ()
    )
    return (first, expired, *resource, changed)


def _missing_advice(target: Deployment | None) -> tuple[str, ...]:
    if target is None:
        return ("The configuration has no such model; the ones that it has: litesup test without --model",)
    if target.provider != "azure":
        return (f"Check that {target.where} offers {target.model}, and that the key may use it.",)
    return (
        f"Check that {target.where} has a deployment of exactly this name: {target.model}.",
        "In Azure it is the deployment's name that counts, not the model's.",
        f"Check that the deployment can be used with api_version {target.api_version or '(none is set)'}.",
        "A deployment that was made a moment ago needs a few minutes.",
    )


def _private_endpoint_advice(target: Deployment | None) -> tuple[str, ...]:
    where = target.where if target else "the resource"
    return (
        f"{where} may accept private endpoints only: run litesup in its VNet, or in one that is peered with it.",
        f"Here the name has to resolve to a private address: getent hosts {where}",
    )


def _network_advice(target: Deployment | None) -> tuple[str, ...]:
    host = target.host if target and target.host else "HOST"
    return (
        f"Does the name resolve, with a private endpoint to a private address? getent hosts {host}",
        f"Does the network let it through? curl -sv -m 5 https://{host}/ -o /dev/null",
        "If not: check VNet peering, the network security groups' outbound rule for 443, and the private DNS zone.",
    )


def _own_advice(attempt: Attempt) -> tuple[str, ...]:
    match attempt.status:
        case 401 | 403:
            return (
                "Clients without a key are served from access.trusted addresses only (loopback by default).",
                "Add this client's network there, or send a key: litesup key",
            )
        case 503:
            return ("No replica is ready. See why with: litesup status; litesup logs",)
        case 502 | 504:
            return ("A replica took the request and did not answer; see: litesup logs",)
        case _:
            return ("See: litesup logs",)


_HOW = {
    Failure.REFUSED: "refuses connections: nothing listens there",
    Failure.TIMEOUT: "does not answer in time",
    Failure.UNREACHABLE: "cannot be reached",
    Failure.CUT: "ended the connection without an answer",
}


def _names(served_by: Sequence[Deployment]) -> str:
    shown = sorted({f"{one.provider}/{one.model}" + (f" at {one.host}" if one.host else "") for one in served_by})
    return " or ".join(shown[:3]) + (" …" if len(shown) > 3 else "")
