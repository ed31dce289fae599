"""The image classifier in both variants, with real files, compared with the outputs of torch."""

import base64
import json
import random
import subprocess
import sys
from typing import Any

import jsonschema
import numpy as np
import onnx
import pytest
from PIL import Image

from app.errors import InvalidRequest
from examples.image import transform
from examples.image.graph import wrap
from tests.app.conftest import ROOT, Server
from tests.examples.conftest import Deploy
from tests.examples.files import circle, encode, huge_png, square

IMAGE = ROOT / "examples/image"
NETWORK = IMAGE / "packages/shapes"
GRAPH = IMAGE / "packages/shapes-graph"
CLASSES = json.loads((NETWORK / "manifest.json").read_text())["classes"]

# Of probabilities. Only Pillow rounds to integers when it resizes, and the two decoders return different
# pixels for the same JPEG. The samples were made with Pillow.
TOLERANCE, JPEG_TOLERANCE = 0.01, 0.1


@pytest.fixture(scope="module")
def transformed(deploy: Deploy) -> Server:
    """The service with the network and `transform.py`."""
    return deploy(NETWORK, IMAGE / "transform.py")


@pytest.fixture(scope="module")
def graph(deploy: Deploy) -> Server:
    """The unchanged service; pre- and post-processing are in the graph."""
    return deploy(GRAPH)


@pytest.fixture(params=["transformed", "graph"])
def server(request: pytest.FixtureRequest) -> Server:
    """Each of the two variants."""
    server: Server = request.getfixturevalue(request.param)
    return server


@pytest.fixture(scope="module")
def jpeg_graph(deploy: Deploy, tmp_path_factory: pytest.TempPathFactory) -> Server:
    """The service with the graph that accepts JPEG, too."""
    draft = tmp_path_factory.mktemp("draft") / "shapes-graph"
    draft.mkdir()
    graph = wrap(onnx.load(NETWORK / "model.onnx"), CLASSES, jpeg=True)
    (draft / "model.onnx").write_bytes(graph.SerializeToString())
    return deploy(draft)


def post(server: Server, body: Any, path: str = "/score") -> tuple[int, Any]:
    """Send a request and return status and JSON of the response."""
    status, text = server.request("POST", path, body)
    return status, json.loads(text)


def test_samples(server: Server) -> None:
    """The service returns the outputs of torch and Pillow that the samples have."""
    package = NETWORK if "shapes/" in server.request("GET", "/model")[1] else GRAPH
    for sample in json.loads((package / "samples.json").read_text()):
        status, reply = post(server, {"inputs": sample["inputs"]})
        assert status == 200
        assert reply["outputs"]["labels"] == sample["outputs"]["labels"]
        expected = sample["outputs"]["probabilities"]
        np.testing.assert_allclose(
            reply["outputs"]["probabilities"], expected, sample["rtol"], sample["atol"]
        )


@pytest.mark.parametrize(("image", "label"), [(circle(), "circle"), (square(), "square")])
@pytest.mark.parametrize("file_format", ["PNG", "JPEG"])
def test_files(
    transformed: Server, jpeg_graph: Server, image: Image.Image, label: str, file_format: str
) -> None:
    """A drawn shape is recognized, in columns, in rows and over the Open Inference Protocol."""
    text = encode(image, file_format)
    tensor = {"name": "image", "datatype": "BYTES", "shape": [1], "data": [text]}  # part: v2
    answers = []
    for server in (transformed, jpeg_graph):
        status, reply = post(server, {"inputs": {"image": [text]}})
        assert status == 200, reply
        labels, (probabilities,) = reply["outputs"]["labels"], reply["outputs"]["probabilities"]
        assert labels[0][0] == label
        assert probabilities == sorted(probabilities, reverse=True)
        for instances in ([text, text], [{"image": text}] * 2):
            predictions = post(server, {"instances": instances})[1]["predictions"]
            assert [prediction["labels"] for prediction in predictions] == labels * 2
        # part: v2
        name = "shapes" if server is transformed else "shapes-graph"
        outputs = post(server, {"inputs": [tensor]}, f"/v2/models/{name}/infer")[1]["outputs"]
        assert [output["shape"] for output in outputs] == [[1, 3], [1, 3]]
        assert outputs[0]["data"] == labels[0]
        assert outputs[1]["data"] == pytest.approx(probabilities, abs=1e-6)
        # end: v2
        answers.append(dict(zip(labels[0], probabilities, strict=True)))
    assert answers[0] == pytest.approx(answers[1], abs=TOLERANCE if file_format == "PNG" else JPEG_TOLERANCE)


