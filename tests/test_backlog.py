from __future__ import annotations

import random

import pytest

from supervisor.backlog import Backlog


def backlog(lines: int = 3, characters: int = 10) -> Backlog[str]:
    return Backlog[str](lines, characters, len)


def test_the_oldest_go_when_there_are_too_many():
    held = backlog()
    assert [held.put(line) for line in "abcde"] == [0, 0, 0, 1, 1]
    assert list(held) == ["c", "d", "e"]


def test_the_oldest_go_when_they_are_too_long_together():
    held = backlog()
    assert [held.put(line) for line in ("aaaa", "bbbb", "cccc", "d" * 9)] == [0, 0, 1, 2]
    assert list(held) == ["d" * 9]


def test_what_is_longer_than_all_may_be_is_held_alone():
    held = backlog()
    held.put("a")
    assert held.put("b" * 50) == 1
    assert list(held) == ["b" * 50]
    assert held.put("c") == 1
    assert list(held) == ["c"]


def test_fewer_may_be_held_from_now_on():
    held = backlog()
    for line in "abc":
        held.put(line)
    assert held.hold(1) == 2
    assert list(held) == ["c"]
    assert held.hold(0) == 1
    assert held.put("d") == 1
    assert len(held) == 0


def test_it_is_half_full_by_number_or_by_length():
    by_number, by_length = backlog(4), backlog(9)
    seen = [(by_number.half_full, by_length.half_full)]
    for number, length in (("a", "aaaa"), ("b", "b")):
        by_number.put(number)
        by_length.put(length)
        seen.append((by_number.half_full, by_length.half_full))
    assert seen == [(False, False), (False, False), (True, True)]


def test_there_is_nothing_to_take_where_nothing_is_held():
    held = backlog()
    held.put("a")
    held.clear()
    with pytest.raises(IndexError):
        held.take()
    assert not held.put("b" * 10)  # nothing of what was cleared counts any more


@pytest.mark.parametrize("seed", range(20))
def test_whatever_happens_the_newest_are_held_as_far_as_there_is_room(seed: int):
    draw = random.Random(seed)
    held, expected = backlog(6, 40), list[str]()
    for number in range(300):
        if draw.random() < 0.3 and expected:
            assert held.take() == expected.pop(0)
        else:
            line = str(number) + "x" * draw.randrange(45)
            before = len(expected)
            expected.append(line)
            while len(expected) > 6 or (sum(map(len, expected)) > 40 and len(expected) > 1):
                del expected[0]
            assert held.put(line) == before + 1 - len(expected)
        assert list(held) == expected
