"""The route `/metrics` of several workers: every scrape gets an answer."""

from collections.abc import Iterator
from contextlib import closing

import pytest

from tests import models
from tests.app.conftest import Server, starting


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Provide a server with two workers."""
    directory = tmp_path_factory.mktemp("server")
    (directory / "tiny.onnx").write_bytes(models.affine())
    with starting(directory) as start:
        yield start(directory / "tiny.onnx", WEB_CONCURRENCY="2").wait_until_ready()


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["model_info"], {"model_info"}),
        (["model_info", "model_queue_rows"], {"model_info", "model_queue_rows"}),
        (["model_infer_duration_seconds_count"], {"model_infer_duration_seconds_count"}),
        (["nothing"], set()),
    ],
)
def test_names(server: Server, names: list[str], expected: set[str]) -> None:
    """A scrape that names metrics or samples gets these."""
    status, text = server.request("GET", "/metrics?" + "&".join(f"name[]={name}" for name in names))
    assert status == 200
    samples = (line for line in text.splitlines() if not line.startswith("#"))
    assert {line.partition(" ")[0].partition("{")[0] for line in samples} == expected


@pytest.mark.parametrize(
    "accept",
    [
        "",
        ";;,=",
        "text/plain; version=x",
        "text/plain; version=1.0.0; escaping=x",
        "application/openmetrics-text",
        "application/openmetrics-text; version=x",
        "application/openmetrics-text; version=1.0.0; escaping=x",
        "application/openmetrics-text; version=99",
    ],
)
def test_accept(server: Server, accept: str) -> None:
    """A scrape is answered in a format that Prometheus reads, whatever it accepts."""
    with closing(server.connect()) as connection:
        connection.request("GET", "/metrics", headers={"accept": accept})
        response = connection.getresponse()
        assert response.status == 200
        assert "model_info{" in response.read().decode()
