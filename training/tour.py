"""The tour: a model is served, its world changes, and a better one replaces it; `scripts/tour` runs it.

Each step prints the commands that it runs, what they print, and what to look at. The service, the store of
models and the captured data are those of the tour, in build/tour.
"""

import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from training.data import Data, load

ROOT = Path(__file__).parents[1]
WORK = ROOT / "build/tour"
PORT = 8080
START_TIMEOUT_S, REQUEST_TIMEOUT_S = 60.0, 10.0
MAX_LINES, MAX_COLUMNS = 14, 150
ROWS_PER_REQUEST = 20
# Rows of the tour: as in the training data, and after the change.
ROWS_BEFORE, ROWS_AFTER = 600, 1200
# A wine's measurements differ from those of one in the sample by this share of their standard deviation.
NOISE = 0.15
# After the change, alcohol is measured higher by this much (% vol), and the growers have swapped vineyards.
SHIFT, GROWERS = 0.8, 3
PYTHON = ROOT / ".venv/bin/python"

Labels = NDArray[np.int64]


def fail(message: str) -> NoReturn:
    """End the tour."""
    raise SystemExit(f"tour: {message}")


class Service:
    """The scoring service with one model, in a process of its own."""

    def __init__(self, environ: dict[str, str]) -> None:
        """
        Args:
            environ: the variables of all its processes.
        """
        self.port = free_port()
        self._environ = environ | {"PORT": str(self.port), "WEB_CONCURRENCY": "1"}
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, *arguments: str) -> None:
        """Serve a model, in place of the one before, and wait until it is ready."""
        self.stop()
        with (WORK / "service.log").open("ab") as log:
            self._process = subprocess.Popen(
                ["scripts/serve", *arguments], cwd=ROOT, env=self._environ, stdout=log, stderr=log
            )
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                if self.send("GET", "/readyz")[0] == http.client.OK:
                    return
            except OSError:
                time.sleep(0.1)
        fail(f"the service did not start; see {WORK.relative_to(ROOT)}/service.log")

    def stop(self) -> None:
        """Stop the service, if it runs."""
        if self._process:
            self._process.terminate()
            self._process.wait()
            self._process = None

    def send(self, method: str, path: str, body: Any = None) -> tuple[int, Any, str]:
        """Send a request.

        Returns:
            status, body and prediction id of the response.
        """
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=REQUEST_TIMEOUT_S)
        with closing(connection):
            headers = {"content-type": "application/json", "x-caller": "tour"}
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            response = connection.getresponse()
            content = response.read()
            is_json = response.headers.get_content_type() == "application/json"
            answer = json.loads(content) if is_json else content.decode()
            return response.status, answer, response.headers.get("x-prediction-id", "")


