"""The Open Inference Protocol: JSON, binary tensors, health and metadata."""

import asyncio
import inspect
import json
import struct
from importlib import import_module
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from flask.testing import FlaskClient
from onnx import TensorProto, helper
from tritonclient.utils import InferenceServerException

from tests import models
from tests.app.conftest import StartServer
from tests.conftest import MakeClient, write_package

INFER = "/v2/models/tiny/infer"
BARE = "/v2/models/bare/infer"
X = {"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1, 2]}
LENGTH = "Inference-Header-Content-Length"


def infer(client: FlaskClient, path: str = INFER, **document: Any) -> Any:
    """The reply's JSON; the request must have been answered."""
    reply = client.post(path, json=document)
    assert reply.status_code == 200, reply.text
    return reply.get_json()


def post_binary(client: FlaskClient, path: str, document: Any, data: bytes) -> Any:
    """A request with bytes after its JSON."""
    head = json.dumps(document).encode()
    return client.post(
        path, data=head + data, headers={LENGTH: str(len(head)), "content-type": "application/octet-stream"}
    )


def read_binary(reply: Any) -> tuple[Any, dict[str, bytes]]:
    """A reply's JSON, and the bytes of its binary outputs."""
    size = int(reply.headers[LENGTH])
    assert reply.content_type == "application/octet-stream"
    document, rest = json.loads(reply.data[:size]), reply.data[size:]
    found = {}
    for output in document["outputs"]:
        if count := output.get("parameters", {}).get("binary_data_size"):
            assert "data" not in output
            found[output["name"]], rest = rest[:count], rest[count:]
    assert rest == b""
    return document, found


@pytest.mark.parametrize("path", [INFER, "/v2/models/tiny/versions/3/infer"])
@pytest.mark.parametrize("data", [[1, 2], [[1, 2]]])
def test_infer(client: FlaskClient, path: str, data: Any) -> None:
    """Data flat or nested; the reply is flat, and names model, version and the request's id."""
    reply = infer(client, path, inputs=[X | {"data": data}], id="abc", parameters={"priority": 1})
    assert reply == {
        "id": "abc",
        "model_name": "tiny",
        "model_version": "3",
        "outputs": [{"name": "y", "datatype": "FP32", "shape": [1, 2], "data": [3, 5]}],
    }


def test_outputs(serve: MakeClient) -> None:
    """The outputs that are asked for, in the order in which they are; all of them where none is."""
    client = serve(models.total())
    inputs = [
        {"name": "a", "datatype": "FP32", "shape": [2], "data": [1, 2]},
        {"name": "b", "datatype": "INT64", "shape": [2], "data": [3, 4]},
    ]
    for wanted in (["f"], ["f", "s"], ["s", "f"]):
        reply = infer(client, BARE, inputs=inputs, outputs=[{"name": name} for name in wanted])
        assert [output["name"] for output in reply["outputs"]] == wanted
    everything = infer(client, BARE, inputs=inputs)["outputs"]
    assert everything == [
        {"name": "s", "datatype": "FP32", "shape": [2], "data": [4, 6]},
        {"name": "f", "datatype": "FP32", "shape": [], "data": [10]},
    ]


@pytest.mark.parametrize(
    ("onnx_type", "datatype", "array"),
    [
        (TensorProto.BOOL, "BOOL", np.array([True, False])),
        (TensorProto.UINT8, "UINT8", np.array([0, 255], np.uint8)),
        (TensorProto.UINT16, "UINT16", np.array([0, 65535], np.uint16)),
        (TensorProto.UINT32, "UINT32", np.array([0, 2**32 - 1], np.uint32)),
        (TensorProto.UINT64, "UINT64", np.array([0, 2**64 - 1], np.uint64)),
        (TensorProto.INT8, "INT8", np.array([-128, 127], np.int8)),
        (TensorProto.INT16, "INT16", np.array([-32768, 32767], np.int16)),
        (TensorProto.INT32, "INT32", np.array([-(2**31), 2**31 - 1], np.int32)),
        (TensorProto.INT64, "INT64", np.array([-(2**63), 2**63 - 1], np.int64)),
        (TensorProto.FLOAT16, "FP16", np.array([0.5, np.nan, np.inf], np.float16)),
        (TensorProto.BFLOAT16, "BF16", np.array([0.5, -np.inf], ml_dtypes.bfloat16)),
        (TensorProto.FLOAT, "FP32", np.array([[0.1, np.nan]], np.float32)),
        (TensorProto.FLOAT, "FP32", np.zeros((0, 3), np.float32)),
        (TensorProto.DOUBLE, "FP64", np.array([0.1, 1e308])),
    ],
)
def test_every_type_in_binary(serve: MakeClient, onnx_type: int, datatype: str, array: np.ndarray) -> None:
    """Every datatype goes in and comes back as its bytes."""
    client = serve(models.identity(onnx_type, None))
    tensor = {"name": "x", "datatype": datatype, "shape": array.shape}
    data = array.tobytes()
    for document in (
        {"parameters": {"binary_data_output": True}},
        {"outputs": [{"name": "y", "parameters": {"binary_data": True}}]},
    ):
        inputs = [tensor | {"parameters": {"binary_data_size": len(data)}}]
        reply = post_binary(client, BARE, document | {"inputs": inputs}, data)
        assert reply.status_code == 200, reply.data
        found, outputs = read_binary(reply)
        assert found["outputs"][0]["datatype"] == datatype
        assert found["outputs"][0]["shape"] == list(array.shape)
        assert outputs.get("y", b"") == data


def test_strings(serve: MakeClient) -> None:
    """Strings go as JSON strings, and in binary with their lengths before them."""
    client = serve(models.identity(TensorProto.STRING, None))
    elements = ["", "Grüße", "a\0b", "\U0001f377"]
    tensor = {"name": "x", "datatype": "BYTES", "shape": [2, 2]}
    (output,) = infer(client, BARE, inputs=[tensor | {"data": elements}])["outputs"]
    assert (output["datatype"], output["data"]) == ("BYTES", elements)
    data = b"".join(struct.pack("<I", len(part.encode())) + part.encode() for part in elements)
    document = {"inputs": [tensor | {"parameters": {"binary_data_size": len(data)}}]}
    assert post_binary(client, BARE, document, data).get_json()["outputs"][0]["data"] == elements
    reply = post_binary(client, BARE, document | {"parameters": {"binary_data_output": True}}, data)
    assert read_binary(reply)[1] == {"y": data}


def test_parts_of_both(serve: MakeClient) -> None:
    """Inputs in JSON and in binary go together, and so do outputs; the bytes are in the inputs' order."""
    client = serve(models.total())
    a, b = np.array([1, 2], np.float32).tobytes(), np.array([3, 4], np.int64).tobytes()
    sizes = {"a": {"binary_data_size": len(a)}, "b": {"binary_data_size": len(b)}}
    inputs = [
        {"name": "b", "datatype": "INT64", "shape": [2], "parameters": sizes["b"]},
        {"name": "a", "datatype": "FP32", "shape": [2], "parameters": sizes["a"]},
    ]
    outputs = [{"name": "f", "parameters": {"binary_data": True}}, {"name": "s"}]
    document, found = read_binary(post_binary(client, BARE, {"inputs": inputs, "outputs": outputs}, b + a))
    assert np.frombuffer(found["f"], np.float32).tolist() == [10]
    assert document["outputs"][1]["data"] == [4, 6]
    mixed = [inputs[0], {"name": "a", "datatype": "FP32", "shape": [2], "data": [1, 2]}]
    assert post_binary(client, BARE, {"inputs": mixed}, b).get_json()["outputs"][0]["data"] == [4, 6]


def test_default(serve: MakeClient) -> None:
    """An input with a default may be left out."""
    reply = infer(serve(models.with_default()), BARE, inputs=[X | {"data": [[1, 2]]}])
    assert reply["outputs"][0]["data"] == [11, 22]


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ([], "'inputs', an array"),
        ({}, "'inputs', an array"),
        ({"inputs": {}}, "'inputs', an array"),
        ({"inputs": []}, "missing input 'x'"),
        ({"inputs": [1]}, "an object with a 'name'"),
        ({"inputs": [{"name": 1}]}, "an object with a 'name'"),
        ({"inputs": [X, X]}, "input 'x' is given twice"),
        ({"inputs": [X, {"name": "z"}]}, "unknown input 'z'; the model has 'x'"),
        ({"inputs": [X | {"datatype": "FP64"}]}, "expected datatype FP32, got 'FP64'"),
        ({"inputs": [X | {"datatype": None}]}, "expected datatype FP32, got null"),
        ({"inputs": [X | {"shape": None}]}, "expected 'shape' to be an array of sizes"),
        ({"inputs": [X | {"shape": [1, -2]}]}, "expected 'shape' to be an array of sizes"),
        ({"inputs": [X | {"shape": [1, True]}]}, "expected 'shape' to be an array of sizes"),
        ({"inputs": [X | {"shape": [1, 2.0]}]}, "expected 'shape' to be an array of sizes"),
        ({"inputs": [X | {"shape": [1] * 33}]}, "expected 'shape' to be an array of sizes"),
        ({"inputs": [X | {"shape": [1, 3]}]}, "expected 3 elements for shape [1, 3], got 2 elements"),
        ({"inputs": [X | {"shape": [2**39, 2]}]}, "got 2 elements"),
        ({"inputs": [X | {"shape": [2**40, 2**40]}]}, "expected 'shape' to be an array of sizes"),
        ({"inputs": [X | {"shape": [0, 2**64], "data": []}]}, "expected 'shape' to be an array of sizes"),
        ({"inputs": [X | {"shape": [2]}]}, "expected FP32 [batch, 2], got shape [2]"),
        ({"inputs": [X | {"shape": [2, 1]}]}, "got shape [2, 1]"),
        ({"inputs": [X | {"data": [[1], [2]]}]}, "got nested data of shape [2, 1]"),
        ({"inputs": [X | {"data": [[1, 2], [3]]}]}, "rows of different lengths"),
        ({"inputs": [X | {"data": ["1", 2]}]}, "got '1' at [0]"),
        ({"inputs": [X | {"data": [True, 2]}]}, "got true at [0]"),
        ({"inputs": [{k: v for k, v in X.items() if k != "data"}]}, "expected 'data' or binary_data_size"),
        ({"inputs": [X | {"parameters": 1}]}, "expected 'parameters' to be an object, got 1"),
        ({"inputs": [X], "id": 1}, "expected 'id' to be a string, got 1"),
        ({"inputs": [X], "outputs": 1}, "expected 'outputs' to be an array"),
        ({"inputs": [X], "outputs": [{}]}, "unknown output null; the model has 'y'"),
        ({"inputs": [X], "outputs": [{"name": "z"}]}, "unknown output 'z'"),
        ({"inputs": [X], "outputs": [1]}, "unknown output null"),
        ({"inputs": [X], "parameters": {"binary_data_output": 1}}, "to be true or false, got 1"),
        (
            {"inputs": [X], "outputs": [{"name": "y", "parameters": {"binary_data": "y"}}]},
            "to be true or false, got 'y'",
        ),
    ],
)
def test_refused(client: FlaskClient, document: Any, words: str) -> None:
    """Whatever does not fit is told with the name, what was expected and what came."""
    reply = client.post(INFER, json=document)
    assert reply.status_code == 400, reply.text
    assert words in reply.get_json()["error"]


