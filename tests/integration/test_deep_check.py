"""The shell around the sealed process, with small programs in LiteLLM's place; and the seal, without LiteLLM."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from supervisor.deep_check.plan import Plan, plan
from supervisor.deep_check.run import Event, Run, run
from supervisor.litellm_config.build import build_generation
from supervisor.litellm_config.generation import Generation

HERE = Path(__file__).parents[2] / "supervisor" / "deep_check"
SECRET = "hunter2hunter2hunter2"
CONFIG = "model_list:\n- {model_name: gpt, litellm_params: {model: openai/gpt-4o, api_key: '${API_KEY}'}}\n"
BEGIN = """
import json, os, subprocess, sys, time
out = os.fdopen(int(sys.argv[1]), "w")
order = json.loads(sys.stdin.read())
def say(event, **facts):
    out.write(json.dumps({"event": event, **facts}) + "\\n")
    out.flush()
"""


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    directory = tmp_path / "tmp"
    directory.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(directory))
    return directory


@pytest.fixture
def checked(tmp_path: Path) -> tuple[Generation, Plan]:
    home = tmp_path / "home"
    home.mkdir()
    (home / "c.yaml").write_text(CONFIG)
    generation = build_generation(home / "c.yaml", {"PATH": os.environ["PATH"], "API_KEY": SECRET}, tmp_path / "state")
    return generation, plan(generation.config_text, generation.environment)


def carried_out(checked: tuple[Generation, Plan], tmp_path: Path, text: str, timeout: float = 60.0) -> Run:
    program = tmp_path / "program.py"
    program.write_text(BEGIN + textwrap.dedent(text))
    generation, planned = checked
    return run(generation, planned, timeout=timeout, progress=lambda events, seconds: None, program=program)


def gone(pid: int) -> bool:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return True
        if state == "Z":
            return True
        time.sleep(0.02)
    return False


def test_what_it_tells_is_read_and_nothing_is_left(checked: tuple[Generation, Plan], tmp_path: Path, temporary: Path):
    text = """
        file = order["arguments"][1]
        mode = os.stat(file).st_mode & 0o777
        place = os.stat(os.path.dirname(os.path.dirname(file))).st_mode & 0o777
        held = open(file).read() + " ".join(sys.argv) + json.dumps(order)
        say("seen", mode=mode, place=place, secret="hunter2" in held, key=os.environ["API_KEY"], session=os.getsid(0))
        say("done")
    """
    ended = carried_out(checked, tmp_path, text)
    seen, done = ended.events
    assert (seen["mode"], seen["place"], seen["secret"], seen["key"]) == (0o400, 0o700, False, SECRET)
    assert seen["session"] != os.getsid(0)
    assert (done["event"], ended.timed_out, ended.status) == ("done", False, 0)
    assert list(temporary.iterdir()) == []
    assert SECRET not in repr(ended)


def test_at_the_deadline_it_is_ended_with_all_that_it_started(
    checked: tuple[Generation, Plan], tmp_path: Path, temporary: Path
):
    text = """
        child = subprocess.Popen(["sleep", "600"])
        say("loading", child=child.pid)
        time.sleep(600)
    """
    ended = carried_out(checked, tmp_path, text, timeout=2.0)
    assert ended.timed_out
    assert gone(ended.events[0]["child"])
    assert list(temporary.iterdir()) == []


def test_a_flood_of_output_neither_blocks_it_nor_is_kept(
    checked: tuple[Generation, Plan], tmp_path: Path, temporary: Path
):
    text = """
        for _ in range(200):
            sys.stdout.write("x" * 100_000)
        print()
        print("last words", flush=True)
        say("refused", reason="RuntimeError: no")
        sys.exit(3)
    """
    ended = carried_out(checked, tmp_path, text)
    assert (ended.status, ended.last_lines[-1]) == (3, "last words")
    assert sum(map(len, ended.last_lines)) < 1_000_000


def test_one_that_dies_is_told_by_its_signal(checked: tuple[Generation, Plan], tmp_path: Path, temporary: Path):
    ended = carried_out(checked, tmp_path, "say('loading'); os.kill(os.getpid(), 9)")
    assert (ended.status, ended.timed_out) == (-9, False)


def test_an_interrupted_check_leaves_nothing(checked: tuple[Generation, Plan], tmp_path: Path, temporary: Path):
    program = tmp_path / "program.py"
    program.write_text(BEGIN + "say('loading', pid=os.getpid())\ntime.sleep(600)\n")
    seen: list[int] = []

    def interrupt(events: tuple[Event, ...], seconds: float) -> None:
        if events:
            seen.append(events[0]["pid"])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(*checked, timeout=60, progress=interrupt, program=program)
    assert gone(seen[0])
    assert list(temporary.iterdir()) == []


def test_a_terminated_check_leaves_nothing_either(checked: tuple[Generation, Plan], tmp_path: Path, temporary: Path):
    program = tmp_path / "program.py"
    program.write_text(BEGIN + "say('loading', pid=os.getpid())\ntime.sleep(600)\n")
    seen: list[int] = []

    def terminate(events: tuple[Event, ...], seconds: float) -> None:
        if events and not seen:
            seen.append(events[0]["pid"])
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(SystemExit):
        run(*checked, timeout=60, progress=terminate, program=program)
    assert gone(seen[0])
    assert list(temporary.iterdir()) == []


SEALED = """
import asyncio, importlib.util, json, os, socket, subprocess, sys, threading, urllib.request
sys.path.append(sys.argv[1])
import answers, seal
port, alone = int(sys.argv[2]), sys.argv[3] == "alone"
wire = seal.Wire(answers)
if alone:
    alone = seal.leave_network()
