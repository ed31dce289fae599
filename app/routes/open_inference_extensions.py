"""`/v2`: Triton's extensions of the Open Inference Protocol for statistics, configuration and repository.

https://github.com/triton-inference-server/server, docs/protocol/: extension_statistics.md,
extension_model_configuration.md, extension_model_repository.md
"""

from collections.abc import Mapping
from typing import Any, cast

from flask import Blueprint, Response, g, jsonify, request

from app.errors import InvalidRequest
from app.model.served_model import ServedModel
from app.observability.statistics import Durations, read_statistics
from app.protocols.open_inference_types import datatype, output_datatype, output_shape
from app.routes.open_inference import MODEL, VERSION, check_served
from app.service import Service
from model_loader.package import MODEL_FILE, TensorSpec

CONTROL = "/v2/repository/models/<name>"


def blueprint(service: Service) -> Blueprint:
    """Return the routes for statistics, configuration and repository."""
    routes = Blueprint("open_inference_extensions", __name__)
    model = service.model
    rules = frozenset(route.rule for route in service.routes.values())

    @routes.before_request
    def authenticate() -> None:
        g.record.caller = service.scorer.callers.caller(cast(Mapping[str, str], request.headers))

    @routes.get("/v2/models/stats")
    @routes.get(f"{MODEL}/stats")
    @routes.get(f"{VERSION}/stats")
    def stats(name: str | None = None, version: str | None = None) -> Response:
        if name is not None:
            check_served(model, name, version)
        found = read_statistics(service.metrics, rules)
        durations = dict.fromkeys(("cache_hit", "cache_miss"), Durations(0, 0.0)) | found.durations
        statistics = {
            "name": model.name,
            "version": model.version,
            "last_inference": round(found.last_inference * 1000),
            "inference_count": found.rows,
            "execution_count": found.inferences,
            "inference_stats": {key: _duration(value) for key, value in durations.items()},
            "batch_stats": [],
        }
        return jsonify(model_stats=[statistics])

    @routes.get(f"{MODEL}/config")
    @routes.get(f"{VERSION}/config")
    def model_config(name: str, version: str | None = None) -> Response:
        check_served(model, name, version)
        return jsonify(_config(model, service.settings.max_batch_rows))

    @routes.post("/v2/repository/index")
    def index() -> Response:
        # Flask gets no bodies, see `app.serving.asgi`: `ready` of the request is ignored, `state` says it.
        state, reason = ("UNAVAILABLE", "draining") if service.draining.is_set() else ("READY", "")
        return jsonify([{"name": model.name, "version": model.version, "state": state, "reason": reason}])

    @routes.post(f"{CONTROL}/load")
    @routes.post(f"{CONTROL}/unload")
    def control(name: str) -> Response:
        action = request.path.rpartition("/")[2]
        raise InvalidRequest(
            f"'{action}' of '{name[:100]}' is not supported: a process serves the one model that it started "
            "with; release a new version instead"
        )

    return routes


def _duration(durations: Durations) -> dict[str, int]:
    return {"count": durations.count, "ns": round(durations.seconds * 1e9)}


def _config(model: ServedModel, max_batch_rows: int) -> dict[str, Any]:
    """Return the configuration that Triton would have for the model.

    https://github.com/triton-inference-server/common, protobuf/model_config.proto, ModelConfig. `dims` leave
    out the batch dimension if all tensors have one; otherwise `max_batch_size` is 0.
    """
    inputs = [(spec, datatype(spec), spec.shape or ()) for spec in model.inputs.values()]
    outputs = [(spec, output_datatype(spec), output_shape(model, spec)) for spec in model.outputs.values()]
    batches = all(shape and not isinstance(shape[0], int) for _, _, shape in (*inputs, *outputs))
    return {
        "name": model.name,
        "platform": "onnxruntime_onnx",
        "backend": "onnxruntime",
        "version_policy": {"latest": {"num_versions": 1}},
        "max_batch_size": max_batch_rows if batches else 0,
        "input": [
            _tensor(*each, batches=batches) | {"format": "FORMAT_NONE", "optional": each[0].optional}
            for each in inputs
        ],
        "output": [_tensor(*each, batches=batches) for each in outputs],
        "default_model_filename": MODEL_FILE,
    }


def _tensor(
    spec: TensorSpec, name: str | None, shape: tuple[int | str | None, ...], *, batches: bool
) -> dict[str, Any]:
    """Return a tensor's configuration.

    Args:
        name: of its datatype in the protocol; None if the protocol does not support it.
        batches: whether the first dimension is the batch.
    """
    types = {None: "TYPE_INVALID", "BYTES": "TYPE_STRING"}
    dims = [size if isinstance(size, int) else -1 for size in shape[batches:]]
    tensor = {"name": spec.name, "data_type": types.get(name, f"TYPE_{name}"), "dims": dims}
    # `dims` must not be empty.
    return tensor if dims else tensor | {"dims": [1], "reshape": {"shape": []}}
