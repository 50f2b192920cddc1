"""What of a configuration is loaded for the check, what is cut, and which models are asked. Pure.

Loaded is what a replica would load. Cut is what could only be tried by reaching for it (databases, caches, key
vaults, alerts, background checks): the sealed process could not, and its failing would be the check's own fault.
"""

from __future__ import annotations

import copy
import dataclasses
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from supervisor.deep_check.wildcards import ASTERISK, deployment_for

_OS_ENVIRON = "os.environ/"
_PLACEHOLDER = "sk-litesup-check-placeholder"
_IDENTIFIER = "litesup-check-"

_CUT_SETTINGS: Mapping[str, tuple[tuple[str, ...], str]] = {
    "litellm_settings": (
        (r"cache", r"cache_params", r"coordination_redis", r"enable_redis_.*"),
        "the response cache",
    ),
    "router_settings": ((r"redis_.*", r"cache_responses", r"cache_kwargs"), "the router's Redis"),
    "general_settings": (
        (
            r"database_.*",
            r"store_.*_in_db",
            r"use_redis_.*",
            r"key_management_s.*",
            r"alert.*",
            r"background_health_checks",
            r"enable_health_check_routing",
            r"use_shared_health_check",
            r"coordination_redis",
            r"tracing",
        ),
        "database, key vault, alerts and background checks",
    ),
}
_CUT_OF_A_MODEL = re.compile(
    r"(success_|failure_)?callbacks?|guardrails|logger_fn|prompt_id|(langfuse|langsmith|arize|slack)_.*"
)
_CUT_VARIABLES = re.compile(
    r"DATABASE_.*|DIRECT_URL|REDIS_.*|IAM_TOKEN_DB_AUTH|AZURE_POSTGRESQL_AUTH|USE_AWS_KMS|USE_DDTRACE|DD_.*"
    r"|LITELLM_PGBOUNCER_.*|LITELLM_ENABLE_PYROSCOPE|STORE_MODEL_IN_DB"
)
_ROUTES_ONLY = ("auto_router/",)


@dataclass(frozen=True, slots=True)
class Model:
    """One entry of `model_list`."""

    index: int  # in the operator's list
    name: str
    id: str  # of its deployment in the sealed LiteLLM
    asked_by: str  # the name that brings a request to it and to no other
    mode: str | None  # None: LiteLLM's own list is to say
    asked_for: str = ""  # what a wildcard is taken for


@dataclass(frozen=True, slots=True)
class Plan:
    text: str = field(repr=False)  # what the sealed LiteLLM reads
    environment: Mapping[str, str] = field(repr=False)
    models: tuple[Model, ...]
    unasked: tuple[Model, ...]  # what only chooses among others
    cut: tuple[str, ...]  # in an operator's words


def plan(text: str, environment: Mapping[str, str]) -> Plan:
    """The check of a rendered configuration with the environment of its replicas."""
    document = copy.deepcopy(yaml.safe_load(text)) or {}
    vault = "key_management_system" in _section(document, "general_settings")
    cut = []
    for name, (patterns, words) in _CUT_SETTINGS.items():
        removed = _cut(_section(document, name), re.compile("|".join(patterns)))
        cut += [f"{words} ({name}: {', '.join(removed)})"] if removed else []
    kept = {name: value for name, value in environment.items() if not _CUT_VARIABLES.fullmatch(name)}
    removed = sorted(environment.keys() - kept.keys())
    cut += [f"databases and tracers of the environment ({', '.join(removed)})"] if removed else []
    if vault:
        kept |= {name: _PLACEHOLDER for name in _references(document) if not kept.get(name)}
    models, unasked = _models(document)
    if isinstance(document.get("general_settings"), dict) or document.get("general_settings") is None:
        # It would ask the providers what models they have.
        document["general_settings"] = {**(document.get("general_settings") or {}), "disable_model_info_refresh": True}
    body = yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=1_000_000)
    return Plan(body, kept, tuple(models), tuple(unasked), tuple(cut))


def _section(document: Any, name: str) -> dict[str, Any]:
    section = document.get(name) if isinstance(document, dict) else None
    return section if isinstance(section, dict) else {}


def _cut(section: dict[str, Any], pattern: re.Pattern[str]) -> list[str]:
    names = [name for name in section if isinstance(name, str) and pattern.fullmatch(name)]
    for name in names:
        del section[name]
    return names


def _references(value: Any) -> set[str]:
    if isinstance(value, str):
        return {value.removeprefix(_OS_ENVIRON)} if value.startswith(_OS_ENVIRON) else set()
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return {name for one in inner for name in _references(one)}


def _models(document: dict[str, Any]) -> tuple[list[Model], list[Model]]:
    """Gives each entry an identifier, and a name by which LiteLLM is asked for it and no other.

    That is its own name where nothing shares it. Otherwise it gets a twin, alone in a group of its own; a wildcard's
    twin is for a plausible model, because a provider cannot be asked for an asterisk.
    """
    asked: list[Model] = []
    unasked: list[Model] = []
    listed = document.get("model_list")
    if not isinstance(listed, list):
        return asked, unasked
    names = Counter(str(entry.get("model_name")) for entry in listed if isinstance(entry, dict))
    twins: list[dict[str, Any]] = []
    for index, entry in enumerate(listed):
        params = entry.get("litellm_params") if isinstance(entry, dict) else None
        if not isinstance(params, dict) or not isinstance(entry.get("model_info") or {}, dict):
            continue  # LiteLLM will say what it thinks of that
        _cut(params, _CUT_OF_A_MODEL)
        name, model = str(entry.get("model_name")), str(params.get("model"))
        info = entry.get("model_info") or {}
        identifier = f"{_IDENTIFIER}{index}"
        entry["model_info"] = {**info, "id": identifier}
        known = Model(index, name, identifier, name, _mode(info))
        if model.startswith(_ROUTES_ONLY):
            unasked.append(known)
            continue
        if "team_id" in info:  # its name is known to a team only
            known = dataclasses.replace(known, asked_by=identifier)
        elif names[name] > 1 or "," in name or ASTERISK in name or ASTERISK in model:
            taken_for = deployment_for(name, model)
            twin = copy.deepcopy(entry)
            twin["model_name"] = twin["model_info"]["id"] = f"{identifier}-twin"
            twin["litellm_params"]["model"] = taken_for
            twins.append(twin)
            known = dataclasses.replace(
                known, asked_by=twin["model_name"], asked_for="" if taken_for == model else taken_for
            )
        asked.append(known)
    listed += twins
    return asked, unasked


def _mode(info: Mapping[str, Any]) -> str | None:
    mode = info.get("mode")
    return mode if isinstance(mode, str) and mode else None
