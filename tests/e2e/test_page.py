"""The page's form, results and errors."""

import hashlib
import json
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from onnx import TensorProto, helper
from playwright.sync_api import expect

from tests import models
from tests.app.conftest import Server, StartServer
from tests.app.model.test_example_inputs import fourth_word
from tests.conftest import write_package
from tests.e2e.page import WINE, OpenPage, field, result, score
from tests.e2e.page import browser as browser
from tests.e2e.page import open_page as open_page


def write_several_inputs(path: Path) -> Path:
    """Write a package with inputs of every form, and with names and texts that look like markup."""
    one = helper.make_tensor("one", TensorProto.INT64, [1], [1])
    nodes = [
        helper.make_node("ReduceSum", ["series", "one"], ["total"], keepdims=1),
        helper.make_node("Add", ["static", "total"], ["scores"]),
        helper.make_node("Softmax", ["scores"], ["mood"], axis=1),
        helper.make_node("Identity", ["text"], ["echo"]),
        helper.make_node("Identity", ["<b>age</b>"], ["older"]),
    ]
    inputs = [
        models.tensor("series", shape=("batch", "steps")),
        models.tensor("static", shape=("batch", 3)),
        models.tensor("text", TensorProto.STRING, ("batch", 1)),
        models.tensor("<b>age</b>", TensorProto.INT64, ("batch", 1)),
    ]
    outputs = [
        models.tensor("mood", shape=("batch", 3)),
        models.tensor("echo", TensorProto.STRING, ("batch", 1)),
        models.tensor("older", TensorProto.INT64, ("batch", 1)),
    ]
    sample_inputs = {"series": [[1, 2]], "static": [[0, 0, 9]], "text": [["it's"]], "<b>age</b>": [[9]]}
    return write_package(
        path,
        models.model(nodes, inputs, outputs, [one]),
        samples=[{"inputs": sample_inputs, "outputs": {"older": [[9]]}}],
        classes=["sad", "constructor", "<img src=x onerror=alert(1)>"],
        name="several",
    )


def test_score(start_server: StartServer, open_page: OpenPage) -> None:
    """The form's values are scored; the result has a bar for each class, and the response time."""
    server = start_server(WINE).wait_until_ready()
    page = open_page(server.port)
    expect(page.get_by_role("heading", level=1)).to_have_text("wine/2")
    expect(page.locator("#card")).to_contain_text(json.loads(server.request("GET", "/model")[1])["digest"])
    sample = json.loads((WINE / "samples.json").read_text())[1]["inputs"]["x"][0]
    features = json.loads((WINE / "manifest.json").read_text())["features"]
    for name, value in zip(features, sample, strict=True):
        field(page, name).fill(str(value))
    score(page)
    expect(result(page)).to_contain_text("measured in this browser")
    status, text = server.request("POST", "/score", {"inputs": [sample]})
    assert status == 200
    (shares,) = json.loads(text)["outputs"]["probabilities"]
    expect(page.get_by_role("list", name="probabilities").get_by_role("listitem")).to_have_text(
        [f"class_{i}{100 * share:.1f}%" for i, share in enumerate(shares)]
    )
    expect(result(page).locator(".headline")).to_have_text(f"class_{np.argmax(shares)}")
    expect(result(page)).to_contain_text(f"{np.argmax(shares)} (class_{np.argmax(shares)})")


def test_curl(start_server: StartServer, open_page: OpenPage) -> None:
    """The shell command has the form's current values."""
    server = start_server(WINE).wait_until_ready()
    page = open_page(server.port)
    field(page, "ash").fill("2.5")
    field(page, "proline").fill("")
    command = page.locator("#code").text_content() or ""
    assert command.startswith(f"curl -s http://127.0.0.1:{server.port}/score ")
    (instance,) = json.loads(command.partition("-d '")[2].removesuffix("'"))["instances"]
    assert (instance["ash"], instance["proline"], instance["alcohol"]) == (2.5, None, 13.24)
    page.get_by_role("button", name="Start over").click()
    expect(page.locator("#code")).to_contain_text('"ash": 2.29')


def rejected_line(server: Server) -> Any:
    """Wait for the log line of a rejected request, which is written after the reply."""
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        for line in server.lines():
            if line.get("status", 200) >= 400:
                return line
        time.sleep(0.02)
    raise AssertionError("no rejected request was logged")


def test_rejected(start_server: StartServer, open_page: OpenPage) -> None:
    """An error is displayed with its status, its message and the request's id."""
    server = start_server(WINE).wait_until_ready()
    page = open_page(server.port)
    field(page, "alcohol").fill("1e300")
    score(page)
    expect(result(page)).to_contain_text("400")
    expect(result(page)).to_contain_text("expected FP32")
    rejected = rejected_line(server)
    assert (rejected["status"], rejected["route"]) == (400, "/score")
    expect(result(page)).to_contain_text(rejected["id"])
    server.stop()
    score(page)
    expect(result(page)).to_contain_text("No response")


