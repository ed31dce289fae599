"""Conformance: node cases of ONNX's own backend test suite have the same results over HTTP as in process.

Every STRIDE-th case runs; `./scripts/test --all` runs all. What no protocol expresses is counted by reason.
"""

import http.client
import json
import threading
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import onnxruntime as ort
import pytest
from onnx import TensorProto, numpy_helper
from werkzeug.serving import make_server

from app import create_app
from app.errors import ModelError
from app.protocols.binary_tensors import from_bytes, to_bytes  # part: v2
from app.protocols.open_inference_outputs import HEADER_LENGTH  # part: v2
from app.protocols.open_inference_types import NAMES  # part: v2
from app.service import Service
from app.settings import Settings
from model_loader.package import TensorSpec
from model_loader.package.ort_errors import ORT_ERRORS

STRIDE = 24
NON_FINITE = {"NaN": np.nan, "Infinity": np.inf, "-Infinity": -np.inf}

# From an output's name to its value, as in JSON.
Outputs: TypeAlias = Callable[[str], Any]


class NotExpressible(Exception):
    """A protocol cannot express a case; the message is the reason."""


class LoopbackServer:
    """A server on the loopback interface whose application can be replaced."""

    def __init__(self) -> None:
        self.app: Any = None
        self._server = make_server("127.0.0.1", 0, lambda environ, start: self.app(environ, start))
        threading.Thread(target=self._server.serve_forever).start()

    def post(self, path: str, body: bytes, headers: dict[str, str]) -> tuple[http.client.HTTPResponse, bytes]:
        """Send a request; return the response and its body."""
        with closing(http.client.HTTPConnection("127.0.0.1", self._server.port, timeout=60)) as connection:
            connection.request("POST", path, body, headers)
            response = connection.getresponse()
            return response, response.read()

    def close(self) -> None:
        """Stop the server."""
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def server() -> Iterator[LoopbackServer]:
    """Provide a server, which is stopped at the end of the test."""
    server = LoopbackServer()
    yield server
    server.close()


