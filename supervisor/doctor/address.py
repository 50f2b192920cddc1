"""From an address that is listened on to one that can be asked. Pure."""

from __future__ import annotations


def url_of(address: str) -> str:
    """A URL that can be asked on this machine, from an address that is listened on, as the status shows it."""
    bare = address.removeprefix("http://")
    for anywhere, here in (("0.0.0.0:", "127.0.0.1:"), ("[::]:", "[::1]:")):
        if bare.startswith(anywhere):
            bare = here + bare.removeprefix(anywhere)
    return bare if bare.startswith("https://") else f"http://{bare}"
