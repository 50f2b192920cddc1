"""Runs in the sealed process: LiteLLM starts as in a replica, is asked once per model, and says what happened.

Executed by path, never imported by litesup. The way in is LiteLLM's own command and its application's own start-up, as
in `litellm_program.serve`; only in place of the server there is this check. What the models are comes on stdin, what
happened goes line by line, as JSON, to the descriptor given; LiteLLM's own output goes where it always goes.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib
import importlib.metadata
import importlib.util
import json
import logging
import os
import platform
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

HERE = Path(__file__).resolve().parent
_LAUNCH = HERE.parent / "fleet" / "launch"
_IMPORTED = ("litellm", "litellm.proxy.proxy_cli", "litellm.proxy.proxy_server", "uvicorn")
_QUESTION_DEADLINE = 15.0  # seconds for one model
_LONGEST = 4000  # characters of a reason
_MOST_ERRORS = 20
_LOGGERS = ("LiteLLM", "LiteLLM Proxy", "LiteLLM Router")
_REPORTED_APART = "Error creating deployment"
_CALLBACKS = (
    "callbacks",
    "input_callback",
    "success_callback",
    "failure_callback",
    "service_callback",
    "audit_log_callbacks",
    "_async_input_callback",
    "_async_success_callback",
    "_async_failure_callback",
    "pre_call_rules",
    "post_call_rules",
)


def _load_file(path: Path, name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


class Reports:
    """The way back to the command that started this process."""

    def __init__(self, descriptor: int) -> None:
        os.set_inheritable(descriptor, False)
        self._stream = os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace")

    def say(self, event: str, **facts: Any) -> None:
        self._stream.write(json.dumps({"event": event, **facts}, default=str) + "\n")
        self._stream.flush()


class Errors(logging.Handler):
    """What LiteLLM logs as an error while it starts, and then goes on without."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        with contextlib.suppress(Exception):  # a log line must not end what wrote it
            text = record.getMessage()[:_LONGEST]
            if len(self.texts) < _MOST_ERRORS and text not in self.texts and _REPORTED_APART not in text:
                self.texts.append(text)