def test_jpeg_in_graph(jpeg_graph: Server) -> None:
    """The graph with JPEG returns the outputs of torch, within the tolerance for its decoder."""
    for sample in json.loads((NETWORK / "samples.json").read_text()):
        outputs = post(jpeg_graph, {"inputs": sample["inputs"]})[1]["outputs"]
        assert [row[0] for row in outputs["labels"]] == [row[0] for row in sample["outputs"]["labels"]]
        expected = sample["outputs"]["probabilities"]
        np.testing.assert_allclose(outputs["probabilities"], expected, 0, JPEG_TOLERANCE)


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P", "1"])
def test_modes(transformed: Server, graph: Server, mode: str) -> None:
    """Grayscale, transparency and palettes give the same result in both variants."""
    text = encode(circle().convert("L").convert(mode) if mode != "P" else circle().convert(mode), "PNG")
    (first, second) = [
        post(server, {"instances": [text]})[1]["predictions"][0] for server in (transformed, graph)
    ]
    assert first["labels"] == second["labels"]
    assert first["probabilities"] == pytest.approx(second["probabilities"], abs=TOLERANCE)


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_jpeg_modes(transformed: Server, mode: str) -> None:
    """A grayscale JPEG and a CMYK JPEG are accepted."""
    predictions = post(transformed, {"instances": [encode(circle().convert(mode), "JPEG")]})[1]["predictions"]
    assert predictions[0]["labels"][0] == "circle"


PNG = base64.b64decode(encode(circle(), "PNG"))
JPEG = base64.b64decode(encode(circle(), "JPEG"))
REFUSED = {
    "no base64": ("not base64!", "base64"),
    "half base64": (encode(circle(), "PNG")[:-3], "base64"),
    "letters beyond ASCII": ("Grüße", "base64"),
    "empty": ("", "JPEG or PNG"),
    "text": (base64.b64encode(b"hello, this is no image").decode(), "JPEG or PNG"),
    "gif": (encode(circle(), "GIF"), "JPEG or PNG"),
    "cut png": (base64.b64encode(PNG[:200]).decode(), "JPEG or PNG"),
    "huge png": (huge_png(), "at most 16777216 pixels"),
    "large png": (huge_png(4097, 4096), "at most 16777216 pixels"),
}
JPEG_REFUSED = {
    "cut jpeg": (base64.b64encode(JPEG[:700]).decode(), "JPEG or PNG"),
    "16 bits": (encode(Image.new("I;16", (8, 8), 3000), "PNG"), "8 bits a channel, got mode I;16"),
}


@pytest.mark.parametrize("case", [*REFUSED, *JPEG_REFUSED])
def test_refused(transformed: Server, case: str) -> None:
    """A file that cannot be read is an invalid request, with the transform's message."""
    text, message = (REFUSED | JPEG_REFUSED)[case]
    status, reply = post(transformed, {"instances": [text]})
    assert status == 400, reply
    assert reply["error"].startswith("input 'image': expected ")
    assert message in reply["error"]


@pytest.mark.parametrize("case", [*REFUSED, "jpeg"])
def test_refused_in_graph(graph: Server, case: str) -> None:
    """A graph can only fail with 500; the service goes on, and does not decode the pixels."""
    text, _ = REFUSED.get(case, (encode(circle(), "JPEG"), ""))
    pids = {line["pid"] for line in graph.lines() if "pid" in line}
    before = memory(graph)
    status, reply = post(graph, {"instances": [text]})
    assert (status, reply["error"][:17]) == (500, "the model failed:"), reply
    assert post(graph, {"instances": [encode(circle(), "PNG")]})[0] == 200
    assert memory(graph).keys() == before.keys(), pids
    assert max(memory(graph).values()) < max(before.values()) + 50e6


