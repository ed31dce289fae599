"""Manifests that somebody wrote to do harm, or that two programs would read differently."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from model_loader.errors import PackageError
from model_loader.package import MODEL_FILE, parse_manifest
from model_loader.package.draft import read_draft
from model_loader.store import open_store
from tests.model_loader.command_line import Loader, Snapshot, snapshot

FILE = {"sha256": "0" * 64, "bytes": 1}
DOCUMENT: dict[str, Any] = {
    "schema": 1,
    "name": "tiny",
    "version": 2,
    "created": "2026-01-01T00:00:00Z",
    "files": {MODEL_FILE: FILE},
    "inputs": [],
    "outputs": [],
}


def text(**changes: Any) -> bytes:
    """Return a manifest with other fields."""
    return json.dumps(DOCUMENT | changes).encode()


def files(**entries: Any) -> bytes:
    """Return a manifest with one more file; its path is the keyword `path`."""
    path = entries.pop("path", "weights.bin")
    return text(files={MODEL_FILE: FILE, path: FILE | entries})


def raw(field: str) -> bytes:
    """Return a manifest with a field as text, after the others."""
    return text()[:-1] + b", " + field.encode() + b"}"


HOSTILE: list[tuple[bytes, str]] = [
    # not a document, or one that two parsers read differently
    (b"", "is not JSON"),
    (b"{", "is not JSON"),
    (b"\xff", "is not JSON: .*utf-8"),
    (b"[]", "expected an object, got list"),
    (b"null", "expected an object, got NoneType"),
    (b"[" * 100_000, "is not JSON: maximum recursion depth"),
    (raw('"data": ' + '{"a":' * 100 + "1" + "}" * 100), "is not JSON: it is nested more than 64 deep"),
    (raw('"name": "other"'), "is not JSON: the name 'name' occurs twice"),
    (raw('"data": {"rows": 1, "rows": 2}'), "is not JSON: the name 'rows' occurs twice"),
    (raw('"data": {"mean": NaN}'), "is not JSON: NaN is not a finite number"),
    (raw('"data": {"mean": -Infinity}'), "is not JSON: -Infinity is not a finite number"),
    (raw('"data": {"mean": 1e999}'), "is not JSON: 1e999 is not a finite number"),
    (raw('"data": {"rows": 18446744073709551616}'), "is not JSON: the number 184.* has more than 64 bits"),
    (raw('"data": {"rows": ' + "9" * 5000 + "}"), "is not JSON: Exceeds the limit"),
    (raw('"description": "\\ud800"'), "is not JSON: .* half of a surrogate pair"),
    (raw('"data": {"\\udfff": 1}'), "is not JSON: .* half of a surrogate pair"),
    # fields of another type, or out of range
    (text(schema=2), "expected 'schema' to be 1, got 2"),
    (text(schema=True), "expected 'schema' to be 1, got True"),
    (text(schema=1.0), "expected 'schema' to be 1, got 1.0"),
    (text(name="../tiny"), "expected 'name' to be a name that matches"),
    (text(name="tiny\n"), "expected 'name' to be a name that matches"),
    (text(name=3), "expected 'name' to be a name that matches"),
    (text(version=0), "expected 'version' to be a whole number from 1 to 999999999, got 0"),
    (text(version=-1), "'version' .*, got -1"),
    (text(version=2**63), "'version' .*, got 9223372036854775808"),
    (text(version=True), "'version' .*, got True"),
    (text(version="2"), "'version' .*, got '2'"),
    (text(version=2.0), "'version' .*, got 2.0"),
    (text(created=0), "expected 'created' to be a time in RFC 3339, got 0"),
    (text(created="yesterday"), "expected 'created' to be a time in RFC 3339, got 'yesterday'"),
    (text(inputs={}), "expected 'inputs' to be a list of objects with name, datatype and shape"),
    (text(outputs=[{"name": "y"}]), "expected 'outputs' to be a list of objects"),
    (text(inputs=[{"name": "x", "datatype": "FP32", "shape": [True]}]), "expected 'inputs' to be a list"),
    (text(features="ab"), "expected 'features' to be a list of different texts, got 'ab'"),
    (text(features=["a", "a"]), "expected 'features' to be a list of different texts"),
    (text(features=[["a"]]), "expected 'features' to be a list of different texts"),
    (text(classes=[{}]), "expected 'classes' to be a list of texts, numbers or booleans"),
    (text(metrics=[]), r"expected 'metrics' to be an object, got \[\]"),
    (text(metrics={"a": "high"}), r"expected metrics\['a'\] to be a finite number, got 'high'"),
    (text(metrics={"a": True}), r"expected metrics\['a'\] to be a finite number, got True"),
    (text(training="long"), "expected 'training' to be an object"),
    (text(training={"finished": "today"}), r"expected training\['finished'\] to be a time"),
    (text(parent=0), "expected 'parent' to be a whole number"),
    (text(transformed=1), "expected 'transformed' to be true or false, got 1"),
    (text(assets=["words.txt"]), "assets names 'words.txt', which files does not list"),
    (text(licence=["MIT"]), "expected 'licence' to be a text"),
    (text(tags="new"), "expected 'tags' to be a list of different texts"),
    (text(publisher=7), "expected 'publisher' to be a text"),
    # files
    (text(files=[]), "expected 'files' to be an object"),
    (text(files={}), "files must list model.onnx"),
    (files(bytes=-1), r"expected files\['weights.bin'\] to have sha256 and bytes"),
    (files(bytes=2**63), r"expected files\['weights.bin'\] to have sha256 and bytes"),
    (files(bytes=True), r"expected files\['weights.bin'\] to have sha256 and bytes"),
    (files(bytes=1.5), r"expected files\['weights.bin'\] to have sha256 and bytes"),
    (files(sha256="0" * 63), r"expected files\['weights.bin'\] to have sha256 and bytes"),
    (files(sha256="G" * 64), r"expected files\['weights.bin'\] to have sha256 and bytes"),
    (files(sha256="0" * 64 + "\n"), r"expected files\['weights.bin'\] to have sha256 and bytes"),
    (files(path="/etc/passwd"), "path '/etc/passwd' is outside of the package directory"),
    (files(path="../x"), "path '../x' is outside"),
    (files(path="a/../../x"), "path 'a/../../x' is outside"),
    (files(path="a\\b"), "is outside of the package directory or cannot be stored"),
    (files(path="C:x"), "path 'C:x' is outside"),
    (files(path="a\x1b[2J"), "is outside of the package directory or cannot be stored"),
    (files(path="\u202e.bin"), "is outside of the package directory or cannot be stored"),
    (files(path=""), "path '' is outside"),
    (files(path="./x"), "path './x' is outside"),
    (files(path="x" * 256), "path 'x.* is too long"),
    (files(path="manifest.json"), "files must not list manifest.json"),
    (files(path="MODEL.SIG"), "files must not list MODEL.SIG"),
    (files(path="verified.json"), "files must not list verified.json"),
    (files(path="Model.onnx"), "files lists 'model.onnx' and 'Model.onnx', which differ only in case"),
    (files(path="model.onnx/part"), "files lists 'model.onnx' as a file, and 'model.onnx/part' below it"),
]


@pytest.mark.parametrize(("content", "message"), HOSTILE)
def test_parse(content: bytes, message: str) -> None:
    """The message names the field, what was expected, and what came; none of them is long."""
    with pytest.raises(PackageError, match=message) as caught:
        parse_manifest(content)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(("content", "message"), HOSTILE)
def test_publish(draft: Path, content: bytes, message: str) -> None:
    """A draft with such a manifest is refused with the same message."""
    (draft / "manifest.json").write_bytes(content)
    with pytest.raises(PackageError, match=message):
        read_draft(draft)


@pytest.mark.parametrize("store_url", ["file"], indirect=True)
def test_pull(pulled: Snapshot, loader: Loader) -> None:
    """A store with such a manifest: one line, exit code 1, and nothing is downloaded or changed."""
    store = open_store("file:store")
    for content, message in HOSTILE:
        _, etag = store.read("tiny/2/manifest.json") or (b"", None)
        store.write("tiny/2/manifest.json", content, etag)
        result = loader("pull")
        assert (result.code, result.out) == (1, "")
        (line,) = result.err.splitlines()
        assert re.search(f"tiny/2/manifest.json.*{message}|{message}", line), line
        assert snapshot(Path()) == pulled