SIZED = {"name": "x", "datatype": "FP32", "shape": [1, 2], "parameters": {"binary_data_size": 8}}
EIGHT = np.array([[1, 2]], np.float32).tobytes()


@pytest.mark.parametrize(
    ("tensor", "data", "words"),
    [
        ({}, EIGHT[:7], "expected binary_data_size of 0 to 7, the bytes that are left, got 8"),
        ({}, EIGHT + b"x", "1 bytes follow that no input has"),
        ({"shape": [1, 3]}, EIGHT, "expected 12 bytes for shape [1, 3], got 8"),
        ({"shape": [2**63, 2**63]}, EIGHT, "expected 'shape' to be an array of sizes"),
        ({"parameters": {"binary_data_size": -1}}, EIGHT, "expected binary_data_size of 0 to 8"),
        ({"parameters": {"binary_data_size": "8"}}, EIGHT, "got '8'"),
        ({"parameters": {"binary_data_size": True}}, EIGHT, "got true"),
        ({"parameters": {"binary_data_size": 10**30}}, EIGHT, "expected binary_data_size of 0 to 8"),
        ({"data": [1, 2]}, EIGHT, "has 'data' and binary_data_size"),
    ],
)
def test_lengths_that_lie(client: FlaskClient, tensor: Any, data: bytes, words: str) -> None:
    """The sizes in the JSON, the shape and the bytes must agree."""
    reply = post_binary(client, INFER, {"inputs": [SIZED | tensor]}, data)
    assert reply.status_code == 400, reply.data
    assert words in reply.get_json()["error"]


