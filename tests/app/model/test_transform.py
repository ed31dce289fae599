"""The seam for a team's own code: everything follows what a request carries, not what the model takes."""

import json
import math
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flask.testing import FlaskClient

from app import create_app
from app.errors import InvalidRequest, ModelError, QueueFull
from app.model import served_model, transform_executor
from app.settings import Settings
from app.transform import NamedValues, Transform
from model_loader.package import Package, TensorSpec
from tests import models
from tests.app.conftest import ReadLog
from tests.conftest import MakeClient, write_package

# y = 2·x + 1, where x is how many letters and words there are.
SAMPLE = {
    "inputs": {"text": ["one two", "three"]},
    "outputs": {"letters": [13.0, 11.0], "kind": ["tiny", "tiny"]},
}


class Text(Transform):
    """Counts of letters and words in; the letters' and the class's name out."""

    inputs = (TensorSpec("text", "STRING", ("batch",)),)
    outputs = (TensorSpec("letters", "FP32", ("batch",)), TensorSpec("kind", "STRING", ("batch",)))

    def __init__(self, package: Package) -> None:
        self.kind = package.manifest.name

    def before(self, inputs: NamedValues) -> NamedValues:
        """Refuses an empty text, and trips over one of many words."""
        rows = []
        for text in inputs["text"]:
            if not text:
                raise InvalidRequest("input 'text': expected words, got none")
            words = text.split()
            rows.append([len("".join(words)), [1, 2, 3][len(words) - 1]])
        return {"x": np.array(rows, np.float32)}

    def after(self, outputs: NamedValues) -> NamedValues:
        """Lists will do."""
        letters = outputs["y"][:, 0].tolist()
        return {"kind": [self.kind] * len(letters), "letters": letters}


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, door: MakeClient) -> Callable[..., FlaskClient]:
    """Makes a client of a service with a transform."""

    def client(transform: type[Transform] = Text, samples: Any = (SAMPLE,), **manifest: Any) -> FlaskClient:
        monkeypatch.setattr(served_model, "Transform", transform)
        path = write_package(tmp_path / "m", models.affine(), samples=list(samples), **manifest)
        return door(create_app(Settings(model_path=path, web_concurrency=1)))

    return client


def test_score(make: Callable[..., FlaskClient]) -> None:
    """Requests carry the transform's inputs and get its outputs, in columns and in rows."""
    client = make()
    reply = client.post("/score", json={"inputs": {"text": ["ab c"]}})
    assert reply.get_json()["outputs"] == {"letters": [7.0], "kind": ["tiny"]}
    reply = client.post("/score", json={"instances": ["ab c", "d"]})
    assert reply.get_json()["predictions"] == [
        {"letters": 7.0, "kind": "tiny"},
        {"letters": 3.0, "kind": "tiny"},
    ]
    reply = client.post("/score", json={"inputs": {"x": [[1, 2]]}})
    assert (reply.status_code, reply.get_json()["error"]) == (400, "unknown input 'x'; the model has 'text'")


def test_open_inference(make: Callable[..., FlaskClient]) -> None:
    """The Open Inference Protocol tells and takes them too."""
    client = make()
    about = client.get("/v2/models/tiny").get_json()
    assert about["inputs"] == [{"name": "text", "datatype": "BYTES", "shape": [-1]}]
    assert [output["name"] for output in about["outputs"]] == ["letters", "kind"]
    tensor = {"name": "text", "datatype": "BYTES", "shape": [2], "data": ["ab c", "d"]}
    reply = client.post("/v2/models/tiny/infer", json={"inputs": [tensor], "outputs": [{"name": "letters"}]})
    assert reply.get_json()["outputs"] == [
        {"name": "letters", "datatype": "FP32", "shape": [2], "data": [7.0, 3.0]}
    ]


def test_described(make: Callable[..., FlaskClient]) -> None:
    """The model's description and the API's name the transform's inputs, with the sample as example."""
    client = make()
    about = client.get("/model").get_json()
    assert [spec["name"] for spec in (*about["inputs"], *about["outputs"])] == ["text", "letters", "kind"]
    document = json.dumps(client.get("/openapi.json").get_json())
    assert "one two" in document
    assert '"x"' not in document


@pytest.mark.parametrize(
    ("text", "status", "words"),
    [
        ("", 400, "input 'text': expected words, got none"),
        ("a b c d", 500, "the transform failed; the log has the rest"),
    ],
)
def test_refused(
    make: Callable[..., FlaskClient],
    log: ReadLog,
    text: str,
    status: int,
    words: str,
) -> None:
    """A transform refuses like the service itself; what it trips over stands in the log and nowhere else."""
    client = make()
    reply = client.post("/score", json={"inputs": [text]})
    assert (reply.status_code, reply.get_json()["error"]) == (status, words)
    (line,) = log()
    assert ("IndexError" in line.get("traceback", "")) == (status == 500)
    assert client.post("/score", json={"inputs": ["a"]}).status_code == 200


