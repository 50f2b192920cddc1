"""The real LiteLLM under both launchers: how a replica starts, serves, says why it will not, and leaves."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from benchmarks import preload
from supervisor.events import Event, Events, ForkServerLost, ForkServerStarted, LauncherFellBack
from supervisor.fleet.launch.auto import make_launcher
from supervisor.fleet.launch.forked import ForkedLauncher
from supervisor.fleet.launch.plain import PlainLauncher
from supervisor.fleet.launch.spec import Launcher
from supervisor.settings.schema import LauncherChoice
from tests.eventually import eventually
from tests.fake_azure import FakeAzure
from tests.real_replica import ENVIRONMENT, Replicas, replicas

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(180)]


class Forked:
    """One fork server for most tests here, for it takes seconds to start."""

    def __init__(self) -> None:
        self.events = Events()
        self.seen: list[Event] = []
        self.events.subscribe(self.seen.append)
        self.launcher = ForkedLauncher(self.events)


class Shared:
    """The shared launcher, which the pools of single tests must not close."""

    def __init__(self, launcher: Launcher) -> None:
        self._launcher = launcher
        self.name = launcher.name
        self.prepare = launcher.prepare
        self.launch = launcher.launch
        self.keep = launcher.keep

    async def close(self) -> None:
        pass


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def forked() -> AsyncIterator[Forked]:
    made = Forked()
    await made.launcher.prepare(ENVIRONMENT)
    yield made
    await made.launcher.close()


@pytest_asyncio.fixture(loop_scope="module")
async def pool(forked: Forked, short_dir: Path) -> AsyncIterator[Replicas]:
    async with replicas(Shared(forked.launcher), short_dir) as made:
        yield made


async def test_a_forked_replica_answers_a_real_request_on_its_socket(pool: Replicas):
    replica = await pool.ready()
    answer = json.loads(await replica.chat())
    assert answer["choices"][0]["message"]["content"] == "hello"
    assert b"data: [DONE]" in await replica.chat(stream=True)


async def test_a_plain_replica_answers_and_warms_up_too(short_dir: Path):
    async with replicas(PlainLauncher(), short_dir) as made:
        replica = await made.ready()
        assert json.loads(await replica.chat())["choices"][0]["message"]["content"] == "hello"
        assert str(await replica.stop()) == "exit 0"


async def test_sigterm_is_a_graceful_end_and_the_exit_hooks_run(pool: Replicas):
    hook = "import atexit\n\n\ndef last_words():\n    atexit.register(print, 'the exit hooks ran')\n"
    (pool.directory / "words.py").write_text(hook)
    replica = await pool.ready({"LITELLM_WORKER_STARTUP_HOOKS": "words:last_words"})
    assert str(await replica.stop()) == "exit 0"
    assert "the exit hooks ran" in replica.lines
    assert not replica.spec.socket_path.exists()


async def test_litellms_reason_for_refusing_to_start_is_in_the_output(pool: Replicas):
    replica = await pool.launch(pool.spec({"LITELLM_MASTER_KEY": "sk-1234"}))
    async with asyncio.timeout(60):
        status = await replica.process.wait()
    assert status.code not in {0, None}
    await eventually(lambda: "master key" in "\n".join(replica.lines).lower(), what="the reason")


async def test_no_secret_of_the_environment_is_in_an_argv(pool: Replicas, forked: Forked):
    replica = await pool.ready({"AZURE_API_KEY": "azure-secret-value"})
    for pid in (replica.process.pid, forked.launcher.fork_server_pid):
        assert b"secret" not in Path(f"/proc/{pid}/cmdline").read_bytes()


LOOK = """
import gc, json, random, re, secrets, ssl, sys, types, uuid

def look():
    import numpy
    drawn = {
        "uuid1": str(uuid.uuid1()), "uuid4": str(uuid.uuid4()), "random": random.random(), "secrets": secrets.token_hex(),
        "ssl": ssl.RAND_bytes(16).hex(), "numpy": numpy.random.random(), "numpy rng": numpy.random.default_rng().random(),
        "fastuuid": str(__import__("fastuuid").uuid4()),
    }
    print("DRAWN", json.dumps(drawn))
    print("KEPT", json.dumps(sorted(kept())))

ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|[0-9a-f]{24,64}", re.I)

