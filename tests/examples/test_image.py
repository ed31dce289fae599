"""The image classifier, in both variants: real files in, the best labels out, as torch itself answers."""

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
from tests.examples.files import circle, encoded, huge_png, square

IMAGE = ROOT / "examples/image"
NETWORK = IMAGE / "packages/shapes"
GRAPH = IMAGE / "packages/shapes-graph"
CLASSES = json.loads((NETWORK / "manifest.json").read_text())["classes"]

# Of probabilities: between two ways to round while resizing, and between two decoders, which do not make the
# same pixels of one JPEG. Torch's answers are to Pillow's.
TOLERANCE, JPEG_TOLERANCE = 0.01, 0.1


@pytest.fixture(scope="module")
def seam(deploy: Deploy) -> Server:
    """The service with the network, and `transform.py` in the place of the one that does nothing."""
    return deploy(NETWORK, IMAGE / "transform.py")


@pytest.fixture(scope="module")
def graph(deploy: Deploy) -> Server:
    """The service as shipped, with all of it in the graph."""
    return deploy(GRAPH)


@pytest.fixture(params=["seam", "graph"])
def server(request: pytest.FixtureRequest) -> Server:
    """Both in turn."""
    found: Server = request.getfixturevalue(request.param)
    return found


@pytest.fixture(scope="module")
def jpeg_graph(deploy: Deploy, tmp_path_factory: pytest.TempPathFactory) -> Server:
    """The graph that reads JPEG, too."""
    draft = tmp_path_factory.mktemp("draft") / "shapes-graph"
    draft.mkdir()
    whole = wrap(onnx.load(NETWORK / "model.onnx"), CLASSES, jpeg=True)
    (draft / "model.onnx").write_bytes(whole.SerializeToString())
    return deploy(draft)


def post(server: Server, body: Any, path: str = "/score") -> tuple[int, Any]:
    """Status and JSON of a reply."""
    status, text = server.request("POST", path, body)
    return status, json.loads(text)


def test_samples_are_answered(server: Server) -> None:
    """What torch and Pillow answered when the packages were made is what the service answers."""
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
@pytest.mark.parametrize("form", ["PNG", "JPEG"])
def test_files(seam: Server, jpeg_graph: Server, image: Image.Image, label: str, form: str) -> None:
    """A file made here gets its name, in columns, in rows and over the Open Inference Protocol."""
    text = encoded(image, form)
    tensor = {"name": "image", "datatype": "BYTES", "shape": [1], "data": [text]}
    answers = []
    for server, name in ((seam, "shapes"), (jpeg_graph, "shapes-graph")):
        status, reply = post(server, {"inputs": {"image": [text]}})
        assert status == 200, reply
        labels, (probabilities,) = reply["outputs"]["labels"], reply["outputs"]["probabilities"]
        assert labels[0][0] == label
        assert probabilities == sorted(probabilities, reverse=True)
        for instances in ([text, text], [{"image": text}] * 2):
            predictions = post(server, {"instances": instances})[1]["predictions"]
            assert [prediction["labels"] for prediction in predictions] == labels * 2
        outputs = post(server, {"inputs": [tensor]}, f"/v2/models/{name}/infer")[1]["outputs"]
        assert [output["shape"] for output in outputs] == [[1, 3], [1, 3]]
        assert outputs[0]["data"] == labels[0]
        assert outputs[1]["data"] == pytest.approx(probabilities, abs=1e-6)
        answers.append(dict(zip(labels[0], probabilities, strict=True)))
    assert answers[0] == pytest.approx(answers[1], abs=TOLERANCE if form == "PNG" else JPEG_TOLERANCE)


def test_jpeg_in_graph(jpeg_graph: Server) -> None:
    """The graph answers JPEG, too, as torch does, as far as its decoder lets it."""
    for sample in json.loads((NETWORK / "samples.json").read_text()):
        outputs = post(jpeg_graph, {"inputs": sample["inputs"]})[1]["outputs"]
        assert [row[0] for row in outputs["labels"]] == [row[0] for row in sample["outputs"]["labels"]]
        expected = sample["outputs"]["probabilities"]
        np.testing.assert_allclose(outputs["probabilities"], expected, 0, JPEG_TOLERANCE)


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P", "1"])
def test_modes(seam: Server, graph: Server, mode: str) -> None:
    """Greys, transparency and palettes are read alike by both."""
    text = encoded(circle().convert("L").convert(mode) if mode != "P" else circle().convert(mode), "PNG")
    (first, second) = [post(server, {"instances": [text]})[1]["predictions"][0] for server in (seam, graph)]
    assert first["labels"] == second["labels"]
    assert first["probabilities"] == pytest.approx(second["probabilities"], abs=TOLERANCE)


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_jpeg_modes(seam: Server, mode: str) -> None:
    """A JPEG of greys, and one for print."""
    predictions = post(seam, {"instances": [encoded(circle().convert(mode), "JPEG")]})[1]["predictions"]
    assert predictions[0]["labels"][0] == "circle"


