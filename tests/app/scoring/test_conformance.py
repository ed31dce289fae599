"""Conformance: the node cases of ONNX's own backend test suite, in process and over HTTP, with equal results.

`./scripts/test --all` runs all of them, otherwise every STRIDE-th. What cannot be said in a protocol is
counted by its reason.
"""

import http.client
import json
import threading
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from onnx import TensorProto, numpy_helper
from werkzeug.serving import make_server

from app import create_app
from app.errors import ModelError
from app.protocols.open_inference import HEADER_LENGTH, NAMES, from_bytes, to_bytes
from app.service import Service
from app.settings import Settings
from model_loader.package import TensorSpec
from model_loader.package.ort_errors import ORT_ERRORS

STRIDE = 12
SPELLED = {"NaN": np.nan, "Infinity": np.inf, "-Infinity": -np.inf}


class Inexpressible(Exception):
    """What a protocol has no words for, and why."""


class Wire:
    """A server on loopback whose application can be exchanged."""

    def __init__(self) -> None:
        self.app: Any = None
        self._server = make_server("127.0.0.1", 0, lambda environ, start: self.app(environ, start))
        threading.Thread(target=self._server.serve_forever).start()

    def post(self, path: str, body: bytes, headers: dict[str, str]) -> tuple[http.client.HTTPResponse, bytes]:
        """One request, and its reply with its body."""
        with closing(http.client.HTTPConnection("127.0.0.1", self._server.port, timeout=60)) as connection:
            connection.request("POST", path, body, headers)
            reply = connection.getresponse()
            return reply, reply.read()

    def close(self) -> None:
        """Stops the server."""
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def wire() -> Iterator[Wire]:
    """A server for the length of a test."""
    wire = Wire()
    yield wire
    wire.close()


def cases(stride: int) -> list[Any]:
    """The suite's node cases, which it makes with warnings of NumPy's."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from onnx.backend.test.loader import load_model_tests

        found: list[Any] = load_model_tests(kind="node")
    return found[::stride]


def value_of(value: Any) -> Any:
    """One of the suite's values, which has some as protocol buffers."""
    if isinstance(value, TensorProto):
        return numpy_helper.to_array(value)
    return [value_of(item) for item in value] if isinstance(value, list) else value


def run_in_process(path: Path, inputs: dict[str, Any]) -> list[Any] | None:
    """What ONNX Runtime gives for the case; None where its Python API cannot feed it as it is.

    Raises:
        ORT_ERRORS: it cannot run it on CPU.
    """
    options = ort.SessionOptions()
    options.log_severity_level = 4
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    if any(np.asarray(value).dtype.type.__module__ == "ml_dtypes" for value in _leaves(inputs.values())):
        return None
    if any(
        node.type in ("tensor(bfloat16)", "tensor(int4)", "tensor(uint4)") for node in session.get_outputs()
    ):
        return None
    if any("float8" in node.type for node in session.get_outputs()):
        return None
    outputs: list[Any] = session.run(None, inputs)
    return outputs


def _leaves(values: Iterable[Any]) -> Iterator[Any]:
    for value in values:
        if isinstance(value, list):
            yield from _leaves(value)
        elif value is not None:
            yield value


def to_plain(value: Any) -> Any:
    """A value of the suite's as JSON has it."""
    if value is None:
        return None
    if isinstance(value, list):
        return [to_plain(item) for item in value]
    if isinstance(value, dict):
        return {str(key): to_plain(np.asarray(item)) for key, item in value.items()}
    array = np.asarray(value)
    if array.dtype.kind == "c":
        raise Inexpressible("complex numbers")
    if array.dtype.type.__module__ == "ml_dtypes":
        array = array.astype(np.int8 if "int" in array.dtype.name else np.float32)
    return _plain(array.tolist())


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, float) and not np.isfinite(value):
        return "NaN" if np.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


def differs(found: Any, wanted: Any, rtol: float, atol: float) -> str:
    """Whether JSON differs from an array, list or dict, and how; empty where it does not.

    Args:
        rtol, atol: 0 where every bit counts.
    """
    if wanted is None:
        return "" if found is None else f"{found} for None"
    if isinstance(wanted, list):
        if not isinstance(found, list) or len(found) != len(wanted):
            return f"{found} for {wanted}"
        return next(filter(None, (differs(f, w, rtol, atol) for f, w in zip(found, wanted, strict=True))), "")
    if isinstance(wanted, dict):
        return "" if found == to_plain(wanted) else f"{found} for {wanted}"
    array = np.asarray(wanted)
    if array.size == 0:
        return "" if np.asarray(found).size == 0 else f"{found} for an empty array"
    if array.dtype.kind in "OUS":
        return "" if found == _plain(array.tolist()) else f"{found} for {array}"
    got = np.array(_numbers(found))
    if got.shape != array.shape:
        return f"shape {got.shape} for {array.shape}"
    if array.dtype.type.__module__ == "ml_dtypes":
        array = array.astype(np.int8 if "int" in array.dtype.name else np.float32)
    return _differs(got.astype(array.dtype), array, rtol, atol)


def _numbers(value: Any) -> Any:
    if isinstance(value, list):
        return [_numbers(item) for item in value]
    return SPELLED.get(value, value) if isinstance(value, str) else value


