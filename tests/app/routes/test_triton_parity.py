"""The statuses of `/v2` beside those of Triton's own HTTP front end, with the same model.

`pytest --triton PYTHON`, with a Python that has nvidia-pytriton, compares with Triton itself.
"""

import http.client
import json
import struct
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests import models
from tests.app.conftest import starting
from tests.app.routes.triton import triton
from tests.conftest import write_package

INFER = "/v2/models/tiny/infer"
LENGTH = "Inference-Header-Content-Length"
JSON = {"Content-Type": "application/json"}
X = {"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1, 2]}
Y = {"name": "y"}
EIGHT = struct.pack("<2f", 1, 2)
SIZED = {"name": "x", "datatype": "FP32", "shape": [1, 2], "parameters": {"binary_data_size": 8}}


CLIENT = "the client's mistake, not the server's"


@dataclass(frozen=True)
class Case:
    """A request.

    Attributes:
        name: what it is.
        status: the service's.
        triton: Triton's, 2.51.
        reason: why they differ.
    """

    name: str
    status: int
    path: str = INFER
    method: str = "POST"
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=lambda: JSON)
    triton: int = 0
    reason: str = ""

    @property
    def triton_status(self) -> int:
        """Triton's status, which is the same if the table has none."""
        return self.triton or self.status


def get(path: str, status: int, triton: int = 0, reason: str = "") -> Case:
    """Return a GET request."""
    return Case(f"GET {path}", status, path, "GET", triton=triton, reason=reason)


def infer(name: str, document: Any, status: int, triton: int = 0, reason: str = "") -> Case:
    """Return an inference request in JSON."""
    return Case(name, status, body=json.dumps(document).encode(), triton=triton, reason=reason)


def binary(name: str, document: Any, data: bytes, status: int, triton: int = 0, reason: str = "") -> Case:
    """Return an inference request with binary data."""
    head = json.dumps(document).encode()
    headers = {LENGTH: str(len(head)), "Content-Type": "application/octet-stream"}
    return Case(name, status, body=head + data, headers=headers, triton=triton, reason=reason)


