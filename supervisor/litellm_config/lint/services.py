"""Rules about what stands beside the models: caches, callbacks, credentials, MCP servers, guardrails, a licence."""

from __future__ import annotations

from collections.abc import Iterator

from supervisor.errors import Severity
from supervisor.litellm_config.document import ListNode, MapNode, Scalar
from supervisor.litellm_config.lint.near import nearest
from supervisor.litellm_config.lint.rule import Remark, Subject, items_of, rule
from supervisor.litellm_config.names import CALLBACKS

# `LiteLLMCacheType`.
CACHES = frozenset(
    {"local", "redis", "redis-semantic", "valkey-semantic", "s3", "disk", "qdrant-semantic", "azure-blob", "gcs"}
)
# `KeyManagementSystem`.
VAULTS = frozenset(
    {
        "aws_kms",
        "aws_secret_manager",
        "azure_key_vault",
        "custom",
        "cyberark",
        "google_kms",
        "google_secret_manager",
        "hashicorp_vault",
        "local",
    }
)
_REDIS_TARGETS = ("host", "url", "startup_nodes", "redis_startup_nodes", "sentinel_nodes")
_REDIS_VARIABLES = ("REDIS_HOST", "REDIS_URL", "REDIS_CLUSTER_NODES", "REDIS_SENTINEL_NODES")
_LISTED_CALLBACKS = ("success_callback", "failure_callback", "audit_log_callbacks")
# What LiteLLM refuses to start with without a licence.
_LICENSED = ("allowed_ips", "enforced_params")
_TRANSPORTS = frozenset({"http", "sse", "stdio"})


@rule(
    "cache-type",
    Severity.ERROR,
    "A cache type that LiteLLM does not have.",
    example="litellm_settings: {cache: true, cache_params: {type: memory}}\n",
    step="Use redis, or local for one cache per replica.",
)
def cache_type(subject: Subject) -> Iterator[Remark]:
    """LiteLLM refuses to start with it."""
    params = subject.section("litellm_settings", "cache_params")
    kind = subject.text(params, "type")
    if params is not None and kind and kind not in CACHES and _caches(subject):
        near = nearest(kind, CACHES)
        hint = f"Did you mean `{near}`?" if near else f"It has: {', '.join(sorted(CACHES))}."
        path = ("litellm_settings", "cache_params", "type")
        yield Remark(params.get("type"), f"LiteLLM has no cache of type `{kind}`.", hint, path)


@rule(
    "redis-without-host",
    Severity.ERROR,
    "A Redis that nobody says the address of.",
    example="litellm_settings: {cache: true, cache_params: {type: redis, ttl: 600}}\n",
    step="Give host and port (or url) beside it, or set REDIS_HOST and REDIS_PORT.",
)
def redis_without_host(subject: Subject) -> Iterator[Remark]:
    """LiteLLM refuses to start. `cache: true` alone means Redis."""
    if any(subject.environ.get(name) for name in _REDIS_VARIABLES) or subject.has_vault:
        return
    params = subject.section("litellm_settings", "cache_params")
    if _caches(subject) and subject.text(params, "type") in {"", "redis"} and not _names_target(params):
        at = params or subject.setting("litellm_settings", "cache")
        message = "The cache is a Redis, and nothing says where it is."
        hint = "Add `host` and `port` under `cache_params`, or set REDIS_HOST; or use `type: local`."
        yield Remark(at, message, hint, ("litellm_settings", "cache_params"))
    coordination = subject.section("general_settings", "coordination_redis")
    if coordination is not None and not _names_target(coordination):
        message = "Nothing says where this Redis is."
        yield Remark(coordination, message, "Add `host` or `url`.", ("general_settings", "coordination_redis"))


def _caches(subject: Subject) -> bool:
    return subject.resolved(subject.setting("litellm_settings", "cache")) is True


def _names_target(params: MapNode | None) -> bool:
    return params is not None and any(params.get(name) is not None for name in _REDIS_TARGETS)


