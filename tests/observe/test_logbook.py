from __future__ import annotations

import asyncio
import time

import pytest

from supervisor.control.operations import LogLine
from supervisor.observe.logbook import FOLLOWER_LINES, MOST_CHARACTERS, Logbook, graded, is_noise, level_of, tidy
from supervisor.observe.redact import Redactor

BANNER = """
   ██╗     ██╗████████╗███████╗██╗     ██╗     ███╗   ███╗
   ██║     ██║╚══██╔══╝██╔════╝██║     ██║     ████╗ ████║
   ╚══════╝╚═╝   ╚═╝   ╚══════╝╚══════╝╚══════╝╚═╝     ╚═╝
\x1b[1;37m#------------------------------------------------------------#\x1b[0m
\x1b[1;37m#                                                            #\x1b[0m
\x1b[1;37m#            'This product would be better if...'             #\x1b[0m
\x1b[1;37m#        https://github.com/BerriAI/litellm/issues/new        #\x1b[0m
 Thank you for using LiteLLM! - Somebody & Somebody Else
\x1b[1;31mGive Feedback / Get Help: https://github.com/BerriAI/litellm/issues/new\x1b[0m
"""


@pytest.fixture
def logbook() -> Logbook:
    return Logbook(Redactor({"API_KEY": "secret-value"}), keep=5, now=lambda: 1000.0)


def say(logbook: Logbook, *texts: str, slot: int = 1) -> None:
    for text in texts:
        logbook.take(slot=slot, replica=slot + 10, generation="gen", text=text)


async def kept(logbook: Logbook, *slots: int) -> list[str]:
    return [line.text async for line in logbook.lines(slots, follow=False)]


async def test_the_last_lines_are_kept(logbook: Logbook) -> None:
    say(logbook, *(f"line {number}" for number in range(8)))
    assert await kept(logbook) == [f"line {number}" for number in range(3, 8)]


async def test_of_very_long_lines_fewer_are_kept() -> None:
    """2,000 lines of 64 KiB would be 128 MiB: more than the rest of the daemon."""
    logbook = Logbook(Redactor({}), keep=2000, now=lambda: 1000.0)
    longest = MOST_CHARACTERS // 100
    say(logbook, *(f"{number:03}".ljust(longest, "x") for number in range(250)))
    lines = await kept(logbook)
    assert [int(line[:3]) for line in lines] == list(range(150, 250))


async def test_slots_can_be_chosen(logbook: Logbook) -> None:
    say(logbook, "a")
    say(logbook, "b", slot=2)
    assert await kept(logbook, 2) == ["b"]
    assert await kept(logbook, 1, 2) == ["a", "b"]


async def test_the_banner_is_dropped(logbook: Logbook) -> None:
    say(logbook, *BANNER.splitlines(), "LiteLLM: Proxy initialized with Config, Set models:")
    assert await kept(logbook) == ["LiteLLM: Proxy initialized with Config, Set models:"]


async def test_secrets_and_terminal_codes_are_gone_before_anything_is_kept(logbook: Logbook) -> None:
    say(logbook, "\x1b[32mkey secret-value\x1b[0m \x07\x1b]0;title\x07and on\r")
    assert await kept(logbook) == ["key *** and on"]


async def test_control_characters_of_the_second_range_are_gone_too(logbook: Logbook) -> None:
    say(logbook, "a\x9b31mb\x85c")
    assert await kept(logbook) == ["a31mbc"]


@pytest.mark.parametrize("text", [" " * 60_000 + "x", "#" + " " * 60_000 + "x", "\x1b]" * 30_000, "eyJ-" * 15_000])
async def test_no_line_takes_longer_than_its_length_deserves(logbook: Logbook, text: str) -> None:
    begun = time.process_time()
    say(logbook, text)
    assert time.process_time() - begun < 0.5


