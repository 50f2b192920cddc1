"""What wrk prints, as numbers."""

from __future__ import annotations

import pytest

from benchmarks.hop import _parsed

PRINTED = """\
Running 4s test @ http://127.0.0.1:8000/v1/chat/completions
  1 threads and 512 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency   102.11ms  180.43ms   2.90s    93.11%
    Req/Sec     6.30k     0.98k    8.11k    72.50%
  Latency Distribution
     50%   67.24ms
     75%  102.00us
     90%    1.02s 
     99%    2.90s 
  25089 requests in 4.01s, 16.05MB read
  Socket errors: connect 0, read 1, write 0, timeout 2
  Non-2xx or 3xx responses: 3
Requests/sec:   6257.50
Transfer/sec:      4.00MB
"""  # noqa: W291


def test_every_unit_and_what_wrk_writes_behind_it_is_read():
    assert list(_parsed(PRINTED)) == pytest.approx([6257.5, 0.06724, 2.9, 6])
    assert _parsed(PRINTED.replace("67.24ms", " 1.50m "))[1] == pytest.approx(90)
