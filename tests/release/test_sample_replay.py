"""Samples replayed to pods that answer, through a kubectl that forwards to them."""

import json
import re
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from model_loader.package.baseline import Distribution
from release import sample_replay
from release.canary_gate import CanaryGate
from release.errors import NotEnoughData
from release.kubernetes import TRACK, Pod, forward_port
from release.sample_replay import bin_of, replay
from release.thresholds import read_thresholds
from tests.release.simulated_pods import ServingPod

ROOT = Path(__file__).parents[2]
NAMESPACE = "demo-production"
BINS = {"0": 0.5, "1": 0.5, "missing": 0.0, "outside": 0.0}
# Prints the pods, and forwards "ports" by printing the address of a pod's server.
KUBECTL = """\
#!{python}
import json, sys, time
pods = json.load(open("{state}"))
if sys.argv[1] == "get":
    print(json.dumps({{"items": pods}}))
else:
    name = next(word for word in sys.argv if word.startswith("pod/")).removeprefix("pod/")
    port = next(pod["port"] for pod in pods if pod["metadata"]["name"] == name)
    print(f"Forwarding from 127.0.0.1:{{port}} -> 8080", flush=True)
    time.sleep(60)
"""


@dataclass
class Namespace:
    """The pods of a namespace, and the file in which kubectl finds them."""

    path: Path
    pods: list[dict[str, Any]] = field(default_factory=list)
    handlers: dict[str, type[ServingPod]] = field(default_factory=dict)
    servers: list[ThreadingHTTPServer] = field(default_factory=list)

    def add(self, track: str, **behaviour: Any) -> None:
        """Start a pod of a track."""
        handler = type("Handler", (ServingPod,), {"keys": [], **behaviour})
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=server.serve_forever).start()
        self.servers.append(server)
        self.handlers[track] = handler
        self.pods.append(
            {
                "metadata": {"name": track, "labels": {TRACK: track}},
                "spec": {"containers": [{"image": "demo@sha256:1"}]},
                "status": {"conditions": [{"type": "Ready", "status": "True"}]},
                "port": server.server_port,
            }
        )
        self.path.write_text(json.dumps(self.pods))


@pytest.fixture
def namespace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Namespace]:
    """Return an empty namespace, and put its kubectl on PATH."""
    found = Namespace(tmp_path / "pods.json")
    found.path.write_text("[]")
    program = tmp_path / "bin/kubectl"
    program.parent.mkdir()
    program.write_text(KUBECTL.format(python=sys.executable, state=found.path))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=":")
    yield found
    for server in found.servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def gate() -> CanaryGate:
    """Return a gate that compares with control pods, and has seen no request."""
    thresholds = read_thresholds(ROOT / "monitoring/canary.toml")
    gate = CanaryGate(thresholds)
    gate.begin(is_first=False)
    gate.add_outputs({"label": BINS}, {"label": BINS}, 1000)
    return gate


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """Return a package with samples and a baseline."""
    directory = tmp_path / "model"
    directory.mkdir()
    samples = [{"inputs": {"x": [[number]]}, "outputs": {"label": [0]}} for number in range(40)]
    (directory / "samples.json").write_text(json.dumps(samples))
    baseline = {"rows": 9, "outputs": {"label": {"categories": [0, 1], "shares": [0.5, 0.5]}}}
    (directory / "baseline.json").write_text(json.dumps(baseline))
    return directory


def row(gate: CanaryGate, check: str) -> list[str]:
    """Return the cells of a check, without its name."""
    line = next(line for line in gate.report().splitlines() if line.startswith(f"{check}  "))
    return re.split("  +", line)[1:]


