"""Traces: spans of scored requests reach a collector, which here is the test, reading OTLP as it comes."""

import http.server
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from app.observability.tracing import CLOSE_TIMEOUT_S
from tests import models
from tests.app.conftest import ROOT, StartServer

TRACE, PARENT = "ab" * 16, "12" * 8
HEADERS = {"content-type": "application/json", "traceparent": f"00-{TRACE}-{PARENT}-01"}


class Collector(http.server.ThreadingHTTPServer):
    """Takes spans; while it is stuck it answers nobody."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.daemon_threads = True
        self.spans: list[Any] = []
        self.service = ""
        self.stuck = threading.Event()
        self.url = f"http://127.0.0.1:{self.server_port}"


class Handler(http.server.BaseHTTPRequestHandler):
    """`POST /v1/traces`."""

    server: Collector

    def do_POST(self) -> None:
        """Reads the spans."""
        request = ExportTraceServiceRequest.FromString(self.rfile.read(int(self.headers["content-length"])))
        while self.server.stuck.is_set():
            time.sleep(0.05)
        for resource in request.resource_spans:
            about = {item.key: item.value.string_value for item in resource.resource.attributes}
            self.server.service = about["service.name"]
            for scope in resource.scope_spans:
                self.server.spans += scope.spans
        body = ExportTraceServiceResponse().SerializeToString()
        self.send_response(200 if self.path == "/v1/traces" else 404)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_args: Any) -> None:
        """Says nothing."""


@pytest.fixture
def collector() -> Iterator[Collector]:
    """A collector on a free port."""
    server = Collector()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.stuck.clear()
    server.shutdown()
    thread.join()
    server.server_close()


def test_spans(tmp_path: Path, collector: Collector, start_server: StartServer) -> None:
    """A request's span is a child of the caller's, and its phases follow each other within it."""
    model = tmp_path / "slow.onnx"
    model.write_bytes(models.slow())
    server = start_server(
        model, WEB_CONCURRENCY="1", OTEL_EXPORTER_OTLP_ENDPOINT=collector.url, OTEL_SERVICE_NAME="wine"
    ).wait_until_ready()
    connection = server.connect()
    for body in (b'{"inputs": [[%s]]}' % b",".join([b"0.5"] * 1000), b"{}"):
        connection.request("POST", "/score", body, HEADERS)
        connection.getresponse().read()
    connection.close()
    assert server.stop() == 0
    assert collector.service == "wine"
    scored, refused = (span for span in collector.spans if span.name == "POST /score")
    for span in (scored, refused):
        assert (span.trace_id.hex(), span.parent_span_id.hex()) == (TRACE, PARENT)
    attributes = {item.key: item.value for item in refused.attributes}
    assert attributes["http.response.status_code"].int_value == 400
    phases = [span for span in collector.spans if span.parent_span_id == scored.span_id]
    assert [span.name for span in phases] == ["decode", "queue", "infer", "encode"]
    times = [time for span in phases for time in (span.start_time_unix_nano, span.end_time_unix_nano)]
    assert times == sorted(times)
    assert scored.start_time_unix_nano <= times[0]
    assert times[-1] <= scored.end_time_unix_nano
    assert abs(time.time() - scored.end_time_unix_nano / 1e9) < 60
    assert not [span for span in collector.spans if span.parent_span_id == refused.span_id]


def test_failure(tmp_path: Path, collector: Collector, start_server: StartServer) -> None:
    """A failed request's span has the reason, and not the message, which may have a value."""
    model = tmp_path / "gather.onnx"
    model.write_bytes(models.gather())
    server = start_server(model, OTEL_EXPORTER_OTLP_ENDPOINT=collector.url).wait_until_ready()
    assert server.request("POST", "/score", {"inputs": [987654]})[0] == 500
    assert server.stop() == 0
    (failed,) = (span for span in collector.spans if span.name == "POST /score")
    assert failed.status.message == "inference"
    assert b"987654" not in failed.SerializeToString()


def test_not_sampled(package: Path, collector: Collector, start_server: StartServer) -> None:
    """Who calls decides whether a trace is kept, as W3C's flag says."""
    server = start_server(package, OTEL_EXPORTER_OTLP_ENDPOINT=collector.url).wait_until_ready()
    connection = server.connect()
    for flag in ("00", "01"):
        headers = HEADERS | {"traceparent": f"00-{TRACE}-{PARENT}-{flag}"}
        connection.request("POST", "/score", b'{"inputs": [[1, 2]]}', headers)
        assert connection.getresponse().read()
    connection.close()
    assert server.stop() == 0
    assert [span.name for span in collector.spans].count("POST /score") == 1


def test_stuck_collector(package: Path, collector: Collector, start_server: StartServer) -> None:
    """A collector that does not answer holds up neither requests nor the end."""
    collector.stuck.set()
    server = start_server(
        package, OTEL_EXPORTER_OTLP_ENDPOINT=collector.url, OTEL_BSP_SCHEDULE_DELAY="100", DRAIN_DELAY_S="0"
    ).wait_until_ready()
    for _ in range(20):
        assert server.request("POST", "/score", {"inputs": [[1, 2]]})[0] == 200
    time.sleep(0.3)
    began = time.monotonic()
    assert server.request("POST", "/score", {"inputs": [[1, 2]]})[0] == 200
    assert time.monotonic() - began < 1
    began = time.monotonic()
    assert server.stop() == 0
    assert time.monotonic() - began < CLOSE_TIMEOUT_S + 5


@pytest.mark.parametrize("endpoint", [None, "http://127.0.0.1:9"])
def test_imported_where_wanted(package: Path, endpoint: str | None) -> None:
    """Without a collector nothing of OpenTelemetry is imported."""
    code = f"""
import sys
from pathlib import Path
from app import create_app
from app.settings import Settings
create_app(Settings(model_path=Path({str(package)!r}), otel_exporter_otlp_endpoint={endpoint!r}))
print("opentelemetry" in sys.modules, "requests" in sys.modules)
"""
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout.split()[0] == str(endpoint is not None)
    assert endpoint or run.stdout.split()[1] == "False"
