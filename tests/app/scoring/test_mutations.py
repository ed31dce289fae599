"""Mutated requests: a worker answers any bytes, and neither exits nor leaks memory."""

import gzip
import http.client
import io
import json
import random
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from tests.app.conftest import StartServer

COUNT, ALL_COUNT = 6_000, 20_000
WARM_UP_COUNT = 2_000
MAX_GROWTH_MB, ALL_MAX_GROWTH_MB = 30, 50
LENGTH = "inference-header-content-length"
JSON = {"content-type": "application/json"}
TOKENS = (
    b"null",
    b"true",
    b'"NaN"',
    b"1e999",
    b"-1",
    b"18446744073709551616",
    b"[",
    b"]",
    b"{}",
    b"\xff",
    b"\0",
)


class Case(NamedTuple):
    """A POST request."""

    path: str
    headers: dict[str, str]
    body: bytes


def valid_requests() -> list[Case]:
    """Return valid requests in every protocol and coding."""
    score = "/score"
    infer = "/v2/models/tiny/infer"  # part: v2
    array = np.array([[1, 2], [3, 4]], np.float32)
    stream = io.BytesIO()
    np.save(stream, array)
    # part: v2
    tensor = {"name": "x", "datatype": "FP32", "shape": [2, 2]}
    head = json.dumps(
        {
            "inputs": [tensor | {"parameters": {"binary_data_size": 16}}],
            "parameters": {"binary_data_output": True},
        }
    ).encode()
    # end: v2
    document = json.dumps({"inputs": {"x": array.tolist()}}).encode()
    return [
        Case(score, {"content-type": "application/json"}, document),
        Case(score, dict(JSON), b'{"instances": [{"a": 1, "b": 2}, {"a": null, "b": "NaN"}]}'),
        Case(score, dict(JSON), json.dumps({"inputs": np.ones((1500, 2)).tolist()}).encode()),
        Case(score, {"content-type": "application/x-npy", "accept": "application/x-npy"}, stream.getvalue()),
        Case(score, JSON | {"content-encoding": "gzip"}, gzip.compress(document)),
        # part: v2
        Case(
            infer, dict(JSON), json.dumps({"inputs": [tensor | {"data": [1, 2, 3, 4]}], "id": "a"}).encode()
        ),
        Case(infer, {LENGTH: str(len(head))}, head + array.tobytes()),
        Case(
            infer, {LENGTH: str(len(head)), "content-encoding": "gzip"}, gzip.compress(head + array.tobytes())
        ),
        # end: v2
    ]


def mutate(rng: random.Random, case: Case) -> Case:
    """Return the request with one to three random changes of its body or headers."""
    path, headers, body = case.path, dict(case.headers), bytearray(case.body)
    for _ in range(rng.randrange(1, 4)):
        at = rng.randrange(len(body) + 1)
        match rng.randrange(8):
            case 0:
                body = body[:at]
            case 1 if at < len(body):
                body[at] ^= 1 << rng.randrange(8)
            case 2:
                body[at:at] = rng.choice(TOKENS)
            case 3:
                del body[at : at + rng.randrange(1, 9)]
            case 4:
                body[at:at] = body[at : at + rng.randrange(1, 64)]
            case 5 if LENGTH in headers:
                headers[LENGTH] = rng.choice(["0", "1", str(at), str(2**31), "-1", "x", str(len(body))])
            case 6:
                types = (
                    "application/json",
                    "application/octet-stream",
                    "application/x-npy",
                    "text/plain",
                    "",
                )
                headers["content-type"] = rng.choice(types)
            case 7:
                headers["content-encoding"] = rng.choice(["gzip", "deflate", "identity", "br"])
    return Case(path, headers, bytes(body))


def memory_mb(pid: int) -> float:
    """Return the resident memory of a process, in megabytes."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * 4096 / 1e6


def test_mutations(package: Path, start_server: StartServer, request: pytest.FixtureRequest) -> None:
    """No mutated request or zip bomb causes a status of 500, ends the worker or makes its memory grow."""
    every = request.config.getoption("--all")
    count = ALL_COUNT if every else COUNT
    server = start_server(package, WEB_CONCURRENCY="1").wait_until_ready()
    (worker,) = server.workers()
    rng, valid = random.Random(5), valid_requests()
    bomb = Case("/score", JSON | {"content-encoding": "gzip"}, gzip.compress(b" " * 60_000_000, 1))
    statuses: Counter[int] = Counter()
    baseline_mb = 0.0
    with closing(server.connect()) as connection:
        for number in range(count):
            case = bomb if number % 2000 == 1000 else mutate(rng, rng.choice(valid))
            connection.request("POST", case.path, case.body, case.headers)
            response: http.client.HTTPResponse = connection.getresponse()
            response.read()
            statuses[response.status] += 1
            if number == WARM_UP_COUNT:
                baseline_mb = memory_mb(worker)
    assert statuses.keys() <= {200, 400, 413, 415}, statuses
    assert statuses[200] > count / 50, statuses
    assert statuses[413] == count // 2000
    assert server.workers() == [worker]
    assert memory_mb(worker) - baseline_mb < (ALL_MAX_GROWTH_MB if every else MAX_GROWTH_MB)
    assert server.stop() == 0
    assert "Traceback" not in server.log.read_text()