def kept():
    # Every text that looks like a drawn identifier, in what LiteLLM's modules hold, with the place where it is.
    seen = set()
    todo = []
    for name, module in list(sys.modules.items()):
        if "-packages" in (getattr(module, "__file__", None) or ""):
            todo.append((name, vars(module), 0 if name.startswith(("litellm", "openai")) else 7))
    while todo:
        path, value, depth = todo.pop()
        if isinstance(value, (str, bytes)):
            if ID.fullmatch(value) if isinstance(value, str) else len(value) in (16, 32, 64):
                yield f"{path}={value}"
            continue
        if id(value) in seen or depth > 7 or isinstance(value, (type, types.ModuleType, types.FunctionType)):
            continue
        seen.add(id(value))
        if isinstance(value, dict):
            todo += [(f"{path}.{key}", inner, depth + 1) for key, inner in list(value.items())]
        elif isinstance(value, (list, tuple, set)):
            todo += [(f"{path}[]", inner, depth + 1) for inner in list(value)[:1000]]
        elif isinstance(getattr(value, "__dict__", None), dict):
            todo.append((path, vars(value), depth + 1))
"""


async def test_two_forked_replicas_share_no_identifier(pool: Replicas):
    (pool.directory / "look.py").write_text(LOOK)
    hook = {"LITELLM_WORKER_STARTUP_HOOKS": "look:look"}
    first, second, plain = await asyncio.gather(pool.ready(hook), pool.ready(hook), constants(pool))

    def said(lines: list[str], word: str) -> str:
        return next(line for line in lines if line.startswith(word)).removeprefix(word)

    drawn = [json.loads(said(replica.lines, "DRAWN")) for replica in (first, second)]
    assert [name for name in drawn[0] if drawn[0][name] == drawn[1][name]] == []
    kept = [set(json.loads(said(replica.lines, "KEPT"))) for replica in (first, second)]
    assert any("pod_id" in place for place in kept[0])
    assert sorted(kept[0] & kept[1] - plain) == []


async def constants(pool: Replicas) -> set[str]:
    """What looks like an identifier and is none: it is the same in a process that shares nothing with the fork server."""
    script = pool.directory / "constants.py"
    script.write_text(
        f"{LOOK}\nimport runpy\nrunpy.run_path({str(preload.LISTS.parent / 'litellm_program.py')!r})['load']()\n"
        "print('KEPT', json.dumps(sorted(kept())))\n"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-P", str(script), env=ENVIRONMENT, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    line = next(line for line in output.decode().splitlines() if line.startswith("KEPT"))
    return set(json.loads(line.removeprefix("KEPT")))


TOKENIZER = """
import os
import sys

def look():
    import tiktoken.core, tiktoken.registry
    from litellm import token_counter
    print("TOKENIZER", os.path.isdir(os.environ["TIKTOKEN_CACHE_DIR"]))
    print("LOADED", *tiktoken.registry.ENCODINGS)
    shared = tiktoken.get_encoding("cl100k_base")
    whole = tiktoken.core.Encoding(**tiktoken.registry.ENCODING_CONSTRUCTORS["cl100k_base"]())
    text = "Zwölf Boxkämpfer jagen Viktor quer über den großen Sylter Deich <|endoftext|> 漢字"
    tokens = whole.encode(text, disallowed_special=())
    print("SAME", tokens == shared.encode(text, disallowed_special=()), shared.decode(tokens) == text)
    print("COUNTED", [token_counter(model, text="hello there") for model in ("gpt-4", "gpt-4o", "claude-2")])
"""


async def test_a_forked_replica_counts_tokens_with_the_tokenizers_that_litellm_brings_along(pool: Replicas):
    (pool.directory / "tokenizer.py").write_text(TOKENIZER)
    replica = await pool.ready({"LITELLM_WORKER_STARTUP_HOOKS": "tokenizer:look"})
    for line in ("TOKENIZER True", "LOADED cl100k_base", "SAME True True", "COUNTED [2, 2, 2]"):
        assert line in replica.lines


async def test_a_tokenizer_that_the_models_need_is_loaded_once_for_all_replicas(short_dir: Path):
    (short_dir / "tokenizer.py").write_text(
        "def look():\n    import tiktoken.registry\n"
        "    print('LOADED', *[(name, len(one._mergeable_ranks)) for name, one in tiktoken.registry.ENCODINGS.items()])\n"
    )
    async with replicas(ForkedLauncher(Events()), short_dir) as pool:
        told = {"LITESUP_TOKENIZERS": "o200k_base", "LITELLM_WORKER_STARTUP_HOOKS": "tokenizer:look"}
        replica = await pool.ready(told)
        assert "LOADED ('cl100k_base', 0) ('o200k_base', 0)" in replica.lines


ROUTES = """
from litellm.proxy import proxy_server
from starlette.routing import Match