def test_key(start_server: StartServer, open_page: OpenPage, tmp_path: Path) -> None:
    """With authentication on, the page asks for the key, sends it, and does not store it."""
    keys = tmp_path / "keys"
    keys.write_text(f"me:{hashlib.sha256(b'right-key').hexdigest()}\n")
    server = start_server(WINE, API_KEYS_FILE=str(keys)).wait_until_ready()
    page = open_page(server.port)
    secret = page.get_by_label("This service requires an API key")
    expect(secret).to_be_focused()
    expect(page.get_by_role("heading", level=1)).to_be_hidden()
    secret.fill("wrong")
    secret.press("Enter")
    expect(page.get_by_role("alert")).to_have_text("the API key is not known")
    secret.fill("right-key")
    secret.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_be_focused()
    score(page)
    expect(result(page)).to_contain_text("class_0")
    assert "right-key" not in page.content()
    assert page.evaluate("[document.cookie, localStorage.length, sessionStorage.length]") == ["", 0, 0]
    keys.write_text(f"me:{hashlib.sha256(b'new').hexdigest()}\n")
    field(page, "alcohol").fill("14.5")
    score(page)
    expect(result(page)).to_contain_text("401")
    expect(secret).to_be_focused()
    # A key that no header can have is not sent, and a new one changes nothing else.
    secret.fill("ключ")
    secret.press("Enter")
    expect(secret).to_have_js_property("validity.patternMismatch", True)
    expect(secret).to_be_visible()
    secret.fill("new")
    secret.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_be_focused()
    expect(field(page, "alcohol")).to_have_value("14.5")
    score(page)
    expect(result(page)).to_contain_text("class_")


def test_prefix(start_server: StartServer, open_page: OpenPage) -> None:
    """The page works under a path prefix, with or without a slash at its end."""
    server = start_server(WINE).wait_until_ready()
    for path in ("/models/wine/", "/models/wine"):
        page = open_page(server.port, path)
        score(page)
        expect(result(page)).to_contain_text("class_0")
        expect(page.locator("#state")).to_have_text("Ready")
        href = page.get_by_role("link", name="API").evaluate("(link) => link.href")
        assert urlsplit(href).path == "/models/wine/docs"


def test_tensors(start_server: StartServer, open_page: OpenPage, tmp_path: Path) -> None:
    """Several inputs: numbers, texts, and JSON for tensors. A model's names and texts never become markup."""
    server = start_server(write_several_inputs(tmp_path / "several")).wait_until_ready()
    page = open_page(server.port)
    expect(field(page, "series")).to_have_value("[[1,2]]")
    field(page, "text").fill("<i>two\nlines</i>")
    field(page, "<b>age</b>").fill("9007199254740993")
    score(page)
    expect(result(page)).to_contain_text("<i>two")
    expect(result(page).locator(".headline")).to_have_text("<img src=x onerror=alert(1)>")
    result(page).get_by_text("Raw response").click()
    expect(result(page).get_by_role("group", name="Raw response")).to_contain_text("[[9007199254740993]]")
    assert page.locator("main img, main b, main i").count() == 0
    field(page, "static").fill("[[1, 2, 3]")
    score(page)
    message = field(page, "static").evaluate("(field) => field.validationMessage")
    assert message.startswith("Not JSON: ")
    field(page, "static").fill("[[1, 2]]")
    score(page)
    expect(result(page)).to_contain_text("input 'static': expected FP32 [batch, 3], got shape [1, 2]")


def test_bare_file(start_server: StartServer, open_page: OpenPage, tmp_path: Path) -> None:
    """A file without a manifest, samples or a baseline can be scored; the page says what is missing."""
    (tmp_path / "bare.onnx").write_bytes(models.total())
    server = start_server(tmp_path / "bare.onnx").wait_until_ready()
    page = open_page(server.port)
    expect(page.locator("#card")).to_contain_text("single file without metadata")
    expect(page.locator("#origin")).to_contain_text("no samples")
    expect(page.locator("#drift")).to_have_text("Drift is not measured: this model has no baseline.")
    field(page, "a").fill("[1, 2]")
    field(page, "b").fill("[3, 4]")
    score(page)
    expect(result(page)).to_contain_text("[4,6]")
    expect(result(page)).not_to_contain_text("could not calculate")
    field(page, "a").fill("[1, null]")
    score(page)
    expect(result(page)).to_contain_text('[4,"NaN"]')
    expect(result(page)).to_contain_text("NaN: the model could not calculate this number.")


def test_no_example(start_server: StartServer, open_page: OpenPage, tmp_path: Path) -> None:
    """If no example was found that the model answers, the form is empty, and the page says so."""
    (tmp_path / "bare.onnx").write_bytes(fourth_word())
    server = start_server(tmp_path / "bare.onnx").wait_until_ready()
    page = open_page(server.port)
    expect(page.locator("#origin")).to_contain_text("no simple values were found that it answers")
    expect(field(page, "x")).to_have_value("")
    field(page, "x").fill('["a,b,c,d"]')
    score(page)
    expect(result(page)).to_contain_text("d")
