"""The document says what the service does: it is valid, and requests and replies are as it says."""

import hashlib
import json
import re
import subprocess
import sys
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from flask import Flask
from flask.testing import FlaskClient
from onnx import TensorProto
from openapi_spec_validator import OpenAPIV2SpecValidator, OpenAPIV30SpecValidator, OpenAPIV31SpecValidator

from app import create_app
from app.protocols import npy
from app.settings import Settings
from tests import models
from tests.app.conftest import ROOT, StartServer
from tests.conftest import MakeClient, write_package

KEYS = "me:2c70e12b7a0646f92279f427c7b38e7334d8e5389cff167a1dc30e73f826b683\n"  # of "key"
VALIDATORS = {"2": OpenAPIV2SpecValidator, "3": OpenAPIV30SpecValidator, "3.1": OpenAPIV31SpecValidator}
DATATYPES = "BOOL UINT8 UINT16 UINT32 UINT64 INT8 INT16 INT32 INT64 FLOAT16 BFLOAT16 FLOAT DOUBLE STRING"
EIGHT_BITS = ("FLOAT8E4M3FN", "FLOAT8E4M3FNUZ", "FLOAT8E5M2", "FLOAT8E5M2FNUZ")
# Every kind that a model can be of, each with requests that it answers.
KINDS: dict[str, tuple[bytes, list[Any]]] = {
    "affine": (
        models.affine(),
        [{"inputs": [[1, None]]}, {"inputs": {"x": []}}, {"instances": [{"x": [1, "NaN"]}, {"x": [1, 2]}]}],
    ),
    "total": (models.total(), [{"inputs": {"a": [1], "b": [2.0]}, "signature_name": "serving_default"}]),
    "default": (
        models.with_default(),
        [
            {"inputs": [[1, 2]]},
            {"inputs": {"x": [[1, 2]], "b": [0, 0]}},
            {"instances": [{"x": [1, 2], "b": 0}, {"x": [1, 2], "b": 0}]},
            {"instances": [{"x": [1, 2]}]},
        ],
    ),
    "sequence": (models.sequence(), [{"inputs": {"x": [[1.5], [], [[2, "NaN"]]]}}, {"instances": [[1], 2]}]),
    "optional": (models.optional(), [{"inputs": {}}, {"inputs": {"x": None}}, {"inputs": None}]),
    "map of strings": (
        models.vectorizer(TensorProto.STRING, string_vocabulary=["a", "b"]),
        [{"inputs": {"b": 2.5}}, {"inputs": {"x": {"b": 2.5}}}],
    ),
    "map of integers": (
        models.vectorizer(TensorProto.INT64, int64_vocabulary=[-1, 2]),
        [{"inputs": {"2": 2.5}}, {"inputs": {"x": {"-1": 2.5}}}],
    ),
    "gather": (models.gather(), [{"instances": [0, 2]}, {"inputs": [1.0]}]),
    "fixed batch": (models.identity(TensorProto.FLOAT, [2, 3]), [{"instances": [[1, 2, 3], [4, 5, 6]]}]),
    "any shape": (models.identity(TensorProto.INT8, None), [{"inputs": 3}, {"inputs": [[3], [4]]}]),
    "no rows": (models.identity(TensorProto.FLOAT, [None, 0]), [{"inputs": [[], []]}]),
    **{
        name: (models.identity(TensorProto.DataType.Value(name), ["n", 2, "m"]), [{"inputs": []}])
        for name in (*DATATYPES.split(), *EIGHT_BITS)
    },
}
REFUSED: dict[str, list[Any]] = {
    "default": [{"instances": [{"x": [1, 2], "b": 0}]}],
    "affine": [
        {},
        {"inputs": [[1, 2]], "instances": [[1, 2]]},
        {"inputs": [[1, 2]], "rows": 1},
        {"inputs": {}},
        {"inputs": [[1, True]]},
        {"inputs": [[1, "nan"]]},
        {"inputs": [[1, 3.4028235677973366e38]]},
        {"inputs": [[1, 2, 3]]},
        {"instances": [{"x": [1]}]},
        {"instances": [{"x": [1, 2]}, [1, 2]]},
    ],
    "total": [{"inputs": [1]}, {"inputs": {"a": [1]}}, {"instances": []}, {"inputs": {"a": [1], "b": [1.5]}}],
    "map of integers": [
        {"inputs": {"x": 1}},
        {"inputs": {"01": 1}},
        {"inputs": {"1": [1]}},
        {"instances": []},
    ],
    "map of strings": [{"inputs": {"x": 2.5}}],
    "fixed batch": [{"instances": [[1, 2, 3]]}, {"inputs": []}],
    "no rows": [{"inputs": [[1], [2]]}],
    "INT8": [{"inputs": [[[128], [1]]]}, {"inputs": [[[None], [1]]]}],
    "FLOAT16": [{"inputs": [[[65520], [1]]]}],
    "FLOAT8E4M3FN": [{"inputs": [[["Infinity"], [1]]]}],
}


