from __future__ import annotations

import pytest

from supervisor.doctor.address import url_of


@pytest.mark.parametrize(
    ("listening", "url"),
    [
        ("127.0.0.1:8000", "http://127.0.0.1:8000"),
        ("[::1]:8000", "http://[::1]:8000"),
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000"),
        ("0.0.0.0:8000", "http://127.0.0.1:8000"),
        ("[::]:8000", "http://[::1]:8000"),
        ("10.0.0.5:8000", "http://10.0.0.5:8000"),
        ("https://10.0.0.5:8443", "https://10.0.0.5:8443"),
    ],
)
def test_what_is_listened_on_becomes_what_can_be_asked(listening: str, url: str) -> None:
    assert url_of(listening) == url