def load_cases(stride: int) -> list[Any]:
    """Return every `stride`-th node case, without the NumPy warnings that creating them causes."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from onnx.backend.test.loader import load_model_tests

        cases: list[Any] = load_model_tests(kind="node")
    return cases[::stride]


def to_arrays(value: Any) -> Any:
    """Convert protocol buffers in a value of the suite to arrays."""
    if isinstance(value, TensorProto):
        return numpy_helper.to_array(value)
    return [to_arrays(item) for item in value] if isinstance(value, list) else value


def run_in_process(path: Path, inputs: dict[str, Any]) -> list[Any] | None:
    """Return the outputs of ONNX Runtime; None if its Python API does not support a datatype of the model.

    Raises:
        ORT_ERRORS: ONNX Runtime cannot run the model on CPU.
    """
    options = ort.SessionOptions()
    options.log_severity_level = 4
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    if any(np.asarray(value).dtype.type.__module__ == "ml_dtypes" for value in _leaves(inputs.values())):
        return None
    types = {node.type for node in session.get_outputs()}
    if types & {"tensor(bfloat16)", "tensor(int4)", "tensor(uint4)"} or any(
        "float8" in type_ for type_ in types
    ):
        return None
    outputs: list[Any] = session.run(None, inputs)
    return outputs


def _leaves(values: Iterable[Any]) -> Iterator[Any]:
    for value in values:
        if isinstance(value, list):
            yield from _leaves(value)
        elif value is not None:
            yield value


def to_json(value: Any) -> Any:
    """Convert a value of the suite to what JSON contains for it."""
    if value is None:
        return None
    if isinstance(value, list):
        return [to_json(item) for item in value]
    if isinstance(value, dict):
        return {str(key): to_json(np.asarray(item)) for key, item in value.items()}
    array = np.asarray(value)
    if array.dtype.kind == "c":
        raise NotExpressible("complex numbers")
    if array.dtype.type.__module__ == "ml_dtypes":
        array = array.astype(np.int8 if "int" in array.dtype.name else np.float32)
    return _to_json(array.tolist())


def _to_json(value: Any) -> Any:
    if isinstance(value, list):
        return [_to_json(item) for item in value]
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, float) and not np.isfinite(value):
        return "NaN" if np.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


def difference(found: Any, expected: Any, rtol: float, atol: float) -> str:
    """Describe how a value from JSON differs from an array, list or dict; return "" if it does not.

    Args:
        rtol, atol: tolerances; 0 for exact equality.
    """
    if expected is None:
        return "" if found is None else f"{found} for None"
    if isinstance(expected, list):
        if not isinstance(found, list) or len(found) != len(expected):
            return f"{found} for {expected}"
        return next(
            filter(None, (difference(*pair, rtol, atol) for pair in zip(found, expected, strict=True))), ""
        )
    if isinstance(expected, dict):
        return "" if found == to_json(expected) else f"{found} for {expected}"
    array = np.asarray(expected)
    if array.size == 0:
        return "" if np.asarray(found).size == 0 else f"{found} for an empty array"
    if array.dtype.kind in "OUS":
        return "" if found == _to_json(array.tolist()) else f"{found} for {array}"
    got = np.array(_numbers(found))
    if got.shape != array.shape:
        return f"shape {got.shape} for {array.shape}"
    if array.dtype.type.__module__ == "ml_dtypes":
        array = array.astype(np.int8 if "int" in array.dtype.name else np.float32)
    return _array_difference(got.astype(array.dtype), array, rtol, atol)


def _numbers(value: Any) -> Any:
    if isinstance(value, list):
        return [_numbers(item) for item in value]
    return NON_FINITE.get(value, value) if isinstance(value, str) else value


def _array_difference(got: np.ndarray, expected: np.ndarray, rtol: float, atol: float) -> str:
    if expected.dtype.kind == "f" and rtol:
        same = np.allclose(got.astype(float), expected.astype(float), rtol, atol, equal_nan=True)
    else:
        same = np.array_equal(got, expected, equal_nan=expected.dtype.kind == "f")
    return "" if same else f"{got.ravel()[:5]} for {expected.ravel()[:5]}"


def call_score(server: LoopbackServer, service: Service, inputs: dict[str, Any]) -> Outputs:
    """Call `/score` in JSON."""
    body = json.dumps({"inputs": {name: to_json(value) for name, value in inputs.items()}}).encode()
    response, data = server.post("/score", body, {"content-type": "application/json"})
    assert response.status == 200, data[:300]
    outputs = json.loads(data)["outputs"]
    return lambda name: outputs[name]


# part: v2
def call_open_inference(server: LoopbackServer, service: Service, inputs: dict[str, Any]) -> Outputs:
    """Call `/v2` in binary."""
    model = service.model
    for spec in (*model.inputs.values(), *model.outputs.values()):
        if spec.datatype not in NAMES:
            kind = spec.datatype.partition("(")
            raise NotExpressible(f"no datatype for {kind[0] + '(…)' if kind[1] else kind[0]}")
    tensors, parts = [], []
    for name, value in inputs.items():
        array = np.asarray(value, order="C")
        data = to_bytes(array)
        parts.append(data)
        tensors.append(
            {
                "name": name,
                "datatype": NAMES[model.inputs[name].datatype],
                "shape": array.shape,
                "parameters": {"binary_data_size": len(data)},
            }
        )
    head = json.dumps({"inputs": tensors, "parameters": {"binary_data_output": True}}).encode()
    response, data = server.post(
        f"/v2/models/{model.name}/infer", b"".join([head, *parts]), {HEADER_LENGTH: str(len(head))}
    )
    assert response.status == 200, data[:300]
    size = int(response.headers[HEADER_LENGTH])
    found: dict[str, Any] = {}
    rest = memoryview(data)[size:]
    for output in json.loads(data[:size])["outputs"]:
        count = output["parameters"]["binary_data_size"]
        spec = TensorSpec(output["name"], model.outputs[output["name"]].datatype, None)
        found[output["name"]] = to_json(from_bytes(rest[:count], spec, tuple(output["shape"])))
        rest = rest[count:]
    assert not rest
    return lambda name: found[name]


# end: v2


PROTOCOLS: dict[str, Callable[..., Outputs]] = {
    "/score, JSON": call_score,
    "/v2, binary": call_open_inference,  # part: v2
}


def compare(
    server: LoopbackServer, call: Callable[..., Outputs], service: Service, case: Any, inputs: dict[str, Any]
) -> str:
    """Describe how a protocol's outputs differ from the expected ones; return "" if they do not."""
    path = service.settings.model_path
    first, second = run_in_process(path, inputs), run_in_process(path, inputs)
    if first is not None and repr(to_json(list(first))) != repr(to_json(list(second or []))):
        raise NotExpressible("random outputs")
    exact = first is not None
    references = first if first is not None else to_arrays(list(case.data_sets[0][1]))
    outputs = call(server, service, inputs)
    for name, expected in zip(service.model.outputs, references, strict=True):
        tolerances = (0.0, 0.0) if exact else (case.rtol, case.atol)
        if detail := difference(outputs(name), expected, *tolerances):
            return f"{name}: {detail}"
    return ""


