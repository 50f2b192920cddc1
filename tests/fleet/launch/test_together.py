"""Code that is laid side by side is the same code: whoever runs it notices nothing."""

from __future__ import annotations

import functools
import gc
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import CodeType, ModuleType

import pytest

import supervisor.fleet.launch as package


@pytest.fixture(scope="module")
def together() -> ModuleType:
    spec = importlib.util.spec_from_file_location("together_under_test", Path(package.__path__[0]) / "together.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def decorated(function: Callable[[int], int]) -> Callable[[int], int]:
    @functools.wraps(function)
    def wrapper(number: int) -> int:
        return function(number) + 1

    return wrapper


@decorated
def doubled(number: int) -> int:
    return number * 2


@decorated
def squares(number: int, *, to: int = 3) -> int:
    """With code within its code."""

    def square(each: int) -> int:
        return each * each

    return sum(square(each) for each in range(number, to))


def never_called() -> None:
    raise AssertionError


class Plain:
    @property
    def half(self) -> float:
        return 0.5

    @classmethod
    def named(cls) -> str:
        return cls.__name__

    async def later(self) -> int:
        return 7

    @functools.cached_property
    def kept(self) -> int:
        return 8


class Touchy:
    """Says so when it is asked for anything: a stand-in for what loads a library then."""

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        raise AssertionError

    def __getattr__(self, name: str) -> object:
        raise AssertionError(name)


touchy = Touchy()


@functools.lru_cache(maxsize=1)
def remembered() -> int:
    return 9


def run() -> tuple[int, int, float, str]:
    return doubled(4), squares(1), Plain().half, Plain.named()


def original(function: Callable[..., object]) -> CodeType:
    code: CodeType = function.__wrapped__.__code__  # type: ignore[attr-defined]
    return code


def test_only_what_runs_inside_the_block_is_seen(together: ModuleType):
    with together.executed() as codes:
        doubled(1)
    squares(1)
    assert {original(doubled), doubled.__code__} <= codes.keys()
    assert original(squares) not in codes
    assert never_called.__code__ not in codes
    assert sys.getprofile() is None


def test_nothing_is_watched_any_more_when_the_block_fails(together: ModuleType):
    with pytest.raises(ZeroDivisionError), together.executed():
        1 / 0  # noqa: B018
    assert sys.getprofile() is None


def test_moved_code_does_what_it_did_and_is_another_object(together: ModuleType):
    before = run()
    with together.executed() as codes:
        run()
    places = {function: original(function) for function in (doubled, squares)}
    half, named = vars(Plain)["half"].fget.__code__, Plain.named.__func__.__code__  # type: ignore[attr-defined]
    untouched = never_called.__code__
    together.move(codes)
    for function, code in places.items():
        assert original(function) == code
        assert original(function) is not code
    assert vars(Plain)["half"].fget.__code__ is not half
    assert Plain.named.__func__.__code__ is not named  # type: ignore[attr-defined]
    assert never_called.__code__ is untouched
    assert run() == before


def test_functions_that_shared_their_code_still_do(together: ModuleType):
    with together.executed() as codes:
        doubled(1)
    shared = doubled.__code__
    together.move(codes)
    assert doubled.__code__ is squares.__code__
    assert doubled.__code__ is not shared


def test_code_inside_moved_code_is_moved_with_it(together: ModuleType):
    def inner(code: CodeType) -> list[CodeType]:
        return [each for each in code.co_consts if isinstance(each, CodeType)]

    before = inner(original(squares))
    with together.executed() as codes:
        squares(1)
    together.move(codes)
    after = inner(original(squares))
    assert after == before
    assert all(new is not old for new, old in zip(after, before, strict=True))


def test_what_was_replaced_is_kept_so_that_nothing_else_takes_its_place(together: ModuleType):
    with together.executed() as codes:
        doubled(1)
    old = original(doubled)
    together.move(codes)
    assert any(each is old for each in together._originals)


def test_functions_are_found_behind_what_keeps_their_results(together: ModuleType):
    def codes() -> list[CodeType]:
        kept: functools.cached_property[int] = vars(Plain)["kept"]
        return [remembered.__wrapped__.__code__, kept.func.__code__]

    remembered.cache_clear()
    with together.executed() as seen:
        assert (remembered(), Plain().kept) == (9, 8)
    before = codes()
    together.move(seen)
    assert codes() == before
    assert all(new is not old for new, old in zip(codes(), before, strict=True))


def test_functions_are_found_where_the_code_ran_and_not_among_all_objects(together: ModuleType):
    with together.executed() as codes:
        doubled(1)
    before = doubled.__code__
    gc.freeze()  # what is frozen is no longer among them
    try:
        together.move(codes)
    finally:
        gc.unfreeze()
    assert doubled.__code__ is not before


def test_what_is_no_function_is_asked_nothing(together: ModuleType):
    with together.executed() as codes:
        doubled(1)
    names = codes[doubled.__code__]
    assert any(each is touchy for each in names.values())
    together.move(codes)
