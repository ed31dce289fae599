"""Pre- and post-processing hooks: the API follows the transform's inputs and outputs, not the model's."""

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
from app.model import transform_executor
from app.model.transform import NamedValues, Transform
from app.settings import Settings
from model_loader.package import Package, TensorSpec
from tests import models
from tests.app.conftest import ReadLog
from tests.conftest import MakeClient, write_package

# y = 2·x + 1, where x is the number of letters and the number of words.
SAMPLE = {
    "inputs": {"text": ["one two", "three"]},
    "outputs": {"letters": [13.0, 11.0], "kind": ["tiny", "tiny"]},
}


class Text(Transform):
    """Count letters and words, and answer with the letters' output and the package's name."""

    inputs = (TensorSpec("text", "STRING", ("batch",)),)
    outputs = (TensorSpec("letters", "FP32", ("batch",)), TensorSpec("kind", "STRING", ("batch",)))

    def __init__(self, package: Package) -> None:
        self.kind = package.manifest.name

    def before(self, inputs: NamedValues) -> NamedValues:
        """Reject an empty text, and fail with an IndexError on a text of more than three words."""
        rows = []
        for text in inputs["text"]:
            if not text:
                raise InvalidRequest("input 'text': expected words, got none")
            words = text.split()
            rows.append([len("".join(words)), [1, 2, 3][len(words) - 1]])
        return {"x": np.array(rows, np.float32)}

    def after(self, outputs: NamedValues) -> NamedValues:
        """Return lists instead of arrays."""
        letters = outputs["y"][:, 0].tolist()
        return {"kind": [self.kind] * len(letters), "letters": letters}


@pytest.fixture
def make(tmp_path: Path, make_client: MakeClient) -> Callable[..., FlaskClient]:
    """Return a function that makes a client of a service with a transform."""

    def client(transform: type[Transform] = Text, samples: Any = (SAMPLE,), **manifest: Any) -> FlaskClient:
        path = write_package(tmp_path / "m", models.affine(), samples=list(samples), **manifest)
        return make_client(create_app(Settings(model_path=path, web_concurrency=1), transform))

    return client


def test_score(make: Callable[..., FlaskClient]) -> None:
    """Requests contain the transform's inputs and responses its outputs, in columns and in rows."""
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


# part: v2
def test_open_inference(make: Callable[..., FlaskClient]) -> None:
    """The Open Inference Protocol uses the transform's inputs and outputs, too."""
    client = make()
    about = client.get("/v2/models/tiny").get_json()
    assert about["inputs"] == [{"name": "text", "datatype": "BYTES", "shape": [-1]}]
    assert [output["name"] for output in about["outputs"]] == ["letters", "kind"]
    tensor = {"name": "text", "datatype": "BYTES", "shape": [2], "data": ["ab c", "d"]}
    reply = client.post("/v2/models/tiny/infer", json={"inputs": [tensor], "outputs": [{"name": "letters"}]})
    assert reply.get_json()["outputs"] == [
        {"name": "letters", "datatype": "FP32", "shape": [2], "data": [7.0, 3.0]}
    ]


# end: v2


def test_description(make: Callable[..., FlaskClient]) -> None:
    """`/model` and the OpenAPI document list the transform's inputs, with the sample as an example."""
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
        ("a b c d", 500, "the transform failed; see the log for details"),
    ],
)
def test_exceptions(
    make: Callable[..., FlaskClient],
    log: ReadLog,
    text: str,
    status: int,
    words: str,
) -> None:
    """InvalidRequest is answered with 400, other exceptions with 500; only the log has their traceback."""
    client = make()
    reply = client.post("/score", json={"inputs": [text]})
    assert (reply.status_code, reply.get_json()["error"]) == (status, words)
    (line,) = log()
    assert ("IndexError" in line.get("traceback", "")) == (status == 500)
    assert client.post("/score", json={"inputs": ["a"]}).status_code == 200


def test_wrong_names(make: Callable[..., FlaskClient]) -> None:
    """A hook that returns other outputs than the transform declares fails."""

    class Wrong(Text):
        def after(self, outputs: NamedValues) -> NamedValues:
            return {"letters": outputs["y"]}

    with pytest.raises(ModelError, match="sample 0 failed: the transform failed"):
        make(Wrong)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (None, "NoneType: expected a mapping from names to arrays"),
        ({"z": [[1, 2]]}, "'z', which is no input of the model: expected 'x'"),
        ({}, "no 'x': expected FP32 [batch, 2]"),
        ({"x": [1, 2]}, "'x': expected FP32 [batch, 2], got shape [2]"),
        ({"x": [["a", "b"]]}, "'x': expected FP32, got <U1 values that do not fit"),
        ({"x": [[1], [2, 3]]}, "'x': expected FP32 [batch, 2], got rows of different lengths"),
    ],
)
def test_wrong_inputs(make: Callable[..., FlaskClient], log: ReadLog, given: Any, words: str) -> None:
    """If `before` returns values that do not fit the model's inputs, the request fails with the reason."""

    class Wrong(Transform):
        inputs = (TensorSpec("text", "STRING", ("batch",)),)

        def before(self, inputs: NamedValues) -> NamedValues:
            return given  # type: ignore[no-any-return]

    client = make(Wrong, samples=[])
    reply = client.post("/score", json={"inputs": ["a"]})
    assert reply.status_code == 500
    assert reply.get_json()["error"] == f"the transform failed: before returned {words}"
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
    """Values that `after` returns are answered unchanged, or the request fails."""

    class Answer(Transform):
        outputs = (TensorSpec("a", datatype, ("batch",)),)

        def after(self, outputs: NamedValues) -> NamedValues:
            return {"a": given}

    reply = make(Answer, samples=[]).post("/score", json={"inputs": [[1, 2]]})
    assert reply.get_json().get("outputs") == (None if expected is None else {"a": expected})
    assert reply.status_code == (500 if expected is None else 200)