def look():
    def found(path):
        scope = {"type": "http", "method": "GET", "path": path, "headers": [], "query_string": b"", "root_path": ""}
        routes = proxy_server.app.router.routes
        return [number for number, route in enumerate(routes) if route.matches(scope)[0] is Match.FULL]
    print("PROBE", len(found("/health/liveliness")), found("/health/liveliness")[0])
    print("BESIDE", 0 in found("/health/liveness") + found("/models") + found("/"))
"""


async def test_a_probe_finds_its_route_first_and_nothing_else_finds_it(pool: Replicas):
    (pool.directory / "routes.py").write_text(ROUTES)
    replica = await pool.ready({"LITELLM_WORKER_STARTUP_HOOKS": "routes:look"})
    for line in ("PROBE 2 0", "BESIDE False"):  # LiteLLM's own is where it was
        assert line in replica.lines
    assert await replica.ask("GET", "/health/liveliness") == (200, b'"I\'m alive!"')


MOVED = """
import sys
from litellm.proxy.proxy_server import chat_completion

def look():
    originals = sys.modules["together"]._originals
    print("MOVED", len(originals) > 1000, chat_completion.__code__ in originals)
    print("COPIED", all(each is not chat_completion.__code__ for each in originals))
"""


async def test_the_code_that_a_request_runs_was_laid_side_by_side(pool: Replicas):
    (pool.directory / "moved.py").write_text(MOVED)
    replica = await pool.ready({"LITELLM_WORKER_STARTUP_HOOKS": "moved:look"})
    for line in ("MOVED True True", "COPIED True"):
        assert line in replica.lines


NATIVE = """
from litellm.rust_bridge.loader import get_native_bridge
from litellm.rust_bridge.public_call import NativeCall

def call():
    arguments = {"model": "openai/gpt-4o", "api_key": "x", "api_base": "http://127.0.0.1:9", "messages": []}
    try:
        get_native_bridge().completion(NativeCall(args=(), kwargs=arguments, base={}))
    except Exception as error:
        print("NATIVE", type(error).__name__)
"""


async def test_the_native_routes_that_the_fork_server_gave_up_work_in_a_replica(pool: Replicas):
    (pool.directory / "native.py").write_text(NATIVE)
    replica = await pool.ready({"LITELLM_WORKER_STARTUP_HOOKS": "native:call"})
    (said,) = [line for line in replica.lines if line.startswith("NATIVE")]
    assert said not in {"NATIVE ProcessReservedForForking", "NATIVE ForkedAfterNativeRuntimeStarted"}


async def test_a_served_replica_imports_next_to_nothing_that_was_not_preloaded(short_dir: Path):
    late = await preload.imported_after_the_fork(short_dir)
    assert len(late) <= 5, f"{late}: run `python -m benchmarks.preload`"


CALLBACK = """
from litellm.integrations.custom_logger import CustomLogger

class Recorder(CustomLogger):
    def log_pre_api_call(self, model, messages, kwargs):
        print("CALLBACK before", model)

    async def async_log_success_event(self, kwargs, response_obj, start_time, end_time):
        print("CALLBACK success", kwargs["model"])

    async def async_pre_call_hook(self, user_api_key_dict, cache, data, call_type):
        print("CALLBACK hook", data["model"])

recorder = Recorder()
"""

TRACES = """
import gc, sys, types

def look():
    from litellm.proxy import proxy_server
    import litellm
    print("TRACES", sorted(set(traces())), proxy_server.llm_router, proxy_server.master_key)
    handler = proxy_server.proxy_logging_obj.slack_alerting_instance.async_http_handler
    print("CLIENT CLOSED", handler._client.is_closed)  # `client` would make another one

