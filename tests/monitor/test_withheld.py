"""No value of a column that `schema.json` withholds appears in any file, log, metric or report."""

import gzip
import json
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import onnx
import pytest
from onnx import TensorProto, helper

from tests import models
from tests.app.conftest import Server, StartServer
from tests.app.conftest import start_server as start_server
from tests.conftest import write_package
from tests.monitor.conftest import Monitor
from tests.monitor.test_serve import get, served, wait_for

CANARY = "canary7c1f"
NUMBER = 73519.25
KEPT = "kept4d2a"
SCHEMA: Any = {
    "features": {
        "customer": {"type": "string", "pii": True},
        "email": {"type": "string", "pii": "hash"},
        "note": {"type": "string", "capture": False, "categories": ["a", "b"]},
        "salary": {"type": "number", "pii": True, "max": 100},
        "kind": {"type": "string", "categories": [KEPT]},
    },
    "outputs": {"who": {"type": "string", "pii": True}, "sum": {"type": "number", "capture": False}},
    "feedback": {"bought": {"type": "boolean"}},
}
BINS = {"categories": [CANARY], "shares": [1]}
BASELINE = {
    "rows": 100,
    "features": {
        "customer": BINS, "email": {"categories": [f"{CANARY}@example.com"], "shares": [1]}, "note": BINS,
        "salary": {"edges": [NUMBER, NUMBER + 1], "shares": [1]},
        "kind": {"categories": [KEPT], "shares": [1]},
    },
    "outputs": {"who": BINS, "sum": {"edges": [2 * NUMBER, 2 * NUMBER + 1], "shares": [1]}},
}  # fmt: skip
ROW = {"customer": CANARY, "email": f"{CANARY}@example.com", "note": CANARY, "salary": NUMBER, "kind": KEPT}


def write_model(path: Path) -> Path:
    """Write a package whose outputs repeat what is withheld."""
    nodes = [
        helper.make_node("Identity", ["customer"], ["who"]),
        helper.make_node("Add", ["salary", "salary"], ["sum"]),
        helper.make_node("Identity", ["kind"], ["label"]),
        helper.make_node("Identity", ["note"], ["unused"]),
        helper.make_node("Identity", ["email"], ["unused2"]),
    ]
    text = [name for name, field in SCHEMA["features"].items() if field["type"] == "string"]
    inputs = [models.tensor(name, TensorProto.STRING, ("batch", 1)) for name in text]
    inputs.append(models.tensor("salary", shape=("batch", 1)))
    outputs = [models.tensor(name, TensorProto.STRING, ("batch", 1)) for name in ("who", "label")]
    outputs.append(models.tensor("sum", shape=("batch", 1)))
    model = models.model(nodes, inputs, outputs)
    graph = onnx.load_from_string(model).graph
    input_specs, output_specs = (
        [
            {
                "name": each.name,
                "datatype": "FP32" if each.name in ("salary", "sum") else "STRING",
                "shape": ["batch", 1],
            }
            for each in side
        ]
        for side in (graph.input, graph.output)
    )
    return write_package(
        path,
        model,
        schema=SCHEMA,
        baseline=BASELINE,
        inputs=input_specs,
        outputs=output_specs,
        name="wine",
        version=2,
    )


def send(server: Server, path: str, content_type: str, body: str) -> int:
    """Send a body as it is, and return the status."""
    with closing(server.connect()) as connection:
        connection.request("POST", path, body, {"content-type": content_type})
        response = connection.getresponse()
        response.read()
        return response.status