@pytest.mark.parametrize("length", ["-1", "x", "1e3", "999999", "9" * 5000, "\u00b2"])
def test_header_length(client: FlaskClient, length: str) -> None:
    """The length of the JSON is one that the body can have."""
    body = json.dumps({"inputs": [X]})
    reply = client.post(INFER, data=body, headers={LENGTH: length, "content-type": "application/json"})
    assert reply.status_code == 400
    assert "inference-header-content-length of 0 to" in reply.get_json()["error"]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\x01\0\0", "element 0 goes beyond the data"),
        (b"\x05\0\0\0ab", "element 0 goes beyond the data"),
        (b"\xff\xff\xff\xffab", "element 0 goes beyond the data"),
        (b"\x01\0\0\0\xff", "element 0 is not UTF-8"),
        (b"\x01\0\0\0a\x01\0\0\0b", "expected 1 elements, got 2"),
        (b"", "expected 1 elements, got 0"),
    ],
)
def test_broken_strings(serve: MakeClient, data: bytes, words: str) -> None:
    """Strings in binary whose lengths lie, and bytes that are no text."""
    tensor = {"name": "x", "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": len(data)}}
    reply = post_binary(serve(models.identity(TensorProto.STRING, None)), BARE, {"inputs": [tensor]}, data)
    assert reply.status_code == 400, reply.data
    assert words in reply.get_json()["error"]