def memory(server: Server) -> dict[str, float]:
    """Return the resident memory of each worker: process id → bytes."""
    lines = server.request("GET", "/metrics")[1].splitlines()
    found = [line for line in lines if line.startswith("worker_resident_memory_bytes{")]
    return {line.split('"')[1]: float(line.rpartition(" ")[2]) for line in found}


def test_largest(server: Server) -> None:
    """The largest accepted image, several images in one request, and none."""
    texts = [huge_png(4096, 4096), encode(circle(), "PNG")]
    status, reply = post(server, {"instances": texts})
    assert status == 200, reply
    assert reply["predictions"][1]["labels"][0] == "circle"
    assert post(server, {"instances": []})[0] == 200


def test_described(server: Server) -> None:
    """The OpenAPI document describes the transform's inputs, and its examples match the responses."""
    document = json.loads(server.request("GET", "/openapi.json")[1])
    assert '"x"' not in json.dumps(document["components"]["schemas"])
    content = document["paths"]["/score"]["post"]["requestBody"]["content"]["application/json"]
    assert set(content["examples"]) == {"columns", "rows", "table"}
    answered = document["paths"]["/score"]["post"]["responses"]["200"]["content"]["application/json"][
        "examples"
    ]
    reply_schema = {"$ref": "#/components/schemas/ScoreReply", "components": document["components"]}
    for form, example in content["examples"].items():
        status, reply = post(server, example["value"])
        assert status == 200
        jsonschema.Draft202012Validator(reply_schema).validate(reply)
        for key in ("outputs", "predictions"):
            if key in reply:
                assert json.dumps(reply[key]).count("circle") == json.dumps(answered[form]["value"]).count(
                    "circle"
                )
    assert server.request("GET", "/docs")[0] == 200


def test_optimized(server: Server) -> None:
    """Both variants are served with the optimized model."""
    assert "model_optimized 1.0" in server.request("GET", "/metrics")[1]


def test_graph_is_up_to_date() -> None:
    """The committed graph is the committed network with its pre- and post-processing."""
    graph = wrap(onnx.load(NETWORK / "model.onnx"), CLASSES)
    assert (GRAPH / "model.onnx").read_bytes() == graph.SerializeToString(deterministic=True)


def test_decoder_exits_on_broken_jpeg() -> None:
    """The decoder ends the process on bytes that are not an image, so the graph does not accept JPEG."""
    code = """if True:
        import sys, numpy, onnx, onnxruntime
        from onnxruntime_extensions import get_library_path

        options = onnxruntime.SessionOptions()
        options.register_custom_ops_library(get_library_path())
        model = onnx.parser.parse_model(sys.argv[1]).SerializeToString()
        session = onnxruntime.InferenceSession(model, options)
        try:
            session.run(None, {"file": numpy.frombuffer(b"hello, this is no image", numpy.uint8)})
        except Exception:
            sys.exit(3)
    """
    model = """<ir_version: 10, opset_import: ["": 18, "com.microsoft.extensions": 1]>
    g (uint8[n] file) => (uint8[h, w, c] y) { y = com.microsoft.extensions.DecodeImage(file) }"""
    done = subprocess.run([sys.executable, "-c", code, model], cwd=ROOT, capture_output=True, check=False)
    assert (done.returncode, done.stderr[:15]) == (1, b"Not a JPEG file")


def test_mutations() -> None:
    """Any damaged file is decoded or refused; Pillow raises no other exceptions."""
    rng = random.Random(1)
    refused = 0
    for number in range(3000):
        data = bytearray((PNG, JPEG)[number % 2])
        for _ in range(rng.randint(1, 8)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        del data[rng.choice([len(data), rng.randrange(len(data))]) :]
        try:
            assert transform.decode(base64.b64encode(data).decode()).mode == "RGB"
        except InvalidRequest:
            refused += 1
    assert 1000 < refused < 3000
