"""Rules about what a request's body could make LiteLLM do with the operator's keys.

LiteLLM refuses `api_base` and its like in a body, whoever asks, unless the configuration permits them. Where it does,
the deployment's own key is sent to wherever the body says; and a client without a key of its own gets that far too.
"""

from __future__ import annotations

from collections.abc import Iterator

from supervisor.errors import Severity
from supervisor.litellm_config.document import ListNode, MapNode, Scalar
from supervisor.litellm_config.lint.rule import Remark, Subject, rule

_ELSEWHERE = frozenset({"api_base", "base_url"})
_WHAT = "lets every client that may come without a key have the deployment's key sent to an address of its choice."


@rule(
    "client-side-credentials",
    Severity.WARNING,
    "A body may send a deployment's key elsewhere.",
    example="general_settings: {allow_client_side_credentials: true}\n",
    step="Remove it, or let nobody come without a key: `access: {trusted: []}` in litesup.yaml.",
)
def client_side_credentials(subject: Subject) -> Iterator[Remark]:
    """LiteLLM refuses `api_base` and its like in the body of a request unless this permits them. Where it does, the
    deployment's own key is sent to whatever address the body names."""
    hint = "Remove it; or let nobody come without a key: `access: {trusted: []}` in litesup.yaml."
    general = subject.section("general_settings")
    flag = general.get("allow_client_side_credentials") if general is not None else None
    if isinstance(flag, Scalar) and flag.value is True:
        yield Remark(flag, f"This {_WHAT}", hint, ("general_settings", "allow_client_side_credentials"))
    for index, model in subject.models():
        params = model.get("litellm_params")
        allowed = params.get("configurable_clientside_auth_params") if isinstance(params, MapNode) else None
        # An element that is a mapping holds a pattern for `api_base`: the operator has said which addresses are meant.
        items = allowed.items if isinstance(allowed, ListNode) else ()
        if any(isinstance(item, Scalar) and item.value in _ELSEWHERE for item in items):
            path = ("model_list", index, "litellm_params", "configurable_clientside_auth_params")
            yield Remark(allowed, f"This {_WHAT}", hint, path)
