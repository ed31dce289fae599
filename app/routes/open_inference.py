"""`/v2`: health and metadata of the Open Inference Protocol; inference is in `app.routes.score`.

https://github.com/kserve/open-inference-protocol, specification/protocol/inference_rest.md
"""

from collections.abc import Mapping
from typing import Any, cast

from flask import Blueprint, Response, g, jsonify, request

from app.errors import ModelNotFound, NotReady
from app.protocols.open_inference import EXTENSIONS, datatype
from app.service import Service
from model_loader.package import TensorSpec

MODEL = "/v2/models/<name>"
VERSION = f"{MODEL}/versions/<version>"


def blueprint(service: Service) -> Blueprint:
    """Return the routes for health and metadata."""
    routes = Blueprint("open_inference", __name__)
    model = service.model

    @routes.get("/v2")
    def server() -> Response:
        return jsonify(name="scorebox", version="2", extensions=EXTENSIONS)

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
        _check_served(name, version)
        _check_ready()
        return jsonify(name=model.name, ready=True)

    @routes.get(MODEL)
    @routes.get(VERSION)
    def metadata(name: str, version: str | None = None) -> Response:
        _check_served(name, version)
        g.record.caller = service.scorer.callers.caller(cast(Mapping[str, str], request.headers))
        return jsonify(
            name=model.name,
            versions=[model.version],
            platform="onnxruntime_onnx",
            inputs=[_tensor(spec) for spec in model.inputs.values()],
            outputs=[_tensor(spec) for spec in model.outputs.values()],
        )

    def _check_served(name: str, version: str | None) -> None:
        if name != model.name or version not in (None, model.version):
            requested = name[:100] if version is None else f"{name[:100]}, version {version[:100]}"
            raise ModelNotFound(f"expected {model.name}, version {model.version}, got {requested}")

    def _check_ready() -> None:
        if service.draining.is_set():
            raise NotReady("draining: the process is shutting down")

    return routes


def _tensor(spec: TensorSpec) -> dict[str, Any]:
    """Return a tensor's metadata; a dimension of any size is -1."""
    shape = [size if isinstance(size, int) else -1 for size in spec.shape or ()]
    return {"name": spec.name, "datatype": datatype(spec) or spec.datatype, "shape": shape}
