"""What LiteLLM expects where: the few fields whose type matters enough to look at.

A table, read by the expansion (which number a reference becomes) and by the lint rules. Not a schema of LiteLLM's
configuration: what is not named here is passed on as written.
"""

from __future__ import annotations

import enum

from supervisor.litellm_config.document import Path_


class Kind(enum.Enum):
    """NUMBER: a text breaks it. COERCED: a text that reads as a number is turned into one. The others say it."""

    NUMBER = "a number"
    COERCED = "a number, perhaps as text"
    TEXT = "a text"
    FLAG = "true or false"
    MAP = "a mapping"
    LIST = "a list"


_NUMBER, _COERCED, _TEXT, _FLAG, _MAP, _LIST = Kind

_PER_ERROR = dict.fromkeys(
    (
        "BadRequestErrorRetries",
        "AuthenticationErrorRetries",
        "TimeoutErrorRetries",
        "RateLimitErrorRetries",
        "ContentPolicyViolationErrorRetries",
        "InternalServerErrorRetries",
    ),
    _COERCED,
)

# `*` stands for every element of a list.
_TABLE: dict[tuple[str, ...], dict[str, Kind]] = {
    (): {
        "model_list": _LIST,
        "litellm_settings": _MAP,
        "general_settings": _MAP,
        "router_settings": _MAP,
        "environment_variables": _MAP,
        "guardrails": _LIST,
    },
    ("model_list", "*"): {"model_name": _TEXT, "litellm_params": _MAP, "model_info": _MAP},
    ("model_list", "*", "litellm_params"): {
        "model": _TEXT,
        "api_base": _TEXT,
        "api_key": _TEXT,
        "api_version": _TEXT,
        "custom_llm_provider": _TEXT,
        "num_retries": _NUMBER,
        "max_retries": _COERCED,
        "rpm": _COERCED,
        "tpm": _COERCED,
        "timeout": _COERCED,
        "stream_timeout": _COERCED,
        "max_budget": _COERCED,
        "itpm": _COERCED,
        "otpm": _COERCED,
        "max_parallel_requests": _NUMBER,
        "weight": _NUMBER,
        "order": _COERCED,
        "tags": _LIST,
    },
    ("router_settings",): {
        "num_retries": _NUMBER,
        "timeout": _NUMBER,
        "stream_timeout": _NUMBER,
        "allowed_fails": _NUMBER,
        "cooldown_time": _NUMBER,
        "retry_after": _NUMBER,
        "max_fallbacks": _NUMBER,
        "default_max_parallel_requests": _NUMBER,
        "fallbacks": _LIST,
        "routing_strategy": _TEXT,
        "model_group_alias": _MAP,
        "retry_policy": _MAP,
        "allowed_fails_policy": _MAP,
    },
    ("router_settings", "retry_policy"): _PER_ERROR,
    ("router_settings", "allowed_fails_policy"): {
        name.replace("Retries", "AllowedFails"): _NUMBER for name in _PER_ERROR
    },
    ("litellm_settings",): {
        "num_retries": _NUMBER,
        "request_timeout": _NUMBER,
        "max_budget": _COERCED,
        "drop_params": _FLAG,
        "set_verbose": _FLAG,
        "cache": _FLAG,
        "cache_params": _MAP,
        "fallbacks": _LIST,
        "default_team_settings": _LIST,
    },
    ("general_settings",): {
        "master_key": _TEXT,
        "database_url": _TEXT,
        "max_parallel_requests": _NUMBER,
        "global_max_parallel_requests": _NUMBER,
        "health_check_interval": _COERCED,
        "proxy_batch_write_at": _COERCED,
        "proxy_budget_rescheduler_min_time": _COERCED,
        "proxy_budget_rescheduler_max_time": _COERCED,
        "pass_through_endpoints": _LIST,
    },
}


def kind_of(path: Path_) -> Kind | None:
    """The kind of the value at `path`, where it is known."""
    if not path or isinstance(path[-1], int):
        return None
    section = tuple("*" if isinstance(step, int) else step for step in path[:-1])
    return _TABLE.get(section, {}).get(path[-1])