def test_node_cases(
    server: LoopbackServer, tmp_path: Path, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    """Both protocols return what ONNX Runtime returns in process; other cases are counted by reason."""
    counts = {protocol: Counter[str]() for protocol in PROTOCOLS}
    failures: list[str] = []
    cases = load_cases(1 if request.config.getoption("--all") else STRIDE)
    path = tmp_path / "case.onnx"
    for case in cases:
        path.write_bytes(case.model.SerializeToString())
        names = [node.name for node in case.model.graph.input]
        inputs = {name: to_arrays(value) for name, value in zip(names, case.data_sets[0][0], strict=False)}
        outcome = {}
        try:
            run_in_process(path, inputs)
            server.app = create_app(Settings(model_path=path, web_concurrency=1))
        except ORT_ERRORS:
            outcome = dict.fromkeys(PROTOCOLS, "not run by ONNX Runtime on CPU")
        except ModelError as exc:
            reason = str(exc).partition("which cannot be served")[0].rpartition("the type ")[2].strip(" ,")
            outcome = dict.fromkeys(PROTOCOLS, f"no way to feed or fetch {reason} in Python")
        for protocol, call in PROTOCOLS.items():
            if protocol not in outcome:
                service: Service = server.app.extensions["service"]
                try:
                    detail = compare(server, call, service, case, inputs)
                    outcome[protocol] = "passed" if not detail else "failed"
                    failures += [f"{case.name}, {protocol}: {detail}"] * bool(detail)
                except NotExpressible as exc:
                    outcome[protocol] = str(exc)
                except AssertionError as exc:
                    outcome[protocol] = "failed"
                    failures.append(f"{case.name}, {protocol}: {exc}")
            counts[protocol][outcome[protocol]] += 1
    with capsys.disabled():
        print(format_counts(len(cases), counts))
    assert not failures, "\n".join(failures)
    assert all(count["passed"] > len(cases) / 3 for count in counts.values())


def format_counts(total: int, counts: dict[str, Counter[str]]) -> str:
    """Return the counts as a table with one column for each protocol."""
    reasons = sorted({reason for count in counts.values() for reason in count} - {"passed", "failed"})
    rows: list[Sequence[object]] = [(f"ONNX node cases: {total}", *counts)]
    rows += [
        (reason, *(count[reason] for count in counts.values())) for reason in ("passed", "failed", *reasons)
    ]
    return "\n" + "\n".join(f"{row[0]!s:55}" + "".join(f"{cell!s:>16}" for cell in row[1:]) for row in rows)
