"""`/openapi.json`, `/swagger.json` and `/docs`: the API's documentation for programs and for people."""

from collections.abc import Mapping
from pathlib import Path
from typing import cast

import orjson
from flask import Blueprint, Response, abort, g, request

from app.errors import InvalidRequest
from app.openapi import document, downgrade
from app.routes.static_files import asset
from app.service import Service

STATIC = Path(__file__).parent / "static"
ASSETS = {"docs.js": "text/javascript", "rapidoc-min.js": "text/javascript"}

# The page loads from and connects to this host only, so it works without internet access, and a script in a
# model's name or in a sample does not run. RapiDoc uses inline styles.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; connect-src 'self'; "
    "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def blueprint(service: Service) -> Blueprint:
    """Return the documentation's routes. The document does not change, so each version is encoded once."""
    routes = Blueprint("docs", __name__)
    version_3_1 = document.build(service.model, service.samples, service.settings)
    versions = {
        "2": orjson.dumps(downgrade.to_2_0(version_3_1)),
        "3": orjson.dumps(downgrade.to_3_0(version_3_1)),
        "3.1": orjson.dumps(version_3_1),
    }

    def respond(version: str) -> Response:
        # Guarded like `/model`: the document describes the model and contains samples.
        g.record.caller = service.scorer.callers.caller(cast(Mapping[str, str], request.headers))
        return Response(versions[version], content_type="application/json")

    @routes.get("/openapi.json")
    def openapi() -> Response:
        return respond("3.1")

    @routes.get("/swagger.json")
    def swagger() -> Response:
        # Azure ML's inference server also defaults to version 2.
        version = request.args.getlist("version") or ["2"]
        if len(version) > 1 or version[0] not in versions:
            raise InvalidRequest(f"expected version to be one of {', '.join(versions)}")
        return respond(version[0])

    @routes.get("/docs")
    def page() -> Response:
        return asset((STATIC / "docs.html").read_bytes(), "text/html", POLICY)

    @routes.get("/docs/<name>")
    def static_file(name: str) -> Response:
        if name not in ASSETS:
            abort(404)
        return asset((STATIC / name).read_bytes(), ASSETS[name], POLICY)

    return routes