def schema(document: Mapping[str, Any], name: str) -> jsonschema.Draft202012Validator:
    """A schema of the document, to hold values against."""
    whole = {"$ref": f"#/components/schemas/{name}", "components": document["components"]}
    return jsonschema.Draft202012Validator(whole)


def document_of(client: FlaskClient, version: str = "3.1") -> Any:
    """The document that a service gives."""
    reply = client.get(f"/swagger.json?version={version}", headers={"x-api-key": "key"})
    assert reply.status_code == 200
    return reply.get_json()


@pytest.mark.parametrize("kind", KINDS)
def test_kind(serve: MakeClient, kind: str) -> None:
    """For every kind of model: what is answered is a request by the schema, and what is answered a reply."""
    model, bodies = KINDS[kind]
    client = serve(model)
    document = document_of(client)
    examples = document["paths"]["/score"]["post"]["requestBody"]["content"]["application/json"]["examples"]
    for body in (*bodies, *(item["value"] for item in examples.values())):
        schema(document, "ScoreRequest").validate(body)
        reply = client.post("/score", json=body)
        assert reply.status_code == 200, (body, reply.text)
        schema(document, "ScoreReply").validate(reply.get_json())
    for body in REFUSED.get(kind, ()):
        assert not schema(document, "ScoreRequest").is_valid(body), body
        reply = client.post("/score", json=body)
        assert reply.status_code == 400
        schema(document, "Error").validate(reply.get_json())


@pytest.mark.parametrize(
    ("kind", "asked", "answered"),
    [("affine", True, True), ("default", True, True), ("total", False, False), ("sequence", False, False)],
)
def test_npy(serve: MakeClient, kind: str, asked: bool, answered: bool) -> None:
    """Arrays in NumPy's format are named where the service takes and gives them, and nowhere else."""
    client = serve(KINDS[kind][0])
    operation = document_of(client)["paths"]["/score"]["post"]
    assert (npy.MEDIA_TYPE in operation["requestBody"]["content"]) is asked
    assert (npy.MEDIA_TYPE in operation["responses"]["200"]["content"]) is answered
    body = npy.write(np.array([[1, 2]], np.float32))
    accept = {"content-type": npy.MEDIA_TYPE, "accept": npy.MEDIA_TYPE}
    assert client.post("/score", data=body, headers=accept).status_code == (200 if asked else 400)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("version", VALIDATORS)
def test_valid(tmp_path: Path, kind: str, version: str) -> None:
    """Every version of it is a valid document, for every kind of model, with and without authentication."""
    path = tmp_path / "bare.onnx"
    path.write_bytes(KINDS[kind][0])
    keys = tmp_path / "keys"
    keys.write_text(KEYS)
    app = create_app(Settings(model_path=path, web_concurrency=1))
    VALIDATORS[version](document_of(app.test_client(), version)).validate()
    app = create_app(Settings(model_path=path, web_concurrency=1, api_keys_file=keys))
    VALIDATORS[version](document_of(app.test_client(), version)).validate()