seal.refuse_sockets(wire)
import aiohttp, httpx, requests, urllib3
url = f"http://127.0.0.1:{port}/v1/chat/completions"
seal.replace_transports(wire)
def refused(function):
    try:
        function()
    except Exception as error:
        return "lets nothing out" in str(error) or type(error).__name__
    return "went through"
async def with_aiohttp():
    async with aiohttp.ClientSession() as session:
        await session.post(url)
async def with_httpx():
    async with httpx.AsyncClient() as client:
        return (await client.post(url, json={})).json()
def udp():
    socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("127.0.0.1", port))
ways = {
    "socket": lambda: socket.create_connection(("127.0.0.1", port), 2),
    "name": lambda: socket.getaddrinfo("example.invalid", 80),
    "udp": udp,
    "urllib": lambda: urllib.request.urlopen(url, timeout=2),
    "process": lambda: subprocess.run(["true"]),
    "system": lambda: os.system("true"),
    "httpx": lambda: httpx.post(url),
    "httpx async": lambda: asyncio.run(with_httpx()),
    "requests": lambda: requests.post(url),
    "urllib3": lambda: urllib3.PoolManager(retries=False).request("POST", url),
    "aiohttp": lambda: asyncio.run(with_aiohttp()),
}
unasked = {name: refused(way) for name, way in ways.items()}
with wire.asking() as asked:
    answered = [
        httpx.post(url, headers={"authorization": "Bearer x"}).json()["object"],
        asyncio.run(with_httpx())["object"],
        requests.post(url).json()["object"],
        json.loads(urllib3.PoolManager(retries=False).request("POST", url).data)["object"],
    ]
    still = {name: refused(ways[name]) for name in ("socket", "process", "urllib", "aiohttp")}
thread = []
def later():
    thread.append(refused(ways["httpx"]))
worker = threading.Thread(target=later); worker.start(); worker.join()
print(json.dumps({"unasked": unasked, "answered": answered, "still": still, "alone": alone, "later": thread,
                  "sent": [one["credential"] for one in asked.sent], "refused": wire.otherwise.refused}))
"""


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0)
        yield server


@pytest.mark.parametrize("layers", ["alone", "with a network"])
def test_nothing_gets_out_of_a_sealed_process_by_any_way(listener: socket.socket, layers: str):
    port = listener.getsockname()[1]
    done = subprocess.run(
        [sys.executable, "-c", SEALED, str(HERE), str(port), layers],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert seen["unasked"] == dict.fromkeys(seen["unasked"], True)
    assert seen["answered"] == ["chat.completion"] * 4
    assert seen["still"] == dict.fromkeys(seen["still"], True)
    assert seen["later"] == [True]
    assert seen["sent"] == ["sent", "none"]
    assert f"127.0.0.1:{port}" in seen["refused"]
    with pytest.raises(BlockingIOError):
        listener.accept()