PNG = base64.b64decode(encoded(circle(), "PNG"))
JPEG = base64.b64decode(encoded(circle(), "JPEG"))
REFUSED = {
    "no base64": ("not base64!", "base64"),
    "half base64": (encoded(circle(), "PNG")[:-3], "base64"),
    "letters beyond ASCII": ("Grüße", "base64"),
    "empty": ("", "JPEG or PNG"),
    "text": (base64.b64encode(b"hello, this is no image").decode(), "JPEG or PNG"),
    "gif": (encoded(circle(), "GIF"), "JPEG or PNG"),
    "cut png": (base64.b64encode(PNG[:200]).decode(), "JPEG or PNG"),
    "huge png": (huge_png(), "at most 16777216 pixels"),
    "large png": (huge_png(4097, 4096), "at most 16777216 pixels"),
}
JPEG_REFUSED = {
    "cut jpeg": (base64.b64encode(JPEG[:700]).decode(), "JPEG or PNG"),
    "16 bits": (encoded(Image.new("I;16", (8, 8), 3000), "PNG"), "8 bits a channel, got mode I;16"),
}


@pytest.mark.parametrize("case", [*REFUSED, *JPEG_REFUSED])
def test_refused(seam: Server, case: str) -> None:
    """What is not an image that can be read is the caller's fault, told in the transform's words."""
    text, words = (REFUSED | JPEG_REFUSED)[case]
    status, reply = post(seam, {"instances": [text]})
    assert status == 400, reply
    assert reply["error"].startswith("input 'image': expected ")
    assert words in reply["error"]


@pytest.mark.parametrize("case", [*REFUSED, "jpeg"])
def test_refused_in_graph(graph: Server, case: str) -> None:
    """A graph cannot say whose fault it is: it fails, without harm to the service, and without the pixels."""
    text, _ = REFUSED.get(case, (encoded(circle(), "JPEG"), ""))
    pids = {line["pid"] for line in graph.lines() if "pid" in line}
    before = memory(graph)
    status, reply = post(graph, {"instances": [text]})
    assert (status, reply["error"][:17]) == (500, "the model failed:"), reply
    assert post(graph, {"instances": [encoded(circle(), "PNG")]})[0] == 200
    assert memory(graph).keys() == before.keys(), pids
    assert max(memory(graph).values()) < max(before.values()) + 50e6


def memory(server: Server) -> dict[str, float]:
    """Worker's process id → its resident memory in bytes."""
    lines = server.request("GET", "/metrics")[1].splitlines()
    found = [line for line in lines if line.startswith("worker_resident_memory_bytes{")]
    return {line.split('"')[1]: float(line.rpartition(" ")[2]) for line in found}


def test_largest(server: Server) -> None:
    """The largest image that is read, and several in one request."""
    texts = [huge_png(4096, 4096), encoded(circle(), "PNG")]
    status, reply = post(server, {"instances": texts})
    assert status == 200, reply
    assert reply["predictions"][1]["labels"][0] == "circle"
    assert post(server, {"instances": []})[0] == 200


def test_described(server: Server) -> None:
    """The document names what a request carries, and its example is answered as it says."""
    document = json.loads(server.request("GET", "/openapi.json")[1])
    assert '"x"' not in json.dumps(document["components"]["schemas"])
    content = document["paths"]["/score"]["post"]["requestBody"]["content"]["application/json"]
    assert set(content["examples"]) == {"columns", "rows"}
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
    """Both are served in their optimized model."""
    assert "model_optimized 1.0" in server.request("GET", "/metrics")[1]


def test_graph_is_made_of_the_network() -> None:
    """The graph that lies here is the network that lies here, wrapped."""
    whole = wrap(onnx.load(NETWORK / "model.onnx"), CLASSES)
    assert (GRAPH / "model.onnx").read_bytes() == whole.SerializeToString(deterministic=True)


def test_why_the_graph_reads_no_jpeg() -> None:
    """The decoder ends the process on what is no image; once it refuses it, the graph may read JPEG."""
    code = """if True:
        import sys, numpy, onnx, onnxruntime
        from model_loader.package.custom_ops import register_extensions

        options = onnxruntime.SessionOptions()
        register_extensions(options)
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
    """Whatever a file was turned into, it is read or refused; nothing else comes out of Pillow."""
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
