"""Every way to run three LiteLLMs behind one port that is measured, by the name of its side."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from benchmarks.peers.fronted import HAProxy, Nginx
from benchmarks.peers.ours import LeastOutstanding, Litesup
from benchmarks.peers.pool import Place, Pool
from benchmarks.peers.workers import Gunicorn, Uvicorn

POOLS: Mapping[str, Callable[[Place], Pool]] = {
    "litesup": Litesup,
    "litesup:least": LeastOutstanding,
    "uvicorn": Uvicorn,
    "gunicorn": Gunicorn,
    "haproxy": HAProxy,
    "nginx": Nginx,
}

NEEDS: Mapping[str, tuple[str, ...]] = {"haproxy": ("haproxy",), "nginx": ("nginx",)}
"""Programs without which a side cannot take part."""
