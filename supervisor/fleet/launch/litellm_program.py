"""The program that replicas run: LiteLLM's own command, served on a unix socket.

Executed by path, never imported by the daemon. See `replica_main` for what a program is.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import uuid
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn


def load() -> None:
    """Imports LiteLLM; in the fork server this is done once, for all replicas."""
    import litellm
    import litellm.proxy.proxy_cli
    import litellm.proxy.proxy_server
    import uvicorn  # noqa: F401

    litellm.token_counter(model="gpt-4o", text="The tokenizer is loaded by its first use.")
    _reserve_for_forking()


def _reserve_for_forking() -> None:
    with contextlib.suppress(ImportError, AttributeError):
        from litellm.rust_bridge.fork_guard import reserve_process_for_forking

        reserve_process_for_forking("litesup's fork server")


def serve(arguments: list[str], socket_path: str) -> None:
    """Runs the command `litellm` with these arguments; raises SystemExit with its status."""
    import uvicorn
    from litellm.proxy import proxy_cli

    _own_identifiers()
    uvicorn_run = uvicorn.run

    def run_on_socket(app: Any, **options: Any) -> None:
        options.pop("host", None)
        options.pop("port", None)
        _leave_private_socket(socket_path)
        signal.signal(signal.SIGTERM, _leave)
        uvicorn_run(app, uds=socket_path, **options)

    uvicorn.run = run_on_socket
    proxy_cli.run_server.main(args=arguments, prog_name="litellm")


def _own_identifiers() -> None:
    """What LiteLLM drew at import must not be the same in every replica.

    With one pod id for all, every replica would believe that it holds the lock of the pool's periodic jobs.
    """
    from litellm.proxy import proxy_server

    proxy_server.proxy_logging_obj.db_spend_update_writer.pod_lock_manager.pod_id = str(uuid.uuid4())


def _leave_private_socket(path: str) -> None:
    """Leaves a socket file of mode 0600 that nobody listens on: uvicorn takes its mode for the one that it makes."""
    Path(path).unlink(missing_ok=True)
    before = os.umask(0o177)
    try:
        with socket.socket(socket.AF_UNIX) as stale:
            stale.bind(path)
    finally:
        os.umask(before)


def _leave(number: int, frame: FrameType | None) -> NoReturn:
    """uvicorn, done with its graceful stop, raises SIGTERM again; by default that would skip the exit hooks."""
    sys.exit(0)