@rule(
    "callback-form",
    Severity.WARNING,
    "Callbacks that are not written as LiteLLM reads them.",
    example="litellm_settings: {success_callback: langfuse}\n",
    step="Write a list: success_callback: [langfuse].",
)
def callback_form(subject: Subject) -> Iterator[Remark]:
    """From a single word LiteLLM makes a callback of each of its letters, and none of them does anything. With
    `callbacks` it looks for a Python module of that name, and refuses to start."""
    for name in _LISTED_CALLBACKS:
        node = subject.setting("litellm_settings", name)
        if isinstance(node, Scalar) and isinstance(node.value, str):
            message = f"`{name}` is a list; of a single word LiteLLM takes every letter for a callback."
            yield Remark(node, message, f"Write `{name}: [{node.value}]`.", ("litellm_settings", name))
    node = subject.setting("litellm_settings", "callbacks")
    if isinstance(node, Scalar) and isinstance(node.value, str) and "." not in node.value:
        message = "`callbacks` is a list, or the name of an object in a module of your own."
        hint = f"Write `callbacks: [{node.value}]`."
        yield Remark(node, message, hint, ("litellm_settings", "callbacks"), Severity.ERROR)


@rule(
    "unknown-callback",
    Severity.WARNING,
    "A callback whose name looks like a misspelling.",
    example="litellm_settings: {success_callback: [langfsue]}\n",
    step="Correct the name.",
)
def unknown_callback(subject: Subject) -> Iterator[Remark]:
    """LiteLLM calls nobody for a name that it does not know, and does not say so: the calls are not logged
    anywhere."""
    for name in (*_LISTED_CALLBACKS, "callbacks"):
        for index, node in enumerate(items_of(subject.setting("litellm_settings", name))):
            given = subject.resolved(node)
            if isinstance(given, str) and "." not in given and given not in CALLBACKS:
                near = nearest(given, CALLBACKS)
                if near is not None:
                    path = ("litellm_settings", name, index)
                    yield Remark(node, f"LiteLLM has no callback `{given}`.", f"Did you mean `{near}`?", path)


@rule(
    "credential-entry",
    Severity.ERROR,
    "An entry of credential_list that is not complete.",
    example="credential_list: [{credential_name: azure, credential_values: {api_key: os.environ/KEY}}]\n",
    step="Each entry has credential_name, credential_values and credential_info (which may be {}).",
)
def credential_entry(subject: Subject) -> Iterator[Remark]:
    """LiteLLM refuses to start with it."""
    for index, item in enumerate(items_of(subject.root.get("credential_list"))):
        missing = [
            name
            for name in ("credential_name", "credential_values", "credential_info")
            if not isinstance(item, MapNode) or item.get(name) is None
        ]
        if missing:
            message = f"This credential has no {' and no '.join(missing)}, so LiteLLM refuses to start."
            hint = "Add `credential_info: {}`." if missing == ["credential_info"] else "Add what is missing."
            yield Remark(item, message, hint, ("credential_list", index))


@rule(
    "database-missing",
    Severity.WARNING,
    "A setting that needs a database, and none is configured.",
    example="general_settings: {store_model_in_db: true}\n",
    step="Set DATABASE_URL, or remove the setting.",
)
def database_missing(subject: Subject) -> Iterator[Remark]:
    """Models that are added at run time, and prompts in spend logs, are kept in a database. Without one nothing is
    kept."""
    if subject.has_database or subject.has_vault:
        return
    for name in ("store_model_in_db", "store_prompts_in_spend_logs"):
        node = subject.setting("general_settings", name)
        if subject.resolved(node) is True:
            message = f"`{name}` needs a database, and none is configured."
            yield Remark(node, message, "Set DATABASE_URL, or remove the line.", ("general_settings", name))