def test_columns(client: FlaskClient) -> None:
    """Columns are named, and the first sample is the example of both forms, with its reply."""
    document = document_of(client)
    operation = document["paths"]["/score"]["post"]
    asked = operation["requestBody"]["content"]["application/json"]["examples"]
    answered = operation["responses"]["200"]["content"]["application/json"]["examples"]
    assert asked["rows"]["value"] == {"instances": [{"a": 1, "b": 2}]}
    assert asked["columns"]["value"] == {"inputs": {"x": [[1, 2], [3, 4]]}}
    for form, example in asked.items():
        reply = client.post("/score", json=example["value"]).get_json()
        assert reply | {"id": ""} == answered[form]["value"] | {"id": ""}
        schema(document, "ScoreReply").validate(answered[form]["value"])


@pytest.mark.parametrize(
    ("rows", "is_request"),
    [
        ([{"a": 1, "b": None}, {"b": 2, "a": 1}], True),
        ([{"a": 1}], False),
        ([{"a": 1, "b": 2, "c": 3}], False),
        ([{"a": 1, "b": 2}, {"x": [1, 2]}], False),
        ([{"a": [1], "b": [2]}], False),
        ([], True),
    ],
)
def test_rows(client: FlaskClient, rows: Any, is_request: bool) -> None:
    """Rows by column are requests just where the service takes them."""
    body = {"instances": rows}
    assert schema(document_of(client), "ScoreRequest").is_valid(body) is is_request
    assert client.post("/score", json=body).status_code == (200 if is_request else 400)


@pytest.mark.parametrize("path", ["/model", "/healthz", "/readyz", "/openapi.json", "/", "/metrics", "/docs"])
def test_replies(client: FlaskClient, path: str) -> None:
    """The other routes answer as the document says, with the headers that it requires."""
    document = document_of(client)
    reply = client.get(path)
    said = document["paths"][path]["get"]["responses"]["200"]
    media = said["content"][reply.mimetype]["schema"]
    jsonschema.Draft202012Validator(media).validate(reply.get_json() if reply.is_json else reply.text)
    assert said["headers"].keys() <= {name.lower() for name in reply.headers.keys()}  # noqa: SIM118


def test_every_route_is_in_it(app: Flask) -> None:
    """But for the parts of the page; with the name and the version of the model that is served."""
    paths = document_of(app.test_client())["paths"]
    rules = {rule.rule for rule in app.url_map.iter_rules()} - {"/docs/<name>"}
    assert {rule.replace("<name>", "tiny").replace("<version>", "3") for rule in rules} == paths.keys()


def test_authentication(settings: Settings, tmp_path: Path, door: MakeClient) -> None:
    """Where keys are asked for the document says so, and is given only for one, as the model is."""
    keys = tmp_path / "keys"
    keys.write_text(KEYS)
    client = door(create_app(Settings(model_path=settings.model_path, web_concurrency=1, api_keys_file=keys)))
    assert client.get("/openapi.json").status_code == 401
    document = client.get("/openapi.json", headers={"x-api-key": "key"}).get_json()
    assert client.get("/docs").status_code == 200
    for path, method in (("/score", "post"), ("/model", "get")):
        operation = document["paths"][path][method]
        assert operation["security"] == [{"bearer": []}, {"key": []}]
        assert "www-authenticate" in operation["responses"]["401"]["headers"]
    assert "security" not in document["paths"]["/healthz"]["get"]


@pytest.mark.parametrize("query", ["version=4", "version=", "version=2&version=3"])
def test_no_such_version(client: FlaskClient, query: str) -> None:
    """A version that there is not is named with those that there are."""
    reply = client.get(f"/swagger.json?{query}")
    assert reply.status_code == 400
    assert "2, 3, 3.1" in reply.get_json()["error"]
    assert client.get("/swagger.json").get_json()["swagger"] == "2.0"