def test_deadline_and_queue(tmp_path: Path) -> None:
    """A request that waits too long for `before` gets 504; one beyond the queue's limit gets 503."""

    class Slow(Transform):
        def before(self, inputs: NamedValues) -> NamedValues:
            time.sleep(0.2)
            return inputs

    path = write_package(tmp_path / "m", models.affine())
    settings = Settings(model_path=path, web_concurrency=1, inference_concurrency=1)
    app = create_app(replace(settings, request_timeout_ms=300, max_queue_rows=4), Slow)

    def score(_number: int) -> int:
        return app.test_client().post("/score", json={"inputs": [[1, 2]]}).status_code

    with ThreadPoolExecutor(12) as pool:
        statuses = Counter(pool.map(score, range(12)))
    assert statuses.keys() == {200, 503, 504}
    assert statuses[503] == 12 - 5


def test_cancelled() -> None:
    """A request whose client disconnects while it waits releases its slot in the queue."""
    executor, unblocked = transform_executor.TransformExecutor(1, 3), threading.Event()

    def blocked(inputs: NamedValues) -> NamedValues:
        unblocked.wait(10)
        return inputs

    running, *waiting = [executor.before(blocked, {}, math.inf) for _ in range(4)]
    with pytest.raises(QueueFull):
        executor.before(blocked, {}, math.inf)
    assert all(future.cancel() for future in waiting)
    later = [executor.before(blocked, {}, math.inf) for _ in range(3)]
    unblocked.set()
    assert [future.result(10) for future in (running, *later)] == [{}] * 4


def test_only_after(make: Callable[..., FlaskClient]) -> None:
    """Without `inputs` and `outputs`, a transform keeps those of the model."""

    class Rounded(Transform):
        def after(self, outputs: NamedValues) -> NamedValues:
            return {"y": np.round(outputs["y"])}

    client = make(Rounded, samples=[], features=["a", "b"])
    reply = client.post("/score", json={"instances": [{"a": 0.6, "b": 0.1}]})
    assert reply.get_json()["predictions"] == [{"y": [2.0, 1.0]}]


def test_samples(make: Callable[..., FlaskClient]) -> None:
    """The self-test includes the hooks."""
    wrong = {**SAMPLE, "outputs": {"letters": [13.0, 12.0]}}
    with pytest.raises(
        ModelError, match=r"sample 0: output 'letters': expected \[13.0, 12.0\], got \[13.0,11.0\]"
    ):
        make(samples=[wrong])


class InputsOnly(Transform):
    """Inputs without a hook."""

    inputs = Text.inputs


class OutputsOnly(Transform):
    """Outputs without a hook."""

    outputs = Text.outputs


class NoSpec(Text):
    """An input that is a name only."""

    inputs = ("text",)  # type: ignore[assignment]


class Broken(Transform):
    """A transform whose file is missing from the package."""

    def __init__(self, package: Package) -> None:
        self.words = (package.path / "words.json").read_bytes()


@pytest.mark.parametrize(
    ("transform", "manifest", "words"),
    [
        (Transform, {"transformed": True}, "its samples need a transform; app/transform.py has none"),
        (InputsOnly, {}, "the transform InputsOnly has inputs and no method before"),
        (OutputsOnly, {}, "the transform OutputsOnly has outputs and no method after"),
        (NoSpec, {}, "the transform NoSpec: inputs: expected a TensorSpec, got 'text'"),
        (Broken, {}, "the transform Broken does not start: FileNotFoundError: .*words.json"),
    ],
)
def test_refused_at_start(
    make: Callable[..., FlaskClient], transform: type[Transform], manifest: Any, words: str
) -> None:
    """The service does not start with a transform that is incomplete, broken or missing."""
    with pytest.raises(ModelError, match=words):
        make(transform, **manifest)


@pytest.mark.parametrize(
    ("sample", "words"),
    [
        (
            {"inputs": {"x": [[1, 2]]}, "outputs": SAMPLE["outputs"]},
            r"sample 0 does not fit the transform's inputs \(app/transform.py\): unknown input 'x'",
        ),
        (
            {"inputs": SAMPLE["inputs"], "outputs": {"y": [[1, 2]]}},
            r"sample 0: the transform \(app/transform.py\) has no output 'y'; it has letters, kind",
        ),
    ],
)
def test_samples_of_the_graph(make: Callable[..., FlaskClient], sample: Any, words: str) -> None:
    """If samples are the graph's and not the transform's, the message names the transform."""
    with pytest.raises(ModelError, match=words):
        make(samples=[sample])


def test_concurrent_requests(make: Callable[..., FlaskClient]) -> None:
    """Concurrent requests each get their own outputs, although the model runs them in batches."""
    client = make()

    def score(number: int) -> Any:
        reply = client.application.test_client().post("/score", json={"inputs": ["a" * number]})
        return reply.get_json()["outputs"]["letters"]

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(score, range(1, 100))) == [[2.0 * number + 1] for number in range(1, 100)]


def test_message_that_is_not_utf8(make: Callable[..., FlaskClient]) -> None:
    """A hook's message may be any string of Python; what is not UTF-8 in it is escaped."""

    class Refusing(Transform):
        def after(self, outputs: NamedValues) -> NamedValues:
            raise InvalidRequest(f"\ud800 in {len(outputs)} output")

    reply = make(Refusing, samples=[]).post("/score", json={"inputs": [[1, 2]]})
    assert (reply.status_code, reply.get_json()["error"]) == (400, "\\ud800 in 1 output")