def _differs(got: np.ndarray, wanted: np.ndarray, rtol: float, atol: float) -> str:
    if wanted.dtype.kind == "f" and rtol:
        same = np.allclose(got.astype(float), wanted.astype(float), rtol, atol, equal_nan=True)
    else:
        same = np.array_equal(got, wanted, equal_nan=wanted.dtype.kind == "f")
    return "" if same else f"{got.ravel()[:5]} for {wanted.ravel()[:5]}"


def by_score(wire: Wire, service: Service, inputs: dict[str, Any]) -> Callable[[str], Any]:
    """Asks `/score` in JSON; gives what it answers for an output, as JSON."""
    body = json.dumps({"inputs": {name: to_plain(value) for name, value in inputs.items()}}).encode()
    reply, data = wire.post("/score", body, {"content-type": "application/json"})
    assert reply.status == 200, data[:300]
    outputs = json.loads(data)["outputs"]
    return lambda name: outputs[name]


def by_open_inference(wire: Wire, service: Service, inputs: dict[str, Any]) -> Callable[[str], Any]:
    """Asks `/v2` in binary; gives what it answers for an output, as JSON."""
    model = service.model
    for spec in (*model.inputs.values(), *model.outputs.values()):
        if spec.datatype not in NAMES:
            kind = spec.datatype.partition("(")
            raise Inexpressible(f"no datatype for {kind[0] + '(…)' if kind[1] else kind[0]}")
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
    reply, data = wire.post(
        f"/v2/models/{model.name}/infer", b"".join([head, *parts]), {HEADER_LENGTH: str(len(head))}
    )
    assert reply.status == 200, data[:300]
    size = int(reply.headers[HEADER_LENGTH])
    found: dict[str, Any] = {}
    rest = memoryview(data)[size:]
    for output in json.loads(data[:size])["outputs"]:
        count = output["parameters"]["binary_data_size"]
        spec = TensorSpec(output["name"], model.outputs[output["name"]].datatype, None)
        found[output["name"]] = to_plain(from_bytes(rest[:count], spec, tuple(output["shape"])))
        rest = rest[count:]
    assert not rest
    return lambda name: found[name]


PROTOCOLS = {"/score, JSON": by_score, "/v2, binary": by_open_inference}


def answers(
    wire: Wire, ask: Callable[..., Callable[[str], Any]], service: Service, case: Any, inputs: dict[str, Any]
) -> str:
    """Asks one protocol for one case, and tells how its answer differs; empty where it does not."""
    path = service.settings.model_path
    first, second = run_in_process(path, inputs), run_in_process(path, inputs)
    if first is not None and repr(to_plain(list(first))) != repr(to_plain(list(second or []))):
        raise Inexpressible("random, and so never the same")
    exact = first is not None
    wanted = first if first is not None else value_of(list(case.data_sets[0][1]))
    answer = ask(wire, service, inputs)
    for name, expected in zip(service.model.outputs, wanted, strict=True):
        tolerances = (0.0, 0.0) if exact else (case.rtol, case.atol)
        if how := differs(answer(name), expected, *tolerances):
            return f"{name}: {how}"
    return ""


def test_node_cases(
    wire: Wire, tmp_path: Path, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    """Both protocols give what ONNX Runtime gives in process; the rest is listed by reason."""
    counts = {protocol: Counter[str]() for protocol in PROTOCOLS}
    failures: list[str] = []
    chosen = cases(1 if request.config.getoption("--all") else STRIDE)
    path = tmp_path / "case.onnx"
    for case in chosen:
        path.write_bytes(case.model.SerializeToString())
        names = [node.name for node in case.model.graph.input]
        inputs = {name: value_of(value) for name, value in zip(names, case.data_sets[0][0], strict=False)}
        outcome = {}
        try:
            run_in_process(path, inputs)
            wire.app = create_app(Settings(model_path=path, web_concurrency=1))
        except ORT_ERRORS:
            outcome = dict.fromkeys(PROTOCOLS, "not run by ONNX Runtime on CPU")
        except ModelError as exc:
            reason = str(exc).partition("which cannot be served")[0].rpartition("the type ")[2].strip(" ,")
            outcome = dict.fromkeys(PROTOCOLS, f"no way to feed or fetch {reason} in Python")
        for protocol, ask in PROTOCOLS.items():
            if protocol not in outcome:
                service: Service = wire.app.extensions["scorebox"]
                try:
                    how = answers(wire, ask, service, case, inputs)
                    outcome[protocol] = "passed" if not how else "failed"
                    failures += [f"{case.name}, {protocol}: {how}"] * bool(how)
                except Inexpressible as exc:
                    outcome[protocol] = str(exc)
                except AssertionError as exc:
                    outcome[protocol] = "failed"
                    failures.append(f"{case.name}, {protocol}: {exc}")
            counts[protocol][outcome[protocol]] += 1
    with capsys.disabled():
        print(table(len(chosen), counts))
    assert not failures, "\n".join(failures)
    assert all(count["passed"] > len(chosen) / 3 for count in counts.values())


def table(total: int, counts: dict[str, Counter[str]]) -> str:
    """The counts, a protocol a column."""
    reasons = sorted({reason for count in counts.values() for reason in count} - {"passed", "failed"})
    rows: list[Sequence[object]] = [(f"ONNX node cases: {total}", *counts)]
    rows += [
        (reason, *(count[reason] for count in counts.values())) for reason in ("passed", "failed", *reasons)
    ]
    return "\n" + "\n".join(f"{row[0]!s:55}" + "".join(f"{cell!s:>16}" for cell in row[1:]) for row in rows)