class Tour:
    """The steps, and what they share."""

    def __init__(self) -> None:
        shutil.rmtree(WORK, ignore_errors=True)
        shutil.copytree(ROOT / "model_store", WORK / "model_store")
        self.environ = os.environ | {
            "MODEL_STORE": f"file:{WORK / 'model_store'}",
            "MODEL_NAME": "wine",
            "MODEL_PUBLISHER": "tour",
            "CAPTURE_DIR": str(WORK / "captured/spool"),
            "CAPTURE_STORE": f"file:{WORK / 'captured'}",
            "CAPTURE_SEGMENT_S": "2",
        }
        self.service = Service(self.environ)
        self.data = load()
        self._random = np.random.default_rng(1)

    @property
    def url(self) -> str:
        """The address of the service."""
        return f"http://localhost:{self.service.port}"

    def run(self, *command: str, first: bool = False) -> None:
        """Print a command, run it in the clone, and print the last lines of its output.

        Args:
            first: print the first lines instead.
        """
        print(f"  $ {' '.join(command)}", flush=True)
        words = [str(PYTHON), *command[1:]] if command[0] == "python" else list(command)
        done = subprocess.run(words, cwd=ROOT, env=self.environ, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True)  # fmt: skip
        lines = done.stdout.splitlines()
        left_out = [f"… {len(lines) - MAX_LINES} more lines"] if len(lines) > MAX_LINES else []
        for line in (*lines[:MAX_LINES], *left_out) if first else (*left_out, *lines[-MAX_LINES:]):
            print(f"  {line[:MAX_COLUMNS]}")
        if done.returncode:
            fail(f"{command[0]} ended with exit code {done.returncode}")

    def serve(self, version: str) -> None:
        """Pull a version and serve it."""
        model = "build/tour/model"
        self.run("python", "-m", "model_loader", "pull", "--version", version, "--output", model,
                 "--lock", "build/tour/model.lock")  # fmt: skip
        print(f"  $ ./scripts/serve --model {model} &")
        self.service.start("--model", model)

    def score(self, rows: int, *, changed: bool) -> float:
        """Score wines, and report who grew them.

        Args:
            rows: how many wines.
            changed: whether they are those after the change.

        Returns:
            the share of right answers.
        """
        right = 0
        for _ in range(0, rows, ROWS_PER_REQUEST):
            values, growers = self._draw(ROWS_PER_REQUEST, changed=changed)
            body = {"inputs": {"x": values}}
            status, answer, prediction_id = self.service.send("POST", "/score", body)
            if status != http.client.OK:
                fail(f"POST /score answered {status}: {answer}")
            right += int(np.sum(np.array(answer["outputs"]["label"]) == growers))
            labels = [
                {"id": prediction_id, "row": row, "label": int(grower)} for row, grower in enumerate(growers)
            ]
            status, answer, _ = self.service.send("POST", "/feedback", labels)
            if status != http.client.ACCEPTED:
                fail(f"POST /feedback answered {status}: {answer}")
        return right / rows

    def _draw(self, rows: int, *, changed: bool) -> tuple[list[list[float]], Labels]:
        data: Data = self.data
        chosen = self._random.integers(0, len(data.x), rows)
        noise = self._random.standard_normal((rows, data.x.shape[1])) * NOISE * data.x.std(axis=0)
        values, growers = np.round(np.abs(data.x[chosen] + noise), 3), data.y[chosen]
        if changed:
            values[:, data.features.index("alcohol")] += SHIFT
            growers = (growers + 1) % GROWERS
        return values.tolist(), growers


def free_port() -> int:
    """Return PORT, or another one if it is taken."""
    for port in (PORT, 0):
        with socket.socket() as candidate:
            candidate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                candidate.bind(("127.0.0.1", port))
            except OSError:
                continue
            number: int = candidate.getsockname()[1]
            return number
    fail("no port is free")


def look(text: str) -> None:
    """Say what to look at."""
    print(f"  Look at: {text}")


def serve(tour: Tour) -> None:
    """Serve: the sample model, verified against its own samples, answers."""
    tour.run("python", "-m", "model_loader", "promote", "2", "--stage", "production", "--reason", "tour")
    tour.serve("production")
    samples = json.loads((WORK / "model/samples.json").read_text())
    example = {"inputs": {name: values[:1] for name, values in samples[0]["inputs"].items()}}
    print(f"  $ curl -s {tour.url}/score -H 'content-type: application/json' -d '{json.dumps(example)}'")
    _, answer, prediction_id = tour.service.send("POST", "/score", example)
    print(f"  {json.dumps(answer)[:MAX_COLUMNS]}")
    look(f"{tour.url}/ in a browser: the model's card, a form, charts; {tour.url}/docs: the API")
    print(f"           x-prediction-id: {prediction_id}, the name of this answer in all that follows")


