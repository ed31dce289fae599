"""The text classifier: strings as input, without a transform."""

import json
from typing import Any

import numpy as np
import pytest

from examples.text.make import make
from tests.app.conftest import Server
from tests.examples.conftest import Deploy

TEXTS = ["Where is my PARCEL?", "charged twice", "", "Grüße"]


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The package that the script writes."""
    path = tmp_path_factory.mktemp("text") / "tickets"
    make(path)
    return path


@pytest.fixture(scope="module")
def server(deploy: Deploy, package: Any) -> Server:
    """The unchanged service."""
    return deploy(package)


def post(server: Server, body: Any, path: str = "/score") -> tuple[int, Any]:
    """Send a request and return status and JSON of the response."""
    status, text = server.request("POST", path, body)
    return status, json.loads(text)


def test_samples(server: Server, package: Any) -> None:
    """The service returns the outputs of scikit-learn."""
    samples = json.loads((package / "samples.json").read_text())
    assert len({label for sample in samples for label in sample["outputs"]["label"]}) == 3
    for sample in samples:
        outputs = post(server, {"inputs": sample["inputs"]})[1]["outputs"]
        assert outputs["label"] == sample["outputs"]["label"]
        np.testing.assert_allclose(outputs["probabilities"], sample["outputs"]["probabilities"], 1e-4, 1e-5)


def test_every_form(server: Server) -> None:
    """Columns, rows and the Open Inference Protocol give the same result."""
    outputs = post(server, {"inputs": {"text": TEXTS}})[1]["outputs"]
    assert outputs["label"][:2] == ["delivery", "billing"]
    for instances in (TEXTS, [{"text": text} for text in TEXTS]):
        predictions = post(server, {"instances": instances})[1]["predictions"]
        assert [prediction["label"] for prediction in predictions] == outputs["label"]
        assert [prediction["probabilities"] for prediction in predictions] == outputs["probabilities"]
    # part: v2
    tensor = {"name": "text", "datatype": "BYTES", "shape": [len(TEXTS)], "data": TEXTS}
    label, probabilities = post(server, {"inputs": [tensor]}, "/v2/models/tickets/infer")[1]["outputs"]
    assert label["data"] == outputs["label"]
    assert probabilities["data"] == [number for row in outputs["probabilities"] for number in row]
    # end: v2


def test_refused(server: Server) -> None:
    """A value that is not a string is refused."""
    status, reply = post(server, {"instances": [1]})
    assert status == 400
    assert "input 'text': expected" in reply["error"]


def test_described(server: Server) -> None:
    """The OpenAPI document's examples are sentences and can be sent."""
    document = json.loads(server.request("GET", "/openapi.json")[1])
    content = document["paths"]["/score"]["post"]["requestBody"]["content"]["application/json"]
    for example in content["examples"].values():
        assert "Where is my parcel?" in json.dumps(example)
        assert post(server, example["value"])[0] == 200
    assert server.request("GET", "/docs")[0] == 200
