"""`/v2`: health and metadata of the Open Inference Protocol; inference is in `app.routes.score`.

https://github.com/kserve/open-inference-protocol, specification/protocol/inference_rest.md
"""

from collections.abc import Iterable, Mapping
from typing import Any, cast

from flask import Blueprint, Response, g, jsonify, request

from app.errors import ModelNotFound, NotReady
from app.model.served_model import ServedModel
from app.protocols.class_maps import known_classes, learn
from app.protocols.open_inference_types import datatype, output_datatype, output_shape
from app.service import Service
from model_loader.package import TensorSpec

MODEL = "/v2/models/<name>"
VERSION = f"{MODEL}/versions/<version>"
EXTENSIONS = ("binary_tensor_data", "statistics", "model_configuration")


def blueprint(service: Service) -> Blueprint:
    """Return the routes for health and metadata."""
    routes = Blueprint("open_inference", __name__)
    model = service.model
    learn(model, service.samples)

    @routes.get("/v2")
    def server() -> Response:
        return jsonify(name=service.names.name, version="2", extensions=EXTENSIONS)

    @routes.get("/v2/health/live")
    def live() -> Response:
        return jsonify(live=True)

    @routes.get("/v2/health/ready")
    def ready() -> Response:
        _check_ready()
        return jsonify(ready=True)

    @routes.get(f"{MODEL}/ready")
    @routes.get(f"{VERSION}/ready")
    def model_ready(name: str, version: str | None = None) -> Response:
        check_served(model, name, version)
        _check_ready()
        return jsonify(name=model.name, ready=True)

    @routes.get(MODEL)
    @routes.get(VERSION)
    def metadata(name: str, version: str | None = None) -> Response:
        check_served(model, name, version)
        g.record.caller = service.scorer.callers.caller(cast(Mapping[str, str], request.headers))
        return jsonify(
            name=model.name,
            versions=[model.version],
            platform="onnxruntime_onnx",
            inputs=[_tensor(spec, datatype(spec), spec.shape or ()) for spec in model.inputs.values()],
            outputs=[_output(model, spec) for spec in model.outputs.values()],
        )

    def _check_ready() -> None:
        if service.draining.is_set():
            raise NotReady("draining: the process is shutting down")

    return routes


def check_served(model: ServedModel, name: str, version: str | None) -> None:
    """Check that a path names the served model, and its version if it names one.

    Triton's example clients expect the message to begin as Triton's does.

    Raises:
        ModelNotFound: it names another one.
    """
    if name != model.name or version not in (None, model.version):
        requested = name[:100] if version is None else f"{name[:100]}, version {version[:100]}"
        raise ModelNotFound(
            f"Request for unknown model: expected {model.name}, version {model.version}, got {requested}"
        )


def _output(model: ServedModel, spec: TensorSpec) -> dict[str, Any]:
    tensor = _tensor(spec, output_datatype(spec), output_shape(model, spec))
    classes = known_classes(model).get(spec.name)
    return tensor | {"parameters": {"classes": classes}} if classes else tensor


def _tensor(spec: TensorSpec, name: str | None, shape: Iterable[int | str | None]) -> dict[str, Any]:
    """Return a tensor's metadata; a dimension of any size is -1.

    Args:
        name: of its datatype; None if the protocol does not support it.
    """
    sizes = [size if isinstance(size, int) else -1 for size in shape]
    return {"name": spec.name, "datatype": name or spec.datatype, "shape": sizes}
