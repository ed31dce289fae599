"""The calls of Triton's example clients, with models of the names that they expect, run to their end.

https://github.com/triton-inference-server/client, src/python/examples: `simple_http_infer_client.py`,
`simple_http_string_infer_client.py`, `simple_http_health_metadata.py`, and their forms for asyncio
"""

import asyncio
import inspect
from collections.abc import Iterator
from contextlib import asynccontextmanager
from importlib import import_module
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto
from tritonclient.utils import InferenceServerException

from tests import models
from tests.app.conftest import Server, starting
from tests.conftest import write_package

MODELS = {
    "simple": models.sum_and_difference(),
    "simple_string": models.sum_and_difference(TensorProto.STRING),
    "simple_identity": models.echo(),
}
QUERY = {"test_1": 1, "test_2": 2}
MODULES = pytest.mark.parametrize("module", ["tritonclient.http", "tritonclient.http.aio"])


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Server]]:
    """Provide a server for each model."""
    directory = tmp_path_factory.mktemp("servers")
    with starting(directory) as start:
        started = {
            name: start(write_package(directory / name, model, name=name, version=1), WEB_CONCURRENCY="1")
            for name, model in MODELS.items()
        }
        yield {name: server.wait_until_ready() for name, server in started.items()}


class Client:
    """Triton's client, synchronous or for asyncio, with methods that can be awaited."""

    def __init__(self, triton: Any, server: Server) -> None:
        self.triton = triton
        self.client = triton.InferenceServerClient(f"127.0.0.1:{server.port}")

    async def call(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """Call a method of the client and return its result."""
        result = getattr(self.client, method)(*args, **kwargs)
        return await result if inspect.isawaitable(result) else result

    def inputs(self, *arrays: tuple[Any, str, bool]) -> list[Any]:
        """Return inputs of array, datatype and whether they are sent as binary data."""
        tensors = []
        for index, (array, datatype, binary) in enumerate(arrays):
            tensors.append(self.triton.InferInput(f"INPUT{index}", array.shape, datatype))
            tensors[-1].set_data_from_numpy(array, binary_data=binary)
        return tensors

    def outputs(self, *binary: bool, **options: Any) -> list[Any]:
        """Return requested outputs, and whether they are wanted as binary data."""
        return [
            self.triton.InferRequestedOutput(f"OUTPUT{index}", binary_data=each, **options)
            for index, each in enumerate(binary)
        ]


@asynccontextmanager
async def connected(module: str, server: Server) -> Any:
    """Provide a client of a server."""
    client = Client(import_module(module), server)
    try:
        yield client
    finally:
        await client.call("close")


def integers() -> tuple[Any, Any]:
    """Return the examples' inputs: 0 to 15, and as many times -1."""
    return np.arange(16, dtype=np.int32)[None], np.full((1, 16), -1, np.int32)


@MODULES
@pytest.mark.parametrize("compression", [None, "gzip", "deflate"])
def test_infer(servers: dict[str, Server], module: str, compression: str | None) -> None:
    """Inference with and without a list of outputs, statistics, and the message for an unknown model."""

    async def session() -> None:
        async with connected(module, servers["simple"]) as client:
            first, second = integers()
            inputs = client.inputs((first, "INT32", False), (second, "INT32", True))
            options = {
                "query_params": QUERY,
                "request_compression_algorithm": compression,
                "response_compression_algorithm": compression,
            }
            for outputs in (client.outputs(True, False), None):
                result = await client.call("infer", "simple", inputs, outputs=outputs, **options)
                assert result.as_numpy("OUTPUT0").tolist() == (first + second).tolist()
                assert result.as_numpy("OUTPUT1").tolist() == (first - second).tolist()
            (found,) = (await client.call("get_inference_statistics", "simple"))["model_stats"]
            assert (found["name"], found["version"]) == ("simple", "1")
            with pytest.raises(InferenceServerException) as caught:
                await client.call("infer", "wrong_model_name", inputs, outputs=client.outputs(True, False))
            assert caught.value.message().startswith("Request for unknown model")

    asyncio.run(session())


@MODULES
def test_in_parallel(servers: dict[str, Server], module: str) -> None:
    """Requests at the same time get their own answers, ids and parameters included."""

    async def session() -> None:
        async with connected(module, servers["simple"]) as client:
            first, second = integers()

            async def infer(number: int) -> None:
                inputs = client.inputs((first * number, "INT32", True), (second, "INT32", number % 2 == 0))
                result = await client.call(
                    "infer",
                    "simple",
                    inputs,
                    model_version="1",
                    request_id=str(number),
                    priority=1,
                    timeout=10**6,
                )
                assert result.get_response()["id"] == str(number)
                assert result.as_numpy("OUTPUT0").tolist() == (first * number + second).tolist()

            await asyncio.gather(*map(infer, range(1, 9)))

    asyncio.run(session())


@MODULES
def test_strings(servers: dict[str, Server], module: str) -> None:
    """Strings in binary data and in JSON, with null characters and as fixed-size bytes."""

    def strings(array: Any) -> Any:
        return np.array([str(number).encode() for number in array.flat], object).reshape(array.shape)

    def text(array: Any) -> list[bytes]:
        return [item if isinstance(item, bytes) else str(item).encode() for item in array.flat]

    async def session() -> None:
        async with connected(module, servers["simple_string"]) as client:
            first, second = integers()
            inputs = client.inputs((strings(first), "BYTES", True), (strings(second), "BYTES", False))
            result = await client.call("infer", "simple_string", inputs, outputs=client.outputs(True, False))
            assert [int(item) for item in result.as_numpy("OUTPUT0").flat] == [*range(-1, 15)]
            assert [int(item) for item in result.as_numpy("OUTPUT1").flat] == [*range(1, 17)]
        async with connected(module, servers["simple_identity"]) as client:
            for array in (
                np.array([b"he\0llo"] * 16, object).reshape(1, 16),
                np.array([b"\0\1\2\3"] * 16, np.bytes_).reshape(1, 16),
            ):
                for binary in (True, False):
                    inputs = client.inputs((array, "BYTES", binary))
                    outputs = client.outputs(binary)
                    result = await client.call("infer", "simple_identity", inputs, outputs=outputs)
                    assert text(result.as_numpy("OUTPUT0")) == array.ravel().tolist()

    asyncio.run(session())


@MODULES
def test_metadata(servers: dict[str, Server], module: str) -> None:
    """Health, metadata, configuration, repository index and statistics, with and without the version."""

    async def session() -> None:
        async with connected(module, servers["simple"]) as client:
            assert await client.call("is_server_live", query_params=QUERY)
            assert await client.call("is_server_ready")
            for version in ("", "1"):
                assert await client.call("is_model_ready", "simple", version)
                about = await client.call("get_model_metadata", "simple", version, query_params=QUERY)
                config = await client.call("get_model_config", "simple", version)
                stats = await client.call("get_inference_statistics", "simple", version)
                assert about["name"] == config["name"] == stats["model_stats"][0]["name"] == "simple"
                assert [each["shape"] for each in about["inputs"]] == [[-1, 16]] * 2
                assert [each["dims"] for each in config["input"]] == [[16]] * 2
                assert config["max_batch_size"] > 1
            assert not await client.call("is_model_ready", "simple", "2")
            assert {"statistics", "model_configuration"} < {
                *(await client.call("get_server_metadata"))["extensions"]
            }
            assert len((await client.call("get_inference_statistics"))["model_stats"]) == 1
            (entry,) = await client.call("get_model_repository_index")
            assert (entry["name"], entry["version"], entry["state"]) == ("simple", "1", "READY")
            with pytest.raises(InferenceServerException, match="Request for unknown model"):
                await client.call("get_model_metadata", "wrong_model_name")

    asyncio.run(session())


@MODULES
def test_refused(servers: dict[str, Server], module: str) -> None:
    """What is not supported is refused by name: model control, classes, shared memory, sequences."""

    async def session() -> None:
        async with connected(module, servers["simple"]) as client:
            first, second = integers()
            inputs = client.inputs((first, "INT32", True), (second, "INT32", True))
            in_memory = client.outputs(True)
            in_memory[0].set_shared_memory("region", 64)
            for match, method, arguments, options in (
                ("'load' of 'simple'", "load_model", ("simple",), {}),
                ("'unload' of 'simple'", "unload_model", ("simple",), {}),
                (
                    "'classification'",
                    "infer",
                    ("simple", inputs),
                    {"outputs": client.outputs(True, class_count=3)},
                ),
                ("'shared_memory_region'", "infer", ("simple", inputs), {"outputs": in_memory}),
                ("'sequence_id'", "infer", ("simple", inputs), {"sequence_id": 7, "sequence_start": True}),
                ("no such route: /v2/systemsharedmemory/status", "get_system_shared_memory_status", (), {}),
            ):
                with pytest.raises(InferenceServerException, match=match):
                    await client.call(method, *arguments, **options)

    asyncio.run(session())
