"""The server of the suite `observed`, whose requests are looked at by turns."""

import json
import time
from itertools import pairwise
from pathlib import Path

from benchmarks.peer import TURNS_PATH
from benchmarks.switched import TURN_S
from tests.app.conftest import starting


def test_looks_by_turns(tmp_path: Path, package: Path) -> None:
    """In every second turn requests are counted and logged as ever, in the others neither."""
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
