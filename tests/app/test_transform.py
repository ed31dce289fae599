"""The seam for a team's own code: everything follows what a request carries, not what the model takes."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flask.testing import FlaskClient

from app import create_app, served
from app.errors import InvalidRequest, ModelError
from app.settings import Settings
from app.transform import Named, Transform
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

    def before(self, inputs: Named) -> Named:
        """Refuses an empty text, and trips over one of many words."""
        rows = []
        for text in inputs["text"]:
            if not text:
                raise InvalidRequest("input 'text': expected words, got none")
            words = text.split()
            rows.append([len("".join(words)), [1, 2, 3][len(words) - 1]])
        return {"x": np.array(rows, np.float32)}

    def after(self, outputs: Named) -> Named:
        """Lists will do."""
        letters = outputs["y"][:, 0].tolist()
        return {"kind": [self.kind] * len(letters), "letters": letters}


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, door: MakeClient) -> Callable[..., FlaskClient]:
    """Makes a client of a service with a transform."""

    def client(transform: type[Transform] = Text, samples: Any = (SAMPLE,), **manifest: Any) -> FlaskClient:
        monkeypatch.setattr(served, "Transform", transform)
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
        def after(self, outputs: Named) -> Named:
            return {"letters": outputs["y"]}

    with pytest.raises(ModelError, match="sample 0 failed: the transform failed"):
        make(Wrong)


def test_only_after(make: Callable[..., FlaskClient]) -> None:
    """What it does not say stays the model's."""

    class Rounded(Transform):
        def after(self, outputs: Named) -> Named:
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

    class Half(Transform):
        inputs = Text.inputs

    with pytest.raises(ModelError, match="inputs need before"):
        make(Half)


def test_together(make: Callable[..., FlaskClient]) -> None:
    """Requests at once get each its own answer, with batching between the two halves."""
    client = make()

    def ask(number: int) -> Any:
        reply = client.application.test_client().post("/score", json={"inputs": ["a" * number]})
        return reply.get_json()["outputs"]["letters"]

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(ask, range(1, 100))) == [[2.0 * number + 1] for number in range(1, 100)]