@rule(
    "license-missing",
    Severity.ERROR,
    "A setting that LiteLLM refuses to start with without a licence.",
    example="general_settings: {allowed_ips: [10.0.0.1]}\n",
    step="Set LITELLM_LICENSE; for allowed_ips use litesup's own access.allow instead.",
)
def license_missing(subject: Subject) -> Iterator[Remark]:
    """Some settings are for LiteLLM's paying users, and without a licence it does not start with them."""
    if subject.environ.get("LITELLM_LICENSE") or subject.has_vault:
        return
    if subject.setting("general_settings", "litellm_license") is not None:
        return
    for name in _LICENSED:
        node = subject.setting("general_settings", name)
        if node is not None:
            message = f"LiteLLM refuses to start with `{name}` without a licence."
            own = name == "allowed_ips"
            hint = "Remove it, and list the networks in litesup.yaml: `access: {allow: […]}`." if own else "Remove it."
            yield Remark(node, message, hint, ("general_settings", name))


@rule(
    "mcp-server",
    Severity.ERROR,
    "An MCP server that LiteLLM does not accept.",
    example="mcp_servers: {my-tools: {url: 'http://127.0.0.1:1/mcp', transport: http}}\n",
    step="Use letters, digits and _ in its name, and http, sse or stdio as transport.",
)
def mcp_server(subject: Subject) -> Iterator[Remark]:
    """LiteLLM refuses to start with a `-` in the name, because it puts one between the server's name and a tool's,
    and with a transport that it does not have."""
    servers = subject.section("mcp_servers")
    for entry in servers.entries if servers is not None else ():
        name = str(entry.key.value)
        if "-" in name and not subject.environ.get("MCP_TOOL_PREFIX_SEPARATOR"):
            hint = f"Call it `{name.replace('-', '_')}`."
            message = f"LiteLLM refuses to start with a server called `{name}`: there may be no - in it."
            yield Remark(entry.key, message, hint, ("mcp_servers", name))
        transport = subject.text(entry.value, "transport") if isinstance(entry.value, MapNode) else ""
        if transport and transport not in _TRANSPORTS and isinstance(entry.value, MapNode):
            message = f"LiteLLM has no transport `{transport}`."
            path = ("mcp_servers", name, "transport")
            yield Remark(entry.value.get("transport"), message, "It has: http, sse, stdio.", path)


@rule(
    "key-management",
    Severity.ERROR,
    "A key_management_system that LiteLLM does not have.",
    example="general_settings: {key_management_system: azure_vault}\n",
    step="Use one that it has, as azure_key_vault.",
)
def key_management(subject: Subject) -> Iterator[Remark]:
    """LiteLLM refuses to start with it."""
    node = subject.setting("general_settings", "key_management_system")
    value = subject.resolved(node)
    if isinstance(value, str) and value not in VAULTS:
        near = nearest(value, VAULTS)
        hint = f"Did you mean `{near}`?" if near else f"It has: {', '.join(sorted(VAULTS))}."
        path = ("general_settings", "key_management_system")
        yield Remark(node, f"LiteLLM has no key management `{value}`.", hint, path)


@rule(
    "guardrail-entry",
    Severity.WARNING,
    "A guardrail that LiteLLM leaves out.",
    example="guardrails: [{guardrail_name: pii, litellm_params: {mode: pre_call}}]\n",
    step="Give each guardrail_name, and litellm_params with guardrail and mode.",
)
def guardrail_entry(subject: Subject) -> Iterator[Remark]:
    """LiteLLM starts without a guardrail that it cannot make sense of: requests pass unguarded."""
    node = subject.root.get("guardrails")
    for index, item in enumerate(node.items if isinstance(node, ListNode) else ()):
        params = item.get("litellm_params") if isinstance(item, MapNode) else None
        missing = [] if isinstance(item, MapNode) and item.get("guardrail_name") is not None else ["guardrail_name"]
        missing += [
            f"litellm_params.{name}"
            for name in ("guardrail", "mode")
            if not isinstance(params, MapNode) or params.get(name) is None
        ]
        if missing:
            message = f"This guardrail has no {' and no '.join(missing)}."
            yield Remark(item, message, "Add it; as it stands, requests pass unguarded.", ("guardrails", index))