def test_booleans(serve: MakeClient) -> None:
    """A byte that is neither 0 nor 1 is no boolean."""
    tensor = {"name": "x", "datatype": "BOOL", "shape": [1], "parameters": {"binary_data_size": 1}}
    client = serve(models.identity(TensorProto.BOOL, None))
    reply = post_binary(client, BARE, {"inputs": [tensor]}, b"\x02")
    assert "expected booleans of 0 or 1, got 2" in reply.get_json()["error"]


@pytest.mark.parametrize(
    "model",
    [
        models.sequence(),
        models.optional(),
        models.vectorizer(TensorProto.STRING, string_vocabulary=["a"]),
        models.model(
            [helper.make_node("Cast", ["x"], ["y"], to=TensorProto.FLOAT)],
            [models.tensor("x", TensorProto.INT4, ["n"])],
            [models.tensor("y", shape=["n"])],
        ),
    ],
    ids=["sequence", "optional", "map", "int4"],
)
def test_no_words(serve: MakeClient, model: bytes) -> None:
    """What the protocol has no types for is told once, with the way to go."""
    reply = serve(model).post(BARE, json={"inputs": []})
    assert reply.status_code == 400
    assert "this protocol has no words: use /score" in reply.get_json()["error"]


@pytest.mark.parametrize(
    "path",
    [
        "/v2/models/other/infer",
        "/v2/models/tiny/versions/4/infer",
        "/v2/models/tiny/versions/latest/infer",
    ],
)
def test_unknown_model(client: FlaskClient, path: str) -> None:
    """Another model or version is not found."""
    reply = client.post(path, json={"inputs": [X]})
    assert reply.status_code == 404
    assert reply.get_json()["error"]


@pytest.mark.parametrize("path", ["/v2/models/other", "/v2/models/tiny/versions/4", "/v2/models/other/ready"])
def test_unknown_metadata(client: FlaskClient, path: str) -> None:
    """There is nothing to tell of another model."""
    assert client.get(path).status_code == 404