def own_model(tour: Tour) -> None:
    """Your own model: any ONNX file and a CSV of test data become a verified package."""
    data = tour.data
    table = WORK / "test.csv"
    rows = np.column_stack([data.x, data.y])
    np.savetxt(table, rows, "%.9g", ",", header=",".join((*data.features, "label")), comments="")
    model = WORK / "any.onnx"
    shutil.copyfile(ROOT / "model_store/wine/2/model.onnx", model)
    loader = ("python", "-m", "model_loader")
    tour.run(*loader, "draft", "build/tour/any.onnx", "--data", "build/tour/test.csv", "--target", "label",
             "--name", "mine", "--out", "build/tour/mine")  # fmt: skip
    tour.run(*loader, "check", "build/tour/mine")
    tour.run(*loader, "publish", "build/tour/mine", "--name", "mine")
    look("build/tour/mine: samples, metrics, the data contract and the baseline, all from the two files")


def before_the_change(tour: Tour) -> None:
    """Production: answers are captured, and labels come back."""
    share = tour.score(ROWS_BEFORE, changed=False)
    print(f"  {ROWS_BEFORE} wines scored, and who grew them sent to POST /feedback: {share:.1%} were right")
    tour.run("scripts/monitor", "query", "SELECT version, count(*) AS rows FROM predictions GROUP BY version")
    look(f"{tour.url}/, Data: every feature is as in training")


def drift(tour: Tour) -> None:
    """Drift: the data and the truth change, and metrics tell."""
    share = tour.score(ROWS_AFTER, changed=True)
    print(f"  {ROWS_AFTER} wines of another year: {share:.1%} were right")
    print(f"  $ curl -s {tour.url}/metrics | grep 'feature=\"alcohol\"'")
    lines = tour.service.send("GET", "/metrics")[1].splitlines()
    for line in (line for line in lines if 'feature="alcohol"' in line and not line.startswith("#")):
        print(f"  {line[:MAX_COLUMNS]}")
    look(f"{tour.url}/, Data: alcohol has moved; the alert ScoringDrift has the runbook docs/operations.md")


def report(tour: Tour) -> None:
    """Quality: the monitor says how good the model is, with intervals."""
    time.sleep(3)  # until the segments are closed
    tour.run("scripts/monitor", "quality", first=True)
    tour.run("scripts/monitor", "report", "--out", "build/tour/report.html")
    look("build/tour/report.html: accuracy over time, drift, label coverage")


def retrain(tour: Tour) -> None:
    """Retrain: a snapshot is frozen, a challenger is trained, and has to be better by more than chance."""
    tour.run("scripts/train")
    tour.run("python", "-m", "model_loader", "list")
    look("build/model-report/data.html: the checks of the data; evaluation.json: the comparison")


def promote(tour: Tour) -> None:
    """Promote: the new model answers."""
    tour.run("python", "-m", "model_loader", "promote", "latest", "--stage", "production", "--reason",
             "better on the newest rows")  # fmt: skip
    tour.serve("production")
    share = tour.score(ROWS_BEFORE, changed=True)
    print(f"  {ROWS_BEFORE} wines of that year: {share:.1%} were right")
    look(f"{tour.url}/: another version and digest; in a cluster, the canary gate decides this")


def roll_back(tour: Tour) -> None:
    """Roll back: the version before answers again, and the ledger knows who did what, when and why."""
    tour.run(
        "python", "-m", "model_loader", "rollback", "--stage", "production", "--reason", "end of the tour"
    )
    tour.serve("production")
    tour.run("python", "-m", "model_loader", "history")
    look(f"{tour.url}/model: version and digest of the model before")


STEPS: tuple[Callable[[Tour], None], ...] = (
    serve,
    own_model,
    before_the_change,
    drift,
    report,
    retrain,
    promote,
    roll_back,
)


def main() -> int:
    """Run all steps and return the exit code."""
    start = time.monotonic()
    tour = Tour()
    try:
        for number, step in enumerate(STEPS, 1):
            print(f"\n{number}/{len(STEPS)}  {step.__doc__}", flush=True)
            step(tour)
            if sys.stdin.isatty():
                input("  Enter continues ")
    finally:
        tour.service.stop()
    print(f"\nThe tour took {time.monotonic() - start:.0f} s. What it wrote is in build/tour.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
