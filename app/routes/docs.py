"""`/openapi.json`, `/swagger.json` and `/docs`: what the API is, for programs and for people."""

from collections.abc import Mapping
from pathlib import Path
from typing import cast

import orjson
from flask import Blueprint, Response, abort, g, request

from app.errors import InvalidRequest
from app.openapi.document import document
from app.openapi.downgrade import to_2_0, to_3_0
from app.routes.static_files import asset
from app.service import Service

STATIC = Path(__file__).parent / "static"
ASSETS = {"docs.js": "text/javascript", "rapidoc-min.js": "text/javascript"}

# The page runs and asks nothing but what comes from here, so that it works without a network, and nothing
# that a model's name or a sample might bring in runs. RapiDoc styles its elements inline.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; connect-src 'self'; "
    "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def blueprint(service: Service) -> Blueprint:
    """The document does not change, so each version of it is made once."""
    routes = Blueprint("docs", __name__)
    ours = document(service.model, service.samples, service.settings)
    versions = {
        version: orjson.dumps(converted)
        for version, converted in (("2", to_2_0(ours)), ("3", to_3_0(ours)), ("3.1", ours))
    }

    def respond(version: str) -> Response:
        # It tells what `/model` does, and has samples in it.
        g.record.caller = service.scorer.callers.caller(cast(Mapping[str, str], request.headers))
        return Response(versions[version], content_type="application/json")

    @routes.get("/openapi.json")
    def openapi() -> Response:
        return respond("3.1")

    @routes.get("/swagger.json")
    def swagger() -> Response:
        # Azure ML's inference server gives version 2 to who does not say which.
        version = request.args.getlist("version") or ["2"]
        if len(version) > 1 or version[0] not in versions:
            raise InvalidRequest(f"expected version to be one of {', '.join(versions)}")
        return respond(version[0])

    @routes.get("/docs")
    def page() -> Response:
        return asset((STATIC / "docs.html").read_bytes(), "text/html", POLICY)

    @routes.get("/docs/<name>")
    def part(name: str) -> Response:
        if name not in ASSETS:
            abort(404)
        return asset((STATIC / name).read_bytes(), ASSETS[name], POLICY)

    return routes