CASES = [
    get("/v2", 200),
    get("/v2/health/live", 200),
    get("/v2/health/ready", 200),
    get("/v2/models/tiny", 200),
    get("/v2/models/tiny/versions/1", 200),
    get("/v2/models/tiny/ready", 200),
    get("/v2/models/tiny/versions/1/ready", 200),
    get("/v2/models/tiny/config", 200),
    get("/v2/models/tiny/stats", 200),
    get("/v2/models/stats", 200),
    Case("POST index", 200, "/v2/repository/index"),
    get("/v2/models/other", 404),
    get("/v2/models/tiny/versions/2", 404),
    get("/v2/models/tiny/versions/x", 404),
    get("/v2/models/other/ready", 404, triton=400, reason="an unknown model is 404 everywhere"),
    get("/v2/models/other/config", 404),
    get("/v2/models/other/stats", 404, triton=400, reason="an unknown model is 404 everywhere"),
    get("/v2/nothing", 404),
    get(INFER, 405),
    get("/v2/repository/index", 405),
    Case("POST metadata", 405, "/v2/models/tiny"),
    Case("POST stats", 405, "/v2/models/tiny/stats"),
    Case(
        "POST load",
        400,
        "/v2/repository/models/tiny/load",
        triton=503,
        reason="it will not be possible later either",
    ),
    Case(
        "POST unload",
        400,
        "/v2/repository/models/tiny/unload",
        triton=503,
        reason="it will not be possible later either",
    ),
    Case("unknown model", 404, "/v2/models/other/infer", body=json.dumps({"inputs": [X]}).encode()),
    Case(
        "unknown version", 404, "/v2/models/tiny/versions/2/infer", body=json.dumps({"inputs": [X]}).encode()
    ),
    infer("flat data", {"inputs": [X]}, 200),
    infer("nested data", {"inputs": [X | {"data": [[1, 2]]}]}, 200),
    infer("two rows", {"inputs": [X | {"shape": [2, 2], "data": [1, 2, 3, 4]}]}, 200),
    infer("requested output", {"inputs": [X], "outputs": [Y]}, 200),
    infer("id and parameters", {"inputs": [X], "id": "a", "parameters": {"priority": 0, "own": 1}}, 200),
    infer(
        "no rows",
        {"inputs": [X | {"shape": [0, 2], "data": []}]},
        200,
        triton=400,
        reason="no rows are a batch of none",
    ),
    infer(
        "more rows than a batch",
        {"inputs": [X | {"shape": [129, 2], "data": [1] * 258}]},
        200,
        triton=400,
        reason="a larger request runs in slices",
    ),
    Case("empty body", 400),
    Case("not JSON", 400, body=b"{", triton=500, reason=CLIENT),
    infer("array", [], 400, triton=500, reason=CLIENT),
    infer("no inputs", {}, 400, triton=500, reason=CLIENT),
    infer("empty inputs", {"inputs": []}, 400),
    infer("unknown input", {"inputs": [X | {"name": "z"}]}, 400),
    infer("additional input", {"inputs": [X, X | {"name": "z"}]}, 400),
    infer("input twice", {"inputs": [X, X]}, 400),
    infer("unknown output", {"inputs": [X], "outputs": [{"name": "z"}]}, 400),
    infer(
        "output twice",
        {"inputs": [X], "outputs": [Y, Y]},
        400,
        triton=200,
        reason="the answer would have one output of two",
    ),
    infer("other datatype", {"inputs": [X | {"datatype": "INT32"}]}, 400),
    infer("unknown datatype", {"inputs": [X | {"datatype": "FLOAT"}]}, 400),
    infer("other shape", {"inputs": [X | {"shape": [1, 3], "data": [1, 2, 3]}]}, 400),
    infer("without batch", {"inputs": [X | {"shape": [2]}]}, 400),
    infer("negative shape", {"inputs": [X | {"shape": [-1, 2]}]}, 400, triton=500, reason=CLIENT),
    infer(
        "no shape",
        {"inputs": [{key: X[key] for key in ("name", "datatype", "data")}]},
        400,
        triton=500,
        reason=CLIENT,
    ),
    infer("too few elements", {"inputs": [X | {"data": [1]}]}, 400, triton=500, reason=CLIENT),
    infer("too many elements", {"inputs": [X | {"data": [1, 2, 3]}]}, 400, triton=500, reason=CLIENT),
    infer("string for a number", {"inputs": [X | {"data": ["1", 2]}]}, 400, triton=500, reason=CLIENT),
    infer("boolean for a number", {"inputs": [X | {"data": [True, 2]}]}, 400, triton=500, reason=CLIENT),
    infer(
        "null for a number",
        {"inputs": [X | {"data": [None, 2]}]},
        200,
        triton=500,
        reason="null is read as NaN",
    ),
    infer(
        "number out of range",
        {"inputs": [X | {"data": [1e40, 2]}]},
        400,
        triton=200,
        reason="the number would become infinite",
    ),
    infer(
        "nested otherwise",
        {"inputs": [X | {"data": [[1], [2]]}]},
        400,
        triton=200,
        reason="nested data have a shape, which must agree",
    ),
    infer("id is a number", {"inputs": [X], "id": 1}, 400, triton=500, reason=CLIENT),
    infer("binary output", {"inputs": [X], "parameters": {"binary_data_output": True}}, 200),
    infer(
        "classification",
        {"inputs": [X], "outputs": [Y | {"parameters": {"classification": 1}}]},
        400,
        triton=200,
        reason="not supported, so not ignored",
    ),
    infer(
        "sequence",
        {"inputs": [X], "parameters": {"sequence_id": 7, "sequence_start": True}},
        400,
        triton=200,
        reason="no state is kept, so the word is not ignored",
    ),
    infer(
        "shared memory",
        {
            "inputs": [X],
            "outputs": [Y | {"parameters": {"shared_memory_region": "r", "shared_memory_byte_size": 8}}],
        },
        400,
        triton=404,
        reason="shared memory is not supported, whatever the region",
    ),
    binary("binary", {"inputs": [SIZED]}, EIGHT, 200),
    binary("too little binary data", {"inputs": [SIZED]}, EIGHT[:7], 400),
    binary("too much binary data", {"inputs": [SIZED]}, EIGHT + b"x", 400),
    binary(
        "other binary size", {"inputs": [SIZED | {"parameters": {"binary_data_size": 4}}]}, EIGHT[:4], 400
    ),
    binary("data and binary data", {"inputs": [SIZED | {"data": [1, 2]}]}, EIGHT, 400),
    Case(
        "raw binary",
        400,
        body=EIGHT,
        headers={LENGTH: "0", "Content-Type": "application/octet-stream"},
        triton=200,
        reason="not supported, so not ignored",
    ),
    Case("length of the JSON is not a number", 400, body=b"{}", headers={LENGTH: "x"} | JSON),
    Case("length of the JSON beyond the body", 400, body=b"{}", headers={LENGTH: "9"} | JSON),
    Case("no content type", 200, body=json.dumps({"inputs": [X]}).encode(), headers={}),
    Case(
        "form",
        415,
        body=json.dumps({"inputs": [X]}).encode(),
        headers={"Content-Type": "text/plain"},
        triton=200,
        reason="a page of another site can send it",
    ),
    Case(
        "unknown coding",
        415,
        body=json.dumps({"inputs": [X]}).encode(),
        headers={"Content-Encoding": "br"} | JSON,
        triton=501,
        reason="the status for an unsupported coding, RFC 9110, section 15.5.16",
    ),
    Case(
        "not compressed",
        400,
        body=json.dumps({"inputs": [X]}).encode(),
        headers={"Content-Encoding": "gzip"} | JSON,
    ),
]
CASES_BY_NAME = pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])


def send(port: int, case: Case) -> int:
    """Send a request on a connection of its own; return the response's status."""
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=20)) as connection:
        connection.request(case.method, case.path, case.body, case.headers)
        return connection.getresponse().status


@pytest.fixture(scope="module")
def service_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Provide the port of the service with the model."""
    directory = tmp_path_factory.mktemp("service")
    package = write_package(directory / "tiny", models.affine(), version=1)
    with starting(directory) as start:
        yield start(package, WEB_CONCURRENCY="1").wait_until_ready().port


@pytest.fixture(scope="module")
def triton_port(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Provide the port of Triton with the model."""
    with triton(request.config.getoption("--triton"), tmp_path_factory.mktemp("triton")) as port:
        yield port


@CASES_BY_NAME
def test_service(service_port: int, case: Case) -> None:
    """The service answers with the status in the table."""
    assert send(service_port, case) == case.status


@CASES_BY_NAME
def test_triton(triton_port: int, case: Case) -> None:
    """Triton answers with the status in the table."""
    assert send(triton_port, case) == case.triton_status


def test_reasons() -> None:
    """Where the statuses differ, and only there, the table has a reason; most are the same."""
    different = [case for case in CASES if case.triton_status != case.status]
    assert all(bool(case.reason) == (case in different) for case in CASES)
    assert len(different) < len(CASES) / 2