def traces():
    seen, todo = set(), [(name, vars(module), 0) for name, module in list(sys.modules.items()) if name.startswith("litellm.")]
    while todo:
        path, value, depth = todo.pop()
        if isinstance(value, (str, bytes)):
            if ("warm-up" if isinstance(value, str) else b"warm-up") in value:
                yield path
            continue
        if id(value) in seen or depth > 9 or isinstance(value, (type, types.ModuleType, types.FunctionType)):
            continue
        seen.add(id(value))
        if isinstance(value, dict):
            todo += [(f"{path}.{key}", inner, depth + 1) for key, inner in list(value.items())]
            todo += [(f"{path} key", key, depth + 1) for key in list(value)]
        elif isinstance(value, (list, tuple, set)):
            todo += [(f"{path}[]", inner, depth + 1) for inner in list(value)]
        elif isinstance(getattr(value, "__dict__", None), dict):
            todo.append((path, vars(value), depth + 1))
"""


async def test_nobody_can_see_that_a_replica_warmed_up(forked: Forked, short_dir: Path):
    (short_dir / "recording.py").write_text(CALLBACK)
    (short_dir / "traces.py").write_text(TRACES)
    async with FakeAzure() as azure:
        config = preload.configuration(azure) | {"litellm_settings": {"callbacks": ["recording.recorder"]}}
        async with replicas(Shared(forked.launcher), short_dir, config) as made:
            replica = await made.ready({"LITELLM_WORKER_STARTUP_HOOKS": "traces:look"})
            _, models = await replica.ask("GET", "/v1/models")
            assert sorted(model["id"] for model in json.loads(models)["data"]) == ["gpt-4", "plain"]
            # LiteLLM itself asks an OpenAI-compatible provider for its models when it starts.
            assert [seen.path for seen in azure.requests if seen.method == "POST"] == []
            output = "\n".join(replica.lines)
            assert "TRACES [] None None" in output
            assert "CLIENT CLOSED False" in output
            assert "CALLBACK" not in output
            assert "warm" not in output.lower()
            await replica.chat()  # and the callback is there
            await eventually(lambda: "CALLBACK success" in "\n".join(replica.lines), what="the callback")
            assert [seen.path for seen in azure.requests if seen.method == "POST"] != []


async def test_a_warm_up_that_fails_keeps_no_replica_from_starting(pool: Replicas):
    replica = await pool.launch(pool.spec({"LITESUP_WARM_UP_URL": "unused"}))
    assert await pool.stub.wait_warm(replica.spec.replica, 30) is None

    spec = pool.spec()
    await pool.stub.close()
    replica = await pool.launch(spec)
    await replica.ready()
    reason = await pool.stub.wait_warm(spec.replica, 0.01)
    assert reason is not None
    assert "nothing arrived" in reason
    await replica.chat()


async def test_a_warm_up_goes_past_a_proxy(pool: Replicas):
    nowhere = "http://127.0.0.1:9"
    await pool.ready({"HTTP_PROXY": nowhere, "http_proxy": nowhere, "ALL_PROXY": nowhere, "NO_PROXY": "example.com"})


async def test_a_killed_fork_server_leaves_replicas_alone_and_the_next_launch_works(forked: Forked, pool: Replicas):
    replica = await pool.ready()
    first = forked.launcher.fork_server_pid
    assert first is not None
    forked.seen.clear()
    os.kill(first, signal.SIGKILL)
    await eventually(lambda: any(isinstance(event, ForkServerLost) for event in forked.seen), what="the loss")
    await replica.chat()
    other = await pool.ready()
    await other.chat()
    await replica.chat()
    assert forked.launcher.fork_server_pid not in {None, first}
    assert sum(isinstance(event, ForkServerStarted) for event in forked.seen) == 1


async def test_a_second_thread_in_the_fork_server_means_plain_replicas(short_dir: Path):
    (short_dir / "usercustomize.py").write_text("")
    (short_dir / "sitecustomize.py").write_text(
        "import sys, threading\n"
        "if any(word.endswith('zygote.py') for word in sys.orig_argv):\n"
        "    threading.Thread(target=threading.Event().wait, name='a-stray-thread', daemon=True).start()\n"
    )
    events = Events()
    launcher = make_launcher(LauncherChoice.AUTO, events)
    stray = {"PYTHONPATH": str(short_dir)}
    with events.collected() as seen:
        async with replicas(launcher, short_dir) as made:
            replica = await made.ready(stray)
            await replica.chat()
    (fell_back,) = [event for event in seen if isinstance(event, LauncherFellBack)]
    assert "a-stray-thread" in fell_back.reason
    assert launcher.name == "plain"
