"""Which variables the installed LiteLLM looks at while it is imported: what the fork server notes, held against its source.

A replica is forked from a fork server with another environment only where these agree. Another LiteLLM that reads the
environment in another way shows here.
"""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from supervisor.fleet.launch.basis import Basis
from supervisor.fleet.launch.forkserver import ForkServer
from supervisor.fleet.launch.plain import LITELLM
from tests.real_replica import ENVIRONMENT

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(180)]

# Imported by every proxy, whatever its configuration.
SOURCES = ("__init__.py", "constants.py", "_logging.py", "main.py", "router.py", "utils.py", "proxy/proxy_server.py")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def basis() -> AsyncIterator[Basis]:
    server = await ForkServer.start(LITELLM, ENVIRONMENT, deadline=90)
    yield server.basis
    await server.close()


async def test_nobody_unknown_goes_through_the_whole_environment(basis: Basis):
    """Otherwise every change of a variable would cost a fork server of its own, as it has to then."""
    assert not basis.everything


async def test_what_the_source_reads_at_module_level_was_seen(basis: Basis):
    unseen = {name: source for source in SOURCES for name in read_at_import(source) if name not in basis.names}
    assert not unseen
    assert sum(1 for source in SOURCES for _ in read_at_import(source)) > 200, "this test no longer finds them"


def read_at_import(source: str) -> Iterator[str]:
    """Names read by statements that importing the module executes unconditionally."""
    spec = importlib.util.find_spec("litellm")
    assert spec is not None
    assert spec.origin is not None
    tree = ast.parse((Path(spec.origin).parent / source).read_text(encoding="utf-8"))
    todo: list[ast.AST] = list(tree.body)
    while todo:
        node = todo.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            todo += [*node.decorator_list, *node.args.defaults, *(each for each in node.args.kw_defaults if each)]
            continue
        if isinstance(node, ast.Lambda | ast.If | ast.IfExp | ast.Try | ast.BoolOp):
            continue  # may or may not be executed
        if (name := read_by(node)) is not None:
            yield name
        todo += ast.iter_child_nodes(node)


def read_by(node: ast.AST) -> str | None:
    match node:
        case ast.Call(func=ast.Attribute(attr="getenv"), args=[ast.Constant(value=str(name)), *_]):
            return name
        case ast.Call(
            func=ast.Attribute(value=ast.Attribute(attr="environ"), attr="get"),
            args=[ast.Constant(value=str(name)), *_],
        ):
            return name
        case ast.Call(func=ast.Name(id="get_env_int"), args=[ast.Constant(value=str(name)), *_]):
            return name
        case ast.Subscript(value=ast.Attribute(attr="environ"), slice=ast.Constant(value=str(name))):
            return name
    return None


@pytest.mark.parametrize(
    "name",
    [
        "OPENAI_API_KEY",
        "AZURE_OPENAI_API_KEY",
        "AZURE_API_KEY",
        "AZURE_API_BASE",
        "AZURE_CLIENT_SECRET",
        "ANTHROPIC_API_KEY",
        "GEMINI_API_KEY",
        "MISTRAL_API_KEY",
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "LANGFUSE_SECRET_KEY",
        "REDIS_HOST",
        "REDIS_PASSWORD",
        "DATABASE_URL",
        "DISABLE_SCHEMA_UPDATE",
    ],
)
async def test_a_key_is_read_when_it_is_used_and_needs_no_fork_server_of_its_own(basis: Basis, name: str):
    assert basis.in_the_way({**ENVIRONMENT, name: "another"}) == ()


@pytest.mark.parametrize(
    "name",
    [
        "LITELLM_LOG",
        "LITELLM_MODE",
        "LITELLM_SALT_KEY",
        "DEFAULT_MAX_TOKENS",
        "REDIS_SOCKET_TIMEOUT",
        "SSL_VERIFY",
        "SSL_CERT_FILE",
        "HTTPS_PROXY",
        "no_proxy",
        "PYTHONPATH",
        "AZURE_OPENAI_ENDPOINT",
        "LITELLM_OTEL_V2",
        "DOCS_URL",
        "JSON_LOGS",
    ],
)
async def test_what_is_read_while_importing_needs_one(basis: Basis, name: str):
    assert basis.in_the_way({**ENVIRONMENT, name: "another"}) == (name,)
