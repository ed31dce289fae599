"""The OpenAPI document is valid and complete, and `/docs` shows it."""

import hashlib
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from flask import Flask
from flask.testing import FlaskClient
from openapi_spec_validator import OpenAPIV2SpecValidator, OpenAPIV30SpecValidator, OpenAPIV31SpecValidator

from app import create_app
from app.settings import Settings
from tests import models
from tests.app.conftest import ROOT
from tests.app.openapi.documents import KEYS, KINDS, get_document
from tests.conftest import MakeClient, write_package

VALIDATORS = {"2": OpenAPIV2SpecValidator, "3": OpenAPIV30SpecValidator, "3.1": OpenAPIV31SpecValidator}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("version", VALIDATORS)
def test_valid(tmp_path: Path, kind: str, version: str) -> None:
    """Every version is a valid document for every kind of model, with and without authentication."""
    path = tmp_path / "bare.onnx"
    path.write_bytes(KINDS[kind][0])
    keys = tmp_path / "keys"
    keys.write_text(KEYS)
    app = create_app(Settings(model_path=path, web_concurrency=1))
    VALIDATORS[version](get_document(app.test_client(), version)).validate()
    app = create_app(Settings(model_path=path, web_concurrency=1, api_keys_file=keys))
    VALIDATORS[version](get_document(app.test_client(), version)).validate()


@pytest.mark.parametrize(
    "path",
    [
        "/model",
        "/healthz",
        "/readyz",
        "/ping",
        "/v1/models",
        "/v1/models/tiny",
        "/v1/models/tiny/versions/3",
        "/openapi.json",
        "/",
        "/metrics",
        "/recent",
        "/recent/data",
        "/docs",
    ],
)
def test_replies(client: FlaskClient, path: str) -> None:
    """The replies of other routes than scoring have the documented form and headers."""
    reply = client.get(path)
    documented = get_document(client)["paths"][path]["get"]["responses"]["200"]
    schema = documented["content"][reply.mimetype]["schema"]
    jsonschema.Draft202012Validator(schema).validate(reply.get_json() if reply.is_json else reply.text)
    assert documented["headers"].keys() <= {name.lower() for name in reply.headers.keys()}  # noqa: SIM118


def test_every_route_is_documented(app: Flask) -> None:
    """The document has all routes except the page's files, with the served model's name and version.

    Feedback is described only if it is kept.
    """
    paths = get_document(app.test_client())["paths"]
    rules = {rule.rule for rule in app.url_map.iter_rules()} - {"/docs/<name>", "/page/<name>", "/feedback"}
    assert {rule.replace("<name>", "tiny").replace("<version>", "3") for rule in rules} == paths.keys()


def test_sample_with_weights(tmp_path: Path) -> None:
    """A sample that sets a weight besides the columns is an example by inputs."""
    inputs = {"x": [[1, 2]], "b": [1, 2]}
    samples = [{"inputs": inputs, "outputs": {"y": [[2, 4]]}}]
    path = write_package(tmp_path / "package", models.with_default(), samples=samples, features=["p", "q"])
    app = create_app(Settings(model_path=path, web_concurrency=1, allow_initializer_inputs="on"))
    content = get_document(app.test_client())["paths"]["/score"]["post"]["requestBody"]["content"]
    values = [example["value"] for example in content["application/json"]["examples"].values()]
    assert values == [{"inputs": inputs}]


def test_authentication(settings: Settings, tmp_path: Path, make_client: MakeClient) -> None:
    """With authentication on, the document requires a key and describes how to send one."""
    keys = tmp_path / "keys"
    keys.write_text(KEYS)
    client = make_client(
        create_app(Settings(model_path=settings.model_path, web_concurrency=1, api_keys_file=keys))
    )
    assert client.get("/openapi.json").status_code == 401
    document = client.get("/openapi.json", headers={"x-api-key": "key"}).get_json()
    assert client.get("/docs").status_code == 200
    for path, method in (("/score", "post"), ("/model", "get")):
        operation = document["paths"][path][method]
        assert operation["security"] == [{"bearer": []}, {"key": []}]
        assert "www-authenticate" in operation["responses"]["401"]["headers"]
    assert "security" not in document["paths"]["/healthz"]["get"]


@pytest.mark.parametrize("query", ["version=4", "version=", "version=2&version=3"])
def test_unknown_version(client: FlaskClient, query: str) -> None:
    """The error for an unknown version lists the supported ones; the default is 2."""
    reply = client.get(f"/swagger.json?{query}")
    assert reply.status_code == 400
    assert "2, 3, 3.1" in reply.get_json()["error"]
    assert client.get("/swagger.json").get_json()["swagger"] == "2.0"


def test_large_sample(tmp_path: Path) -> None:
    """A sample that would make up most of the document is left out."""
    rows = [[1, 2]] * 50_000
    package = write_package(
        tmp_path / "package",
        models.affine(),
        samples=[{"inputs": {"x": rows}, "outputs": {"y": [[3, 5]] * 50_000}}],
    )
    client = create_app(Settings(model_path=package, web_concurrency=1)).test_client()
    assert len(client.get("/openapi.json").data) < 50_000 * len("[1,2]")


def test_references(client: FlaskClient) -> None:
    """Every reference in the document can be resolved."""
    text = client.get("/openapi.json").text
    document = json.loads(text)
    for part in text.split('"$ref":"#/')[1:]:
        node: Any = document
        for key in part.split('"')[0].split("/"):
            node = node[key]


def test_page(client: FlaskClient) -> None:
    """The page loads only files of the service."""
    page = client.get("/docs")
    assert page.content_type == "text/html; charset=utf-8"
    for name in ("docs.js", "rapidoc-min.js"):
        assert f'src="docs/{name}"' in page.text
        assert client.get(f"/docs/{name}").content_type == "text/javascript; charset=utf-8"
    assert "//" not in page.text
    assert "default-src 'none'; script-src 'self';" in page.headers["content-security-policy"]
    assert client.get("/docs/nothing.js").status_code == 404
    assert client.get("/docs", headers={"if-none-match": page.headers["etag"]}).status_code == 304


def test_vendored_viewer() -> None:
    """RapiDoc's file is the version that docs/dependencies.md lists."""
    digest = hashlib.sha256((ROOT / "app/routes/static/rapidoc-min.js").read_bytes()).hexdigest()
    assert digest in (ROOT / "docs/dependencies.md").read_text()