def send_all(server: Server) -> list[int]:
    """Send the canaries in answered and in refused requests of every format; return the statuses."""
    columns = {name: [[value]] for name, value in ROW.items()}
    # part: v2
    tensors = [
        {"name": name, "datatype": "FP32" if name == "salary" else "BYTES", "shape": [1, 1], "data": [value]}
        for name, value in ROW.items()
    ]
    # end: v2
    wrong = [
        ROW | {"salary": CANARY},
        ROW | {"customer": NUMBER},
        ROW | {CANARY: 1},
        {"kind": KEPT, "customer": CANARY},
        ROW | {"customer": [CANARY, CANARY]},
    ]
    bodies = [
        ("/score", "application/json", json.dumps({"inputs": columns})),
        ("/score", "application/json", json.dumps({"instances": [ROW, ROW]})),
        ("/score", "text/csv", f"{','.join(ROW)}\n{','.join(map(str, ROW.values()))}\n"),
        ("/score", "text/csv", f"{','.join(ROW)}\n{CANARY}\n"),
        ("/v2/models/wine/infer", "application/json", json.dumps({"inputs": tensors})),  # part: v2
        ("/v2/models/wine/infer", "application/json", json.dumps({"inputs": tensors[:2]})),  # part: v2
        ("/score", "application/json", f'{{"inputs": "{CANARY}"}}'),
        ("/score", "application/json", f'{{"inputs": {{"customer": "{CANARY}'),
        *(("/score", "application/json", json.dumps({"instances": [row]})) for row in wrong),
    ]
    return [send(server, *each) for each in bodies]


def texts(directory: Path) -> Iterator[tuple[Path, str]]:
    """Yield the content of every file; of compressed ones and of Parquet, the values."""
    for path in directory.rglob("*"):
        if not path.is_file():
            continue
        if path.suffix == ".gz":
            yield path, gzip.decompress(path.read_bytes()).decode()
        elif path.suffix == ".parquet":
            yield path, str(duckdb.read_parquet(str(path)).fetchall())
        else:
            yield path, path.read_bytes().decode(errors="replace")


@pytest.mark.parametrize("enforced", ["count", "enforce"])
def test_withheld(
    start_server: StartServer,
    workspace: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monitor: Monitor,
    monkeypatch: pytest.MonkeyPatch,
    enforced: str,
) -> None:
    """Service, spool, store, Parquet, report, metrics and log have only what may be kept."""
    package = write_model(tmp_path_factory.mktemp("package") / "wine/2")
    key = tmp_path_factory.mktemp("key") / "key"
    key.write_text("0123456789abcdef0123456789abcdef")
    spool = workspace / "captured/spool"
    variables = {"LOG_PAYLOADS": "on", "SCHEMA": enforced, "CAPTURE_HASH_KEY_FILE": str(key)}
    server = start_server(package, CAPTURE_DIR=str(spool), **variables).wait_until_ready()
    statuses = send_all(server)
    assert statuses.count(200) == (0 if enforced == "enforce" else 4)
    assert statuses.count(400) == len(statuses) - statuses.count(200)
    exposed = server.request("GET", "/metrics")[1] + server.request("GET", "/recent/data")[1]
    assert server.stop() == 0
    (workspace / "metrics.txt").write_text(exposed)
    (workspace / "service.log").write_text(server.log.read_text())
    monkeypatch.setenv("CAPTURE_DIR", str(spool))
    models_url = f"file:{package.parents[1]}"
    assert monitor("ship", "--once")[0] == 0
    written = {"query": monitor("query", "SELECT * FROM predictions")}
    written["quality"] = monitor("quality", "--models", models_url, "--json")
    written["report"] = monitor("report", "--models", models_url)
    with served("--models", models_url) as url:
        (workspace / "monitor.txt").write_text(wait_for(url, "monitor_up 1.0") + get(url))
    written["compact"] = monitor("compact", "--date", f"{datetime.now(UTC):%Y-%m-%d}")
    for name, (code, out, err) in written.items():
        assert code == 0, (name, err)
        (workspace / f"{name}.txt").write_text(out + err)
    found = dict(texts(workspace))
    assert any("service.log" in path.name for path in found)
    assert {".gz", ".parquet"} <= {path.suffix for path in found}
    for path, text in found.items():
        for canary in (CANARY, "73519", "147038"):
            assert canary not in text, (path, text[max(0, text.index(canary) - 200) :][:400])
    if enforced == "count":
        holders = [path.name for path, text in found.items() if KEPT in text]
        assert {"service.log", "query.txt", "metrics.txt"} <= set(holders)
        assert (workspace / "report.html").stat().st_size > 0
