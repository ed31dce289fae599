"""Tests of the server of the suite `observed`, which switches observability on and off."""

import json
import time
from itertools import pairwise
from pathlib import Path

from benchmarks.peer import TURNS_PATH
from benchmarks.switched import TURN_S
from tests.app.conftest import starting


def test_switches(tmp_path: Path, package: Path) -> None:
    """Requests are counted and logged in every second interval, and in no other."""
    sent = 0
    with starting(tmp_path) as start:
        server = start(package, "benchmarks.switched:application()").wait_until_ready()
        until = time.monotonic() + 5 * TURN_S
        while time.monotonic() < until:
            assert server.request("POST", "/score", {"inputs": [[1, 2]]})[0] == 200
            sent += 1
        time.sleep(2 * TURN_S)
        turns = json.loads(server.request("GET", TURNS_PATH)[1])
        metrics = server.request("GET", "/metrics")[1]
        server.stop()
    assert len(turns) >= 5
    assert all(before[0] != after[0] for before, after in pairwise(turns))
    logged = sum(line["message"] == "request" and line["route"] == "/score" for line in server.lines())
    assert 0 < logged < sent
    assert f'model_requests_total{{caller="anonymous",status="200"}} {float(logged)}' in metrics