def test_wrong_names(make: Callable[..., FlaskClient]) -> None:
    """A transform that answers something else than it says has failed."""

    class Wrong(Text):
        def after(self, outputs: NamedValues) -> NamedValues:
            return {"letters": outputs["y"]}

    with pytest.raises(ModelError, match="sample 0 failed: the transform failed"):
        make(Wrong)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (None, "the transform failed"),
        ({"z": [[1, 2]]}, "unknown input 'z'"),
        ({}, "missing input 'x'"),
        ({"x": [1, 2]}, "expected FP32 [batch, 2], got shape [2]"),
        ({"x": [["a", "b"]]}, "'x': expected FP32, got <U1 that does not fit"),
        ({"x": [[1], [2, 3]]}, "the transform failed"),
    ],
)
def test_wrong_inputs(make: Callable[..., FlaskClient], log: ReadLog, given: Any, words: str) -> None:
    """What `before` makes is what the model takes, or the answer says what it is not."""

    class Wrong(Transform):
        inputs = (TensorSpec("text", "STRING", ("batch",)),)

        def before(self, inputs: NamedValues) -> NamedValues:
            return given  # type: ignore[no-any-return]

    client = make(Wrong, samples=[])
    reply = client.post("/score", json={"inputs": ["a"]})
    assert (reply.status_code, words in reply.get_json()["error"]) == (500, True), reply.get_json()
    (line,) = log()
    assert "traceback" in line


@pytest.mark.parametrize(
    ("datatype", "given", "expected"),
    [
        ("INT64", [0.9], None),
        ("INT64", [True], None),
        ("UINT8", [300], None),
        ("UINT8", [-1], None),
        ("UINT8", [255], [255]),
        ("BOOL", [0.2], None),
        ("BOOL", [True], [True]),
        ("FP32", [3], [3.0]),
        ("FP32", [0.5], [0.5]),
        ("FP32", ["3"], None),
        ("STRING", [7], None),
        ("STRING", ["7"], ["7"]),
        ("FP32", [[0.5]], None),
    ],
)
def test_outputs_are_not_cast(
    make: Callable[..., FlaskClient], datatype: str, given: Any, expected: Any
) -> None:
    """What `after` gives is answered as it is, or not at all."""

    class Answer(Transform):
        outputs = (TensorSpec("a", datatype, ("batch",)),)

        def after(self, outputs: NamedValues) -> NamedValues:
            return {"a": given}

    reply = make(Answer, samples=[]).post("/score", json={"inputs": [[1, 2]]})
    assert reply.get_json().get("outputs") == (None if expected is None else {"a": expected})
    assert reply.status_code == (500 if expected is None else 200)


def test_deadline_and_queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who waits for `before` too long gets 504, and who comes when too many wait 503."""

    class Slow(Transform):
        def before(self, inputs: NamedValues) -> NamedValues:
            time.sleep(0.2)
            return inputs

    monkeypatch.setattr(served_model, "Transform", Slow)
    path = write_package(tmp_path / "m", models.affine())
    settings = Settings(model_path=path, web_concurrency=1, inference_concurrency=1)
    app = create_app(replace(settings, request_timeout_ms=300, max_queue_rows=4))

    def ask(_number: int) -> int:
        return app.test_client().post("/score", json={"inputs": [[1, 2]]}).status_code

    with ThreadPoolExecutor(12) as pool:
        statuses = Counter(pool.map(ask, range(12)))
    assert statuses.keys() == {200, 503, 504}
    assert statuses[503] == 12 - 5


def test_client_leaves() -> None:
    """Who leaves before it is its turn gives its place back."""
    threads, gate = transform_executor.TransformExecutor(1, 3), threading.Event()

    def wait(inputs: NamedValues) -> NamedValues:
        gate.wait(10)
        return inputs

    running, *waiting = [threads.before(wait, {}, math.inf) for _ in range(4)]
    with pytest.raises(QueueFull):
        threads.before(wait, {}, math.inf)
    assert all(future.cancel() for future in waiting)
    again = [threads.before(wait, {}, math.inf) for _ in range(3)]
    gate.set()
    assert [future.result(10) for future in (running, *again)] == [{}] * 4


def test_only_after(make: Callable[..., FlaskClient]) -> None:
    """What it does not say stays the model's."""

    class Rounded(Transform):
        def after(self, outputs: NamedValues) -> NamedValues:
            return {"y": np.round(outputs["y"])}

    client = make(Rounded, samples=[], features=["a", "b"])
    reply = client.post("/score", json={"instances": [{"a": 0.6, "b": 0.1}]})
    assert reply.get_json()["predictions"] == [{"y": [2.0, 1.0]}]


def test_samples(make: Callable[..., FlaskClient]) -> None:
    """The self-test goes the whole way."""
    wrong = {**SAMPLE, "outputs": {"letters": [13.0, 12.0]}}
    with pytest.raises(
        ModelError, match=r"sample 0: output 'letters': expected \[13.0, 12.0\], got \[13.0,11.0\]"
    ):
        make(samples=[wrong])


def test_missing(make: Callable[..., FlaskClient]) -> None:
    """Samples in a transform's terms, without one, stop the start; so does half of one."""
    with pytest.raises(ModelError, match="the terms of a transform; app/transform"):
        make(Transform, transformed=True)

    class TransformStep(Transform):
        inputs = Text.inputs

    with pytest.raises(ModelError, match="inputs need before"):
        make(TransformStep)


def test_together(make: Callable[..., FlaskClient]) -> None:
    """Requests at once get each its own answer, with batching between the two halves."""
    client = make()

    def ask(number: int) -> Any:
        reply = client.application.test_client().post("/score", json={"inputs": ["a" * number]})
        return reply.get_json()["outputs"]["letters"]

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(ask, range(1, 100))) == [[2.0 * number + 1] for number in range(1, 100)]
