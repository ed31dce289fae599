"""Drift end to end: from scored rows to the alert that Alertmanager sends."""

import json
import queue
import threading
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.app.conftest import Server, StartServer
from tests.monitoring.conftest import ROOT, alertmanager, prometheus, wait_for
from training.data import load, split
from training.train import SEED

ROWS, ROWS_A_REQUEST = 4000, 50
SHIFTED = "magnesium"


@pytest.fixture
def webhook() -> Iterator[tuple[int, "queue.Queue[Any]"]]:
    """The port of a server that receives Alertmanager's notifications, and a queue of their alerts."""
    alerts: queue.Queue[Any] = queue.Queue()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            for alert in body["alerts"]:
                alerts.put(alert)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever).start()
        yield server.server_port, alerts
        server.shutdown()


def score(server: Server, rows: Any) -> None:
    """Score the rows, ROWS_A_REQUEST in each request."""
    with closing(server.connect()) as connection:
        for part in np.split(rows, range(ROWS_A_REQUEST, len(rows), ROWS_A_REQUEST)):
            body = json.dumps({"inputs": part.tolist()})
            connection.request("POST", "/score", body, {"content-type": "application/json"})
            response = connection.getresponse()
            assert response.status == 200, response.read()
            response.read()


def is_drift(alert: Any) -> bool:
    """Return whether an alert is about drift; others may fire because of the machine's load or date."""
    return bool(alert["labels"]["alertname"] == "ScoringDrift")


def test_shift(tmp_path: Path, start_server: StartServer, webhook: tuple[int, "queue.Queue[Any]"]) -> None:
    """If a feature's mean shifts by one standard deviation, only its PSI rises, over both replicas, and an
    alert is sent. The same number of rows from the training distribution cause none."""
    training = split(load(), SEED)[0]
    column = training.features.index(SHIFTED)
    numbers = np.random.default_rng(SEED)
    servers = {
        (namespace, pod): start_server(ROOT / "model_store/wine/2", WEB_CONCURRENCY="1").wait_until_ready()
        for namespace in ("steady", "shifted")
        for pod in ("a", "b")
    }
    targets = {
        server.port: {"namespace": namespace, "pod": pod, "track": "stable"}
        for (namespace, pod), server in servers.items()
    }
    port, alerts = webhook
    with (
        alertmanager(tmp_path, port) as manager,
        prometheus(tmp_path, targets, alertmanager=manager) as found,
    ):
        for (namespace, _), server in servers.items():
            rows = numbers.choice(training.x, ROWS // 2).astype(np.float32)
            if namespace == "shifted":
                rows[:, column] += training.x[:, column].std()
            score(server, rows)
        wait_for(
            lambda: (
                len(found.query(f"sum by (namespace, feature) (model_feature_bin_total) == {ROWS}")) == 26
            ),
            "every row counted",
        )
        # Replicas are scraped one after another, so the alert may fire before all of them are in the rules.
        excess = 'version:model_drift:psi_excess1h{feature!=""}'
        wait_for(lambda: len(found.query(excess)) == 26, "every feature's PSI")
        received = next(alert for alert in iter(lambda: alerts.get(timeout=30), None) if is_drift(alert))
        psi = {(labels["namespace"], labels["feature"]): value for labels, value in found.query(excess)}
        outputs = found.query('version:model_drift:psi_excess1h{output!=""}')
        firing = found.query('ALERTS{alertname="ScoringDrift"}')
    assert len(psi) == 2 * len(training.features)
    assert psi.pop(("shifted", SHIFTED)) > 0.2
    assert max(psi.values()) < 0.05
    assert max(value for labels, value in outputs if labels["namespace"] == "steady") < 0.1
    assert [labels.get("feature") for labels, _ in firing] == [SHIFTED]
    assert {labels["namespace"] for labels, _ in firing} == {"shifted"}
    assert received["status"] == "firing"
    assert received["labels"]["feature"] == SHIFTED
    assert SHIFTED in received["annotations"]["summary"]