def test_good(namespace: Namespace, gate: CanaryGate, package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Samples stand in for requests that do not come, the table says so, and the API key is sent."""
    monkeypatch.setenv("API_KEY", "hush-5f1c")
    namespace.add("canary")
    namespace.add("control")
    replay(gate, NAMESPACE, package)
    assert gate.result == "pass"
    replayed = "300, 300 of them replayed"
    assert row(gate, "requests")[:2] == [replayed, f"control: {replayed}"]
    assert namespace.handlers["canary"].keys == ["hush-5f1c"] * 300
    assert "hush" not in gate.report()
    # Each sample's outputs count once, however often it was sent.
    assert row(gate, "output label")[0] == "100 % in 0, 40 values"


@pytest.mark.parametrize(
    ("behaviour", "check"),
    [({"status": 500}, "errors"), ({"status": 503}, "shed"), ({"delay_s": 0.05}, "latency"),
     ({"label": 1}, "output label")],
)  # fmt: skip
def test_worse(
    behaviour: dict[str, Any], check: str, namespace: Namespace, gate: CanaryGate, package: Path
) -> None:
    """A canary that answers samples worse than the control pods is rejected, as soon as that is certain."""
    namespace.add("canary", **behaviour)
    namespace.add("control")
    replay(gate, NAMESPACE, package / "samples.json" if check != "output label" else package)
    assert gate.result == "reject"
    assert row(gate, check)[-1] == "reject"
    assert len(namespace.handlers["canary"].keys) < 300


@pytest.mark.parametrize(
    ("tracks", "content", "message"),
    [
        ({}, None, "no pods are running"),
        ({"canary": {}}, None, "no control pod is ready"),
        ({"canary": {}, "control": {"status": 400}}, None, "answered a sample with 400"),
        ({"canary": {"status": 401}, "control": {}}, None, "answered a sample with 401"),
        ({}, "[]", "has no samples"),
        ({}, "{", "is not JSON"),
    ],
)
def test_impossible(
    tracks: dict[str, dict[str, Any]],
    content: str | None,
    message: str,
    namespace: Namespace,
    gate: CanaryGate,
    package: Path,
) -> None:
    """Where samples cannot be replayed there is no decision, and the message gives the reason."""
    for track, behaviour in tracks.items():
        namespace.add(track, **behaviour)
    if content is not None:
        (package / "samples.json").write_text(content)
    with pytest.raises(NotEnoughData, match=message) as error:
        replay(gate, NAMESPACE, package)
    assert str(error.value).startswith("too few requests, and samples cannot be replayed: ")
    assert gate.result == "not yet"


def test_many_connections(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """kubectl prints a line for each connection, and would wait if nobody read them."""
    program = tmp_path / "kubectl"
    program.write_text(
        f"#!{sys.executable}\nimport pathlib, time\n"
        "print('Forwarding from 127.0.0.1:1 -> 8080', flush=True)\n"
        "for number in range(10_000):\n    print('Handling connection for 12345', flush=True)\n"
        f"pathlib.Path('{tmp_path}/done').touch()\ntime.sleep(60)\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    end = time.monotonic() + 10
    with forward_port(NAMESPACE, Pod("a", "canary", "", "", "", True)) as url:
        while not (tmp_path / "done").exists() and time.monotonic() < end:
            time.sleep(0.05)
    assert url == "http://127.0.0.1:1"
    assert (tmp_path / "done").exists()


def test_no_package(namespace: Namespace, gate: CanaryGate, tmp_path: Path) -> None:
    """Without a package there is nothing to replay."""
    with pytest.raises(NotEnoughData, match=r"nowhere cannot be read: No such file"):
        replay(gate, NAMESPACE, tmp_path / "nowhere")


def test_slow_pods(
    namespace: Namespace, gate: CanaryGate, package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pods that are equally slow do not prolong the watch without end."""
    monkeypatch.setattr(sample_replay, "MAX_REPLAY_S", 0.3)
    for track in ("canary", "control"):
        namespace.add(track, delay_s=0.1)
    with pytest.raises(NotEnoughData, match=r"answered only \d of them within 0.3 s"):
        replay(gate, NAMESPACE, package)


@pytest.mark.parametrize(
    ("value", "name"),
    [(0.0, "0..1"), (1, "1..2"), (2.0, "1..2"), (2.1, "outside"), (None, "missing"), ("NaN", "missing"),
     ("Infinity", "outside"), ("x", "outside")],
)  # fmt: skip
def test_bin_of_number(value: Any, name: str) -> None:
    """A number falls into the bin into which the service puts it."""
    assert bin_of(Distribution("y", (0.0, 1.0, 2.0), (), (0.5, 0.5)), value) == name


@pytest.mark.parametrize(("value", "name"), [(1, "1"), (True, "true"), ("a", "a"), ("b", "outside")])
def test_bin_of_category(value: Any, name: str) -> None:
    """A category is its own bin."""
    assert bin_of(Distribution("y", (), (1, True, "a"), (0.2, 0.3, 0.5)), value) == name
