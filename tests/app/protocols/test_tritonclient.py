"""Triton's clients against a live server."""

import asyncio
import inspect
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tritonclient.utils import InferenceServerException

from tests import models
from tests.app.conftest import StartServer
from tests.conftest import write_package


@pytest.mark.parametrize("compression", [None, "gzip", "deflate"])
@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("module", ["tritonclient.http", "tritonclient.http.aio"])
def test_tritonclient(
    tmp_path: Path, start_server: StartServer, module: str, compression: str | None, binary: bool
) -> None:
    """Triton's clients get health, metadata and outputs, both numbers and strings."""
    triton = import_module(module)

    async def call(method: Any, *args: Any, **kwargs: Any) -> Any:
        result = method(*args, **kwargs)
        return await result if inspect.isawaitable(result) else result

    async def session(port: int) -> None:
        client = triton.InferenceServerClient(f"127.0.0.1:{port}")
        try:
            assert await call(client.is_server_live)
            assert await call(client.is_server_ready)
            assert await call(client.is_model_ready, "tiny")
            assert await call(client.is_model_ready, "tiny", "3")
            assert not await call(client.is_model_ready, "other")
            assert "binary_tensor_data" in (await call(client.get_server_metadata))["extensions"]
            about = await call(client.get_model_metadata, "tiny", "3")
            assert [(tensor["name"], tensor["datatype"], tensor["shape"]) for tensor in about["inputs"]] == [
                ("x", "FP32", [-1, 2]),
                ("words", "BYTES", [-1]),
            ]
            rows, words = np.array([[1, 2], [3, 4]], np.float32), np.array(["Grüße", "", "wine"], object)
            inputs = [triton.InferInput("x", rows.shape, "FP32"), triton.InferInput("words", [3], "BYTES")]
            inputs[0].set_data_from_numpy(rows, binary_data=binary)
            inputs[1].set_data_from_numpy(words, binary_data=binary)
            both = [triton.InferRequestedOutput(name, binary_data=binary) for name in ("echo", "y")]
            for outputs in (both, both[:1], None):
                result = await call(
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
                echoed = [
                    word.decode() if isinstance(word, bytes) else word for word in result.as_numpy("echo")
                ]
                assert echoed == words.tolist()
                if "y" in names:
                    assert result.as_numpy("y").tolist() == [[3, 5], [7, 9]]
            with pytest.raises(InferenceServerException, match="missing input 'words'"):
                await call(client.infer, "tiny", inputs[:1])
        finally:
            await call(client.close)

    package = write_package(tmp_path / "package", models.affine_and_echo())
    server = start_server(package, WEB_CONCURRENCY="1").wait_until_ready()
    asyncio.run(session(server.port))
    assert server.stop() == 0
