"""Rules about the document's shape: sections, and the entries of `model_list`."""

from __future__ import annotations

from collections.abc import Iterator

from supervisor.errors import Severity
from supervisor.litellm_config.document import ListNode, MapNode, Scalar
from supervisor.litellm_config.lint.near import did_you_mean
from supervisor.litellm_config.lint.rule import Remark, Subject, rule

# What LiteLLM's loader reads at the top level; anything else it ignores without a word.
TOP_LEVEL = (
    "agent_list",
    "agents",
    "assistant_settings",
    "callback_settings",
    "credential_list",
    "default_vertex_config",
    "environment_variables",
    "files_settings",
    "finetune_settings",
    "general_settings",
    "guardrails",
    "include",
    "litellm_settings",
    "mcp_aliases",
    "mcp_servers",
    "mcp_tools",
    "model_list",
    "pass_through_endpoints",
    "policies",
    "policy_attachments",
    "prompts",
    "router_settings",
    "sandbox_tools",
    "search_tools",
    "vector_store_registry",
    "worker_registry",
)


@rule(
    "unknown-section",
    Severity.WARNING,
    "A top-level key that LiteLLM does not read.",
    example="modle_list: []\n",
    step="Correct the name, or move it under the section that it belongs to. x-NAME and _NAME are left alone.",
)
def unknown_section(subject: Subject) -> Iterator[Remark]:
    """LiteLLM ignores it without a word: with a misspelt `model_list` it starts with no model at all."""
    for entry in subject.root.entries:
        name = str(entry.key.value)
        if name in TOP_LEVEL or name.startswith(("x-", "_")):
            continue
        hint = did_you_mean(name, TOP_LEVEL) or "Move it under the section that it belongs to, or remove it."
        yield Remark(entry.key, f"LiteLLM ignores `{name}` at the top level.", hint, (name,))


@rule(
    "no-models",
    Severity.WARNING,
    "No model is configured.",
    example="litellm_settings: {drop_params: true}\n",
    step="Add `model_list:` with at least one entry.",
)
def no_models(subject: Subject) -> Iterator[Remark]:
    """LiteLLM starts, and refuses every request. Where models are kept in a database, this may be meant."""
    models = subject.root.get("model_list")
    if models is None or (isinstance(models, Scalar) and models.value is None):
        at = subject.root.key("model_list") or subject.root
        yield Remark(at, "There is no model: every request will be refused.", "Add `model_list:`.", ("model_list",))
    elif isinstance(models, ListNode) and not models.items:
        hint = "Add an entry with model_name and litellm_params."
        yield Remark(models, "The list of models is empty: every request will be refused.", hint, ("model_list",))


@rule(
    "model-entry",
    Severity.ERROR,
    "An entry of model_list is not complete.",
    example="model_list: [{model_name: gpt-4, litellm_params: {}}]\n",
    step="Each entry has model_name, and litellm_params with at least model: PROVIDER/NAME.",
)
def model_entry(subject: Subject) -> Iterator[Remark]:
    """LiteLLM refuses to start with it, or leaves the model out."""
    models = subject.root.get("model_list")
    for index, item in enumerate(models.items if isinstance(models, ListNode) else ()):
        path = ("model_list", index)
        if not isinstance(item, MapNode):
            yield Remark(item, "This entry is not a mapping.", "Write model_name and litellm_params below it.", path)
            continue
        if _absent(item, "model_name"):
            yield Remark(item, "This model has no model_name.", "Add the name that applications ask for.", path)
        params = item.get("litellm_params")
        if _absent(item, "litellm_params"):
            hint = "Add `litellm_params:` with at least `model: PROVIDER/NAME`."
            yield Remark(item, "This model has no litellm_params.", hint, path)
        elif isinstance(params, MapNode) and _absent(params, "model"):
            hint = "Add `model: PROVIDER/NAME`."
            yield Remark(params, "litellm_params names no model.", hint, (*path, "litellm_params"))


def _absent(node: MapNode, key: str) -> bool:
    value = node.get(key)
    return value is None or (isinstance(value, Scalar) and value.value in {None, ""})
