"""The program that replicas run: LiteLLM's own command, served on a unix socket.

Executed by path, never imported by the daemon. See `replica_main` for what a program is.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib
import importlib.metadata
import importlib.util
import os
import secrets
import signal
import sys
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FrameType, GeneratorType
from typing import Any, NoReturn

HERE = Path(__file__).resolve().parent
MODULES_FILE = "LITESUP_MODULES_FILE"  # where a replica writes, when it leaves, what it imported after `load`

PROBED = "/health/liveliness"  # `fleet.probe`'s

TOKENIZERS = "LITESUP_TOKENIZERS"  # `litellm_config.environment`'s

SCHEMA_IS_CURRENT = "LITESUP_SCHEMA_IS_CURRENT"  # `litellm_config.environment`'s

_IMPORTED = ("litellm", "litellm.proxy.proxy_cli", "litellm.proxy.proxy_server", "uvicorn")
_DRAWN_AT_IMPORT: tuple[tuple[str, str, Callable[[], object]], ...] = (
    ("litellm.integrations.custom_guardrail", "_PRE_CALL_EXECUTED_TOKEN", lambda: secrets.token_hex(16)),
    ("openai.lib.bedrock", "_LEGACY_SIGNATURE_KEY", lambda: os.urandom(32)),
    ("opentelemetry.sdk.resources", "_service_instance_id", lambda: None),  # drawn again when it is asked for
)

_loaded: frozenset[str] = frozenset()


def load() -> None:
    """Imports LiteLLM; in the fork server this is done once, for all replicas."""
    importlib.import_module(_IMPORTED[0])
    _load_tokenizers()
    _let_go()  # what is freed now is used by all that is imported from here on
    for name in _IMPORTED:
        importlib.import_module(name)
    for name in modules_to_preload(importlib.metadata.version("litellm")):
        with contextlib.suppress(Exception):  # an extra may be missing; a replica imports what it needs
            importlib.import_module(name)
    with contextlib.suppress(Exception):  # a probe is answered either way
        _find_probes_first()
    _fill_caches()
    _reserve_for_forking()
    global _loaded  # noqa: PLW0603
    _loaded = frozenset(sys.modules)


def _find_probes_first() -> None:
    """A probe finds its route at once. Where LiteLLM has it, it comes behind 240 others, which are compared one by one:
    0.4 ms for every probe, and 3 MB in every replica, for each that is looked at is written to."""
    from fastapi import APIRouter
    from litellm.proxy import proxy_server
    from litellm.proxy.health_endpoints import _health_endpoints

    probed = [each for each in _health_endpoints.router.routes if getattr(each, "path", None) == PROBED]
    proxy_server.app.include_router(APIRouter(routes=probed), include_in_schema=False)
    routes = proxy_server.app.router.routes
    routes.insert(0, routes.pop())


def _fill_caches() -> None:
    """What a start or a first request would look up and keep: which guardrails understand which API, and that a
    generator is no mapping (click asks, and so does every one of the sixty kinds of mapping that are loaded)."""
    import litellm.llms

    with contextlib.suppress(Exception):
        litellm.llms.load_guardrail_translation_mappings()
    issubclass(GeneratorType, Mapping)


def _load_tokenizers() -> None:
    """The one that every request wants, and those that the models of the configuration need beside it."""
    import litellm

    text = "A tokenizer is made ready by its first use."
    with contextlib.suppress(Exception):
        litellm.token_counter(text=text)
    for name in filter(None, os.environ.get(TOKENIZERS, "").split(",")):
        with contextlib.suppress(Exception):
            sys.modules["tiktoken"].get_encoding(name).encode(text)


def _let_go() -> None:
    """What was read once and is only kept: the vocabulary, of which the tokenizer's native part has a copy (12 MB), and
    the text of another, parsed (11 MB). That nobody reads them any more is held by a test."""
    with contextlib.suppress(Exception):
        for encoding in sys.modules["tiktoken.registry"].ENCODINGS.values():
            encoding._mergeable_ranks = {}  # noqa: SLF001
    with contextlib.suppress(Exception):
        vars(sys.modules["litellm.utils"]).pop("json_data", None)


def modules_to_preload(version: str) -> list[str]:
    """What a served replica of this LiteLLM imports lazily; nothing where that is not known of this version."""
    known = HERE / "preload" / f"{version}.txt"
    if not known.is_file():
        return []
    return [line for line in known.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]


def _reserve_for_forking() -> None:
    with contextlib.suppress(ImportError, AttributeError):
        from litellm.rust_bridge.fork_guard import reserve_process_for_forking

        reserve_process_for_forking("litesup's fork server")


def rehearse() -> None:
    """In the fork server, after `load`: what a first request builds is built once, and shared by all replicas.

    Without it each replica has some 30 MB more of its own. Failing costs memory only, so it is left at that.
    """
    _install_warm_up()
    with contextlib.suppress(Exception):
        sys.modules["litesup_warmup"].rehearse()


def serve(arguments: list[str], socket_path: str) -> None:
    """Runs the command `litellm` with these arguments; raises SystemExit with its status."""
    import uvicorn
    from litellm.proxy import proxy_cli

    _own_identifiers()
    _install_warm_up()
    if os.environ.pop(SCHEMA_IS_CURRENT, None):
        _spare_the_comparison()
    if path := os.environ.pop(MODULES_FILE, None):
        atexit.register(_write_modules, Path(path))
    uvicorn_run = uvicorn.run

    def run_on_socket(app: Any, **options: Any) -> None:
        options.pop("host", None)
        options.pop("port", None)
        signal.signal(signal.SIGTERM, _leave)
        uvicorn_run(app, uds=socket_path, **options)

    uvicorn.run = run_on_socket
    proxy_cli.run_server.main(args=arguments, prog_name="litellm")


def _spare_the_comparison() -> None:
    """Told to leave the schema alone, LiteLLM has it compared: seconds, with the password on a command line."""
    with contextlib.suppress(ImportError):
        from litellm.proxy.db import check_migration

        check_migration.check_prisma_schema_diff = _compared


def _compared(db_url: str | None = None) -> None:
    """What would be found is known: there is nothing to do."""


def _own_identifiers() -> None:
    """What LiteLLM drew at import must not be the same in every replica.

    With one pod id for all, every replica would believe that it holds the lock of the pool's periodic jobs. That these
    are all of them is held by a test, which looks for others.
    """
    from litellm.proxy import proxy_server

    proxy_server.proxy_logging_obj.db_spend_update_writer.pod_lock_manager.pod_id = str(uuid.uuid4())
    for module, name, draw in _DRAWN_AT_IMPORT:
        if name in (names := vars(sys.modules[module]) if module in sys.modules else {}):
            names[name] = draw()


def _install_warm_up() -> None:
    """Makes LiteLLM find the hook that `command` names, wherever litesup itself is installed."""
    if "litesup_warmup" in sys.modules:
        return
    spec = importlib.util.spec_from_file_location("litesup_warmup", HERE / "warmup.py")
    if spec is None or spec.loader is None:
        raise ImportError("warmup.py is missing beside litellm_program.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    sys.modules["litesup_warmup"] = module


def _write_modules(path: Path) -> None:
    """The modules of site-packages that were imported after `load`, in the order of their import."""
    lines = [
        name
        for name, module in list(sys.modules.items())
        if name not in _loaded and "-packages" in (getattr(module, "__file__", None) or "")
    ]
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def _leave(number: int, frame: FrameType | None) -> NoReturn:
    """uvicorn, done with its graceful stop, raises SIGTERM again; by default that would skip the exit hooks."""
    sys.exit(0)
