"""What the fork server writes down while its program is loaded, and what the daemon makes of it."""

from __future__ import annotations

import importlib.util
import os
import sys
import urllib.request
from pathlib import Path
from types import ModuleType

import pytest
from pydantic import Field
from pydantic_settings import BaseSettings

import supervisor.fleet.launch as package
from supervisor.fleet.launch.basis import Basis


@pytest.fixture(scope="module")
def readings() -> ModuleType:
    spec = importlib.util.spec_from_file_location("readings_under_test", Path(package.__path__[0]) / "readings.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_way_of_looking_at_one_variable_is_noticed(readings: ModuleType):
    with readings.recorded() as read:
        os.environ.get("BY_GET")
        os.getenv("BY_GETENV")
        with pytest.raises(KeyError):
            os.environ["BY_INDEX"]
        "BY_IN" in os.environ  # noqa: B015
        os.environ.setdefault("BY_DEFAULT", "")
        os.environ.pop("BY_DEFAULT")
        os.environ.pop("BY_POP", None)
        os.environb.get(b"BY_BYTES")
    os.environ.get("AFTERWARDS")
    assert read.names == {"BY_GET", "BY_GETENV", "BY_INDEX", "BY_IN", "BY_DEFAULT", "BY_POP", "BY_BYTES"}
    assert not read.everything


def test_a_variable_that_is_set_counts_as_looked_at(readings: ModuleType, monkeypatch: pytest.MonkeyPatch):
    with readings.recorded() as read:
        monkeypatch.setitem(os.environ, "IS_SET", "1")
    assert "IS_SET" in read.names


@pytest.mark.parametrize("how", ["dict(os.environ)", "os.environ.copy()", "[*os.environ.items()]", "{**os.environ}"])
def test_whoever_goes_through_all_of_it_is_named(readings: ModuleType, how: str):
    with readings.recorded() as read:
        eval(how, {"os": os, "__name__": "some.module"})
    assert read.everything == "some.module"


def test_looking_for_proxies_counts_for_these_alone(readings: ModuleType):
    with readings.recorded() as read:
        urllib.request.getproxies_environment()
    assert not read.everything
    assert "PATH" not in read.names


def test_a_class_of_settings_counts_for_its_own_fields(readings: ModuleType):
    class Settings(BaseSettings):
        aliased: bool = Field(default=False, validation_alias="SOME_FLAG")
        plain: int = 0

    with readings.recorded() as read:
        Settings()
    assert read.folded == {"some_flag", "plain"}
    assert not read.everything


def test_the_environment_is_the_same_object_as_before(readings: ModuleType):
    before, kind = os.environ, type(os.environ)
    with readings.recorded():
        assert os.environ is before
    assert type(os.environ) is kind


BASIS = Basis({"LOOKED_AT": "1", "NOT": "1"}, frozenset({"LOOKED_AT", "ABSENT"}), frozenset({"any_case"}), False)


@pytest.mark.parametrize(
    ("change", "in_the_way"),
    [
        ({}, ()),
        ({"NOT": "2", "NEW_API_KEY": "x"}, ()),
        ({"NOT": None}, ()),
        ({"LOOKED_AT": "2"}, ("LOOKED_AT",)),
        ({"LOOKED_AT": None}, ("LOOKED_AT",)),
        ({"ABSENT": ""}, ("ABSENT",)),
        ({"Any_Case": "1"}, ("Any_Case",)),
        ({"https_proxy": "x", "SSL_CERT_FILE": "y"}, ("SSL_CERT_FILE", "https_proxy")),
        ({"PYTHONPATH": "x"}, ("PYTHONPATH",)),
        ({"LITELLM_ANYTHING": "x", "LITESUP_LITELLM": "2.0"}, ("LITELLM_ANYTHING", "LITESUP_LITELLM")),
    ],
)
def test_only_what_may_have_mattered_is_in_the_way(change: dict[str, str | None], in_the_way: tuple[str, ...]):
    wanted = {name: value for name, value in {**BASIS.environment, **change}.items() if value is not None}
    assert BASIS.in_the_way(wanted) == in_the_way


def test_where_nothing_is_known_everything_counts():
    assert Basis.told({"NOT": "1"}, None).in_the_way({"NOT": "2"}) == ("NOT",)
    gone_through = {"names": [], "folded": [], "everything": "some.module"}
    assert Basis.told({"NOT": "1"}, gone_through).in_the_way({"NOT": "2"}) == ("NOT",)


def test_no_value_is_in_its_text():
    assert "secret" not in repr(Basis({"KEY": "secret"}))