def test_long_samples_stay_out(tmp_path: Path) -> None:
    """A sample that would be most of the document is no example."""
    long = [[1, 2]] * 5000
    package = write_package(
        tmp_path / "package",
        models.affine(),
        samples=[{"inputs": {"x": long}, "outputs": {"y": [[3, 5]] * 5000}}],
    )
    client = create_app(Settings(model_path=package, web_concurrency=1)).test_client()
    assert len(client.get("/openapi.json").data) < 50_000


def test_page(client: FlaskClient) -> None:
    """The page and its parts come from here, and may ask nobody else."""
    page = client.get("/docs")
    assert page.content_type == "text/html; charset=utf-8"
    for name in ("docs.js", "rapidoc-min.js"):
        assert f'src="docs/{name}"' in page.text
        assert client.get(f"/docs/{name}").content_type == "text/javascript; charset=utf-8"
    assert "//" not in page.text
    assert "default-src 'none'; script-src 'self';" in page.headers["content-security-policy"]
    assert client.get("/docs/nothing.js").status_code == 404
    assert client.get("/docs", headers={"if-none-match": page.headers["etag"]}).status_code == 304


def test_vendored() -> None:
    """The viewer is the one that was taken in."""
    found = hashlib.sha256((ROOT / "app/routes/static/rapidoc-min.js").read_bytes()).hexdigest()
    assert found in (ROOT / "docs/dependencies.md").read_text()


def test_references(client: FlaskClient) -> None:
    """What the document refers to is there."""
    text = client.get("/openapi.json").text
    document = json.loads(text)
    for part in text.split('"$ref":"#/')[1:]:
        node: Any = document
        for key in part.split('"')[0].split("/"):
            node = node[key]


CONFIG = """\
[checks]
negative_data_rejection.expected-statuses = [400, 401, 404, 405, 413, 415, 431]

[[operations]]
include-path-regex = "/infer$"
checks.positive_data_acceptance.enabled = false
"""


@pytest.mark.parametrize("kind", ["wine", "guarded"])
def test_live(start_server: StartServer, package: Path, tmp_path: Path, kind: str) -> None:
    """Whatever a live server is sent, it answers as the document says: the sample model, and one with keys.

    All of schemathesis' checks are on as they are shipped; only its stateful phase is left out, as there is
    no state to find. One check, that keys are not ignored, must be told the key as that of a scheme: as a
    header of every request it would open what the check sends with another key. Another must be told that 431
    refuses too, and one is off for `/v2`: no schema can say that `data` has as many elements as `shape`.
    """
    (tmp_path / "keys").write_text(KEYS)
    path, keys = {"wine": (ROOT / "model_store/wine/2", ""), "guarded": (package, str(tmp_path / "keys"))}[
        kind
    ]
    server = start_server(path, WEB_CONCURRENCY="1", API_KEYS_FILE=keys).wait_until_ready()
    with closing(server.connect()) as connection:
        connection.request("GET", "/openapi.json", headers={"x-api-key": "key"})
        (tmp_path / "openapi.json").write_bytes(connection.getresponse().read())
    (tmp_path / "schemathesis.toml").write_text(
        CONFIG + ('\n[auth.openapi.key]\napi_key = "key"\n' if keys else "")
    )
    run = subprocess.run(
        [
            Path(sys.executable).with_name("schemathesis"),
            "run",
            "openapi.json",
            f"--url=http://127.0.0.1:{server.port}",
            "--phases=examples,coverage,fuzzing",
            "--max-examples=100",
            "--generation-deterministic",
            "--no-color",
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    cases = re.search(r"(\d+) generated, (\d+) passed", run.stdout)
    assert cases, run.stdout
    assert int(cases[1]) == int(cases[2]) >= 1000, run.stdout
    assert not [line for line in server.lines() if line.get("status", 0) >= 500]