async def test_json_nested_too_deeply_to_be_read_is_a_line_like_any_other(logbook: Logbook) -> None:
    say(logbook, '{"a":' * 10_000)
    assert len(await kept(logbook)) == 1


@pytest.mark.parametrize(
    ("text", "noise"),
    [
        ('INFO:     unix: - "GET /health/liveliness HTTP/1.1" 200 OK', True),
        ('INFO:     unix: - "GET /health/liveliness HTTP/1.1" 503 Service Unavailable', False),
        ('INFO:     unix: - "GET /health HTTP/1.1" 200 OK', False),
        ("", True),
        ("# a comment of a model's #", True),
        ("#1 is the best", False),
        ("    indented code", False),
    ],
)
def test_what_is_noise(text: str, noise: bool) -> None:
    assert is_noise(tidy(text)) is noise


@pytest.mark.parametrize(
    ("text", "level"),
    [
        ("INFO:     Started server process [8148]", "info"),
        ("10:04:00 - LiteLLM Proxy:ERROR: auth_exception_handler.py:197 - no", "error"),
        ("10:04:00 - LiteLLM:WARNING: utils.py:989 - deprecated", "warning"),
        ("10:04:00 - LiteLLM Router:DEBUG: router.py:1 - x", "debug"),
        ('{"message": "x", "level": "ERROR", "timestamp": "t"}', "error"),
        ('{"level": {"odd": 1}}', None),
        ("{not json", None),
        ("[1]", None),
        ("Traceback (most recent call last):", "error"),
        ("Requester IP Address:127.0.0.1", None),
    ],
)
def test_the_level_is_the_one_that_the_line_shows(text: str, level: str | None) -> None:
    assert level_of(text) == level


def test_a_traceback_is_an_error_to_its_last_line_and_what_follows_is_not() -> None:
    text = ["Traceback (most recent call last):", '  File "x.py"', "    f()", "ValueError: no", "Started", "  and on"]
    before, levels = "info", []
    for line in text:
        level, before = graded(line, before)
        levels.append(level)
    assert levels == ["error", "error", "error", "error", "info", "info"]
    assert graded("    demo", "warning") == ("warning", "warning")


async def test_a_follower_gets_what_was_kept_and_then_what_is_new(logbook: Logbook) -> None:
    say(logbook, "old")
    lines = logbook.lines((1,), follow=True)
    assert (await anext(lines)).text == "old"
    waiting = asyncio.ensure_future(anext(lines))
    await asyncio.sleep(0)
    say(logbook, "not mine", slot=2)
    say(logbook, "new")
    assert (await waiting).text == "new"
    await lines.aclose()  # type: ignore[attr-defined]
    assert not logbook._followers


async def test_a_line_written_between_reading_and_following_is_neither_lost_nor_doubled(logbook: Logbook) -> None:
    say(logbook, "one")
    lines = logbook.lines((), follow=True)
    seen = [(await anext(lines)).text]
    say(logbook, "two")
    seen.append((await anext(lines)).text)
    say(logbook, "three")
    seen.append((await anext(lines)).text)
    assert seen == ["one", "two", "three"]


async def test_a_slow_follower_misses_lines_and_is_told_how_many(logbook: Logbook) -> None:
    lines = logbook.lines((1,), follow=True)
    waiting = asyncio.ensure_future(anext(lines))
    await asyncio.sleep(0)
    say(logbook, *(str(number) for number in range(FOLLOWER_LINES + 7)))
    assert await waiting == LogLine(1000.0, 0, 0, "", "7 lines missed: this reader is too slow")
    assert (await anext(lines)).text == "7"


async def test_of_very_long_lines_a_slow_follower_misses_more(logbook: Logbook) -> None:
    lines = logbook.lines((1,), follow=True)
    waiting = asyncio.ensure_future(anext(lines))
    await asyncio.sleep(0)
    say(logbook, *("x" * (MOST_CHARACTERS // 10) for _ in range(25)))
    assert (await waiting).text == "15 lines missed: this reader is too slow"