def test_metadata(client: FlaskClient) -> None:
    """Server, model, health."""
    assert client.get("/v2").get_json()["extensions"] == ["binary_tensor_data"]
    assert client.get("/v2/health/live").get_json() == {"live": True}
    assert client.get("/v2/health/ready").get_json() == {"ready": True}
    for path in ("/v2/models/tiny", "/v2/models/tiny/versions/3"):
        assert client.get(f"{path}/ready").get_json() == {"name": "tiny", "ready": True}
        assert client.get(path).get_json() == {
            "name": "tiny",
            "versions": ["3"],
            "platform": "onnxruntime_onnx",
            "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}],
            "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1, 2]}],
        }


def test_draining(client: FlaskClient) -> None:
    """A process that was told to stop is not ready; neither is its model."""
    client.application.extensions["scorebox"].draining.set()
    for path in ("/v2/health/ready", "/v2/models/tiny/ready"):
        assert client.get(path).status_code == 503
    assert client.get("/v2/health/live").status_code == 200


def test_get(client: FlaskClient) -> None:
    """Inference is a POST."""
    assert client.get(INFER).status_code == 405


@pytest.mark.parametrize("compression", [None, "gzip", "deflate"])
@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("module", ["tritonclient.http", "tritonclient.http.aio"])
def test_tritonclient(
    tmp_path: Path, start_server: StartServer, module: str, compression: str | None, binary: bool
) -> None:
    """Triton's own clients find what they look for: health, metadata, and answers, numbers and strings."""
    triton = import_module(module)

    async def ask(call: Any, *args: Any, **kwargs: Any) -> Any:
        result = call(*args, **kwargs)
        return await result if inspect.isawaitable(result) else result

    async def session(port: int) -> None:
        client = triton.InferenceServerClient(f"127.0.0.1:{port}")
        try:
            assert await ask(client.is_server_live)
            assert await ask(client.is_server_ready)
            assert await ask(client.is_model_ready, "tiny")
            assert await ask(client.is_model_ready, "tiny", "3")
            assert not await ask(client.is_model_ready, "other")
            assert (await ask(client.get_server_metadata))["extensions"] == ["binary_tensor_data"]
            about = await ask(client.get_model_metadata, "tiny", "3")
            assert [(tensor["name"], tensor["datatype"], tensor["shape"]) for tensor in about["inputs"]] == [
                ("x", "FP32", [-1, 2]),
                ("words", "BYTES", [-1]),
            ]
            rows, words = np.array([[1, 2], [3, 4]], np.float32), np.array(["Grüße", "", "wine"], object)
            inputs = [triton.InferInput("x", rows.shape, "FP32"), triton.InferInput("words", [3], "BYTES")]
            inputs[0].set_data_from_numpy(rows, binary_data=binary)
            inputs[1].set_data_from_numpy(words, binary_data=binary)
            wanted = [triton.InferRequestedOutput(name, binary_data=binary) for name in ("echo", "y")]
            for outputs in (wanted, wanted[:1], None):
                result = await ask(
                    client.infer,
                    "tiny",
                    inputs,
                    outputs=outputs,
                    request_id="my-id",
                    request_compression_algorithm=compression,
                    response_compression_algorithm=compression,
                )
                reply = result.get_response()
                assert reply["id"] == "my-id"
                names = [output["name"] for output in reply["outputs"]]
                assert names == (["echo", "y"][: len(outputs)] if outputs else ["y", "echo"])
                said = [
                    word.decode() if isinstance(word, bytes) else word for word in result.as_numpy("echo")
                ]
                assert said == words.tolist()
                if "y" in names:
                    assert result.as_numpy("y").tolist() == [[3, 5], [7, 9]]
            with pytest.raises(InferenceServerException, match="missing input 'words'"):
                await ask(client.infer, "tiny", inputs[:1], response_compression_algorithm=compression)
        finally:
            await ask(client.close)

    package = write_package(tmp_path / "package", models.affine_and_echo())
    server = start_server(package, WEB_CONCURRENCY="1").wait_until_ready()
    asyncio.run(session(server.port))
    assert server.stop() == 0
