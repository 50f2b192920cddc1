"""The lists of names hold what the installed LiteLLM knows, read from its source without importing it."""

import ast
import re
from pathlib import Path

import pytest

from supervisor.litellm_config import names
from supervisor.litellm_config.lint.routing import STRATEGIES
from supervisor.litellm_config.lint.services import CACHES, VAULTS
from supervisor.litellm_config.prices import litellm_package

PACKAGE = litellm_package()
assert PACKAGE is not None
# Parameters of the router that its configuration cannot set.
MANAGED = {
    "assistants_config",
    "auto_router_capability_limit",
    "fallback_access_check",
    "fallback_budget_check",
    "ignore_invalid_deployments",
    "model_list",
    "router_general_settings",
    "search_tools",
}


def tree(name: str) -> ast.Module:
    return ast.parse((PACKAGE or Path()).joinpath(name).read_text())


def class_of(module: ast.Module, name: str) -> ast.ClassDef:
    return next(node for node in ast.walk(module) if isinstance(node, ast.ClassDef) and node.name == name)


def fields(module: ast.Module, *classes: str) -> set[str]:
    return {
        item.target.id
        for name in classes
        for item in class_of(module, name).body
        if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name)
    }


def values(module: ast.Module, name: str) -> set[str]:
    """The values of an enumeration."""
    return {
        str(item.value.value)
        for item in class_of(module, name).body
        if isinstance(item, ast.Assign) and isinstance(item.value, ast.Constant)
    }


def arguments(module: ast.Module, name: str) -> set[str]:
    method = next(
        item for item in class_of(module, name).body if isinstance(item, ast.FunctionDef) and item.name == "__init__"
    )
    return {argument.arg for argument in method.args.args} - {"self"}


def module_variables() -> set[str]:
    """What `litellm_settings` can set: the variables of the package, without its lists of models."""
    found = set()
    for node in tree("__init__.py").body:
        targets = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        )
        found |= {target.id for target in targets if isinstance(target, ast.Name)}
    return {name for name in found if re.fullmatch(r"[a-z][a-z0-9_]*", name) and not name.endswith("_models")}


def asked_for(section: str) -> set[str]:
    """The keys that the proxy asks this section for, in the module that loads it."""
    text = (PACKAGE or Path()).joinpath("proxy/proxy_server.py").read_text()
    return set(re.findall(rf"\b{section}\.get\(\s*[\"'](\w+)[\"']", text))


@pytest.mark.parametrize(
    ("known", "installed"),
    [
        (
            names.GENERAL_SETTINGS,
            fields(tree("proxy/_types.py"), "ConfigGeneralSettings") | asked_for("general_settings"),
        ),
        (names.LITELLM_SETTINGS, module_variables() | asked_for("litellm_settings")),
        (names.ROUTER_SETTINGS, arguments(tree("router.py"), "Router") - MANAGED),
        (
            names.LITELLM_PARAMS,
            fields(tree("types/router.py"), "CredentialLiteLLMParams", "GenericLiteLLMParams", "LiteLLM_Params"),
        ),
        (
            names.MODEL_INFO,
            fields(tree("types/router.py"), "ModelInfo") - {"MAX_PTU_COUNT", "MAX_COST_PER_PTU_PER_HOUR"},
        ),
        (names.CACHE_PARAMS, arguments(tree("caching/caching.py"), "Cache")),
        (CACHES, values(tree("types/caching.py"), "LiteLLMCacheType")),
        (VAULTS, values(tree("types/secret_managers/main.py"), "KeyManagementSystem")),
        (STRATEGIES, values(tree("types/router.py"), "RoutingStrategy")),
    ],
    ids=["general", "litellm", "router", "params", "info", "cache", "caches", "vaults", "strategies"],
)
def test_no_name_of_the_installed_litellm_is_missing(known, installed):
    assert installed
    unpriced = {name for name in installed if "cost" not in name and not name.startswith(("_", "model_config"))}
    assert unpriced - known == set()