class Check:
    def __init__(self, order: dict[str, Any], reports: Reports, wire: Any, asking: ModuleType) -> None:
        self._order = order
        self._reports = reports
        self._wire = wire
        self._asking = asking
        self._errors = Errors()
        # As shipped: a model's own `mode` is entered there for all of that name when the configuration is loaded.
        listed = sys.modules["litellm"].model_cost
        self._modes = {name: str(facts["mode"]) for name, facts in listed.items() if facts.get("mode")}

    def run(self) -> None:
        """Starts LiteLLM by its own command. Raises what the command raises."""
        for name in _LOGGERS:
            logging.getLogger(name).addHandler(self._errors)
        import uvicorn

        uvicorn.run = lambda app, **options: asyncio.run(self._started())
        command = sys.modules["litellm.proxy.proxy_cli"].run_server
        command.main(args=self._order["arguments"], prog_name="litellm", standalone_mode=False)

    async def _started(self) -> None:
        app = sys.modules["litellm.proxy.proxy_server"].app
        async with app.router.lifespan_context(app) as state:
            self._reports.say("loaded", refused=self._wire.otherwise.refused, errors=self._errors.texts)
            _silence()
            await self._ask_all(app, dict(state or {}))
            self._reports.say("done", refused=self._wire.otherwise.refused)
            os._exit(0)  # nothing here has anything to write down, and its shutdown would wait for what is not there

    async def _ask_all(self, app: Any, state: dict[str, Any]) -> None:
        import httpx

        async def with_state(scope: Any, receive: Any, send: Any) -> None:
            scope["state"] = dict(state)
            await app(scope, receive, send)

        transport = httpx.ASGITransport(app=with_state, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://litesup-check", trust_env=False) as client:
            for model in self._order["models"]:
                self._reports.say("asking", index=model["index"])
                facts = await self._ask(client, model)
                self._reports.say("asked", index=model["index"], **facts)

    async def _ask(self, client: Any, model: dict[str, Any]) -> dict[str, Any]:
        router = sys.modules["litellm.proxy.proxy_server"].llm_router
        deployment = None if router is None else router.get_deployment(model_id=model["id"])
        if deployment is None:
            return {"left_out": _why_left_out(model["id"])}
        mode = model["mode"] or _mode_of(deployment, self._modes) or self._asking.DEFAULT
        question = self._asking.question(mode, model["asked_by"])
        if question is None:
            return {"mode": mode, "skipped": True}
        retried = ""
        with self._wire.asking() as asked:
            status, answer = await _exchange(client, question)
        if status == 200 and asked.sent:
            with self._wire.asking(failing=True):
                again = await _exchange(client, question)
            retried = again[1]
        facts = {"sent": asked.sent, "refused": asked.refused, "problems": asked.problems, "retried": retried}
        return {"mode": mode, "status": status, "answer": answer, **facts}


async def _exchange(client: Any, question: Any) -> tuple[int, str]:
    """Status and, of a failure, what LiteLLM says about it. 0 stands for no answer."""
    try:
        async with asyncio.timeout(_QUESTION_DEADLINE):
            headers = {"content-type": question.content_type, "authorization": "Bearer litesup-check"}
            response = await client.post(question.path, content=question.body, headers=headers, timeout=None)
    except TimeoutError:
        return 0, f"no answer within {_QUESTION_DEADLINE:g} s"
    except Exception as error:
        return 0, _said(error)
    return response.status_code, "" if response.status_code == 200 else response.text[:_LONGEST]


def _mode_of(deployment: Any, modes: dict[str, str]) -> str | None:
    """What LiteLLM's own list of models says that this one is for."""
    name = (deployment.model_info.model_dump() or {}).get("base_model") or deployment.litellm_params.model
    bare = name.rpartition("/")[2]
    # Image models are listed by size and quality: "1024-x-1024/dall-e-3".
    sized = next((known for known in modes if known.endswith(f"-x-1024/{bare}")), name)
    return next((modes[known] for known in (name, name.partition("/")[2], sized) if known in modes), None)


def _why_left_out(identifier: str) -> str:
    """LiteLLM leaves out a model that it cannot use; a router of its own says why."""
    import litellm
    from litellm.proxy import proxy_server

    entries = (proxy_server.proxy_config.get_config_state() or {}).get("model_list") or []
    for entry in entries:
        if (entry.get("model_info") or {}).get("id") == identifier:
            try:
                litellm.Router(model_list=[entry]).discard()
            except Exception as error:
                return _said(error)
    return ""


def _silence() -> None:
    """Nobody hears of the questions: no callback, guardrail, rule or alert; and nobody's own check of keys is run."""
    import litellm
    from litellm.proxy import proxy_server
    from litellm.proxy._types import LitellmUserRoles, UserAPIKeyAuth
    from litellm.proxy.auth.user_api_key_auth import user_api_key_auth

    for name in _CALLBACKS:
        if isinstance(getattr(litellm, name, None), list):
            setattr(litellm, name, [])
    admin = UserAPIKeyAuth(api_key="litesup-check", user_role=LitellmUserRoles.PROXY_ADMIN)
    proxy_server.app.dependency_overrides[user_api_key_auth] = lambda: admin
    proxy_server.proxy_logging_obj.alerting = None
    router = proxy_server.llm_router
    if router is not None and hasattr(router, "_time_to_sleep_before_retry"):
        router._time_to_sleep_before_retry = lambda *positional, **rest: 0  # noqa: SLF001  # what fails here fails again


def _said(error: BaseException) -> str:
    """An error and what it came from, the outermost first."""
    lines: list[str] = []
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen and len(lines) < 5:
        seen.add(id(current))
        text = str(current).strip()
        line = f"{type(current).__name__}: {text}" if text else type(current).__name__
        if not any(text and text in earlier for earlier in lines):
            lines.append(line)
        current = current.__cause__ or (None if current.__suppress_context__ else current.__context__)
    return " <- ".join(lines)[:_LONGEST]


def _suspect(error: BaseException, directory: str) -> dict[str, Any]:
    """What of the configuration LiteLLM was busy with when it failed, as far as its own frames tell."""
    found: dict[str, Any] = {}
    trace = error.__traceback__
    while trace is not None:
        code, names = trace.tb_frame.f_code, trace.tb_frame.f_locals
        if code.co_name == "get_instance_fn" and isinstance(names.get("value"), str):
            found["value"] = names["value"]
        if code.co_name == "load_config":
            key, settings = names.get("key"), names.get("litellm_settings")
            # With the last key the loop may be over, and the failure elsewhere.
            if isinstance(settings, dict) and key in settings and key != list(settings)[-1]:
                found["setting"] = key
        if code.co_filename.startswith(f"{directory}/") and "-packages" not in code.co_filename:
            found["place"] = f"{code.co_filename}, line {trace.tb_lineno}"
        trace = trace.tb_next
    return found


@contextlib.contextmanager
def _without_collecting() -> Iterator[None]:
    gc.disable()  # a third of the import's time
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def main() -> None:
    descriptor, parent = (int(argument) for argument in sys.argv[1:3])
    order = json.loads(sys.stdin.buffer.read())
    reports = Reports(descriptor)
    replica_main = _load_file(_LAUNCH / "replica_main.py", "litesup_replica_main")
    seal = _load_file(HERE / "seal.py", "litesup_seal")
    wire = seal.Wire(_load_file(HERE / "answers.py", "litesup_answers"))
    asking = _load_file(HERE / "asking.py", "litesup_asking")
    sealed = seal.leave_network()
    replica_main.tie_to_daemon(parent)
    platform.processor()  # asked for by HTTP clients' headers, found by starting a process, and remembered
    seal.refuse_sockets(wire)
    replica_main.settle({"replica": 0, **order})
    replica_main.kernel.name_process("litesup-check")
    reports.say("loading", sealed=sealed)
    try:
        with _without_collecting():
            for name in _IMPORTED:
                importlib.import_module(name)
    except ImportError as error:
        reports.say("absent", reason=_said(error))
        sys.exit(1)
    reports.say("imported", version=importlib.metadata.version("litellm"))
    seal.replace_transports(wire)
    try:
        Check(order, reports, wire, asking).run()
    except BaseException as error:
        reports.say(
            "refused", reason=_said(error), refused=wire.otherwise.refused, **_suspect(error, order["directory"])
        )
        raise


if __name__ == "__main__":
    main()
