"""What the page says of `schema.json`, and its control for feedback."""

import json
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from onnx import TensorProto
from playwright.sync_api import expect

from tests import models
from tests.app.conftest import StartServer
from tests.conftest import write_package
from tests.e2e.page import OpenPage, field, result, score
from tests.e2e.page import browser as browser
from tests.e2e.page import open_page as open_page

SCHEMA: Any = {
    "features": {
        "x": {"type": "integer", "description": "Items in the basket", "unit": "items", "min": 0, "max": 9}
    },
    "feedback": {
        "label": {"type": "label", "output": "y", "classes": [0, 1, 2], "description": "What it was"},
        "comment": {"type": "label"},
        "revenue": {"type": "number"},
        "bought": {"type": "boolean"},
    },
}


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A model of one whole number, with a schema, a sample and names of its classes."""
    model = models.identity(TensorProto.INT64, ("batch", 1))
    return write_package(
        tmp_path / "package",
        model,
        schema=SCHEMA,
        samples=[{"inputs": {"x": [[1]]}, "outputs": {"y": [[1]]}}],
        classes=["red", "green", "blue"],
    )


def reported(spool: Path) -> list[tuple[str, Any]]:
    """Return metric and value of each line of feedback in the spool."""
    paths = sorted((spool / "name=tiny/kind=feedback").iterdir())
    lines = [json.loads(line) for path in paths for line in path.read_text().splitlines()]
    return [(line["metric"], line["value"]) for line in lines]


def test_feedback(start_server: StartServer, open_page: OpenPage, package: Path, tmp_path: Path) -> None:
    """The answer is filled in, can be corrected with the keyboard alone, and is sent."""
    server = start_server(package, CAPTURE_DIR=str(tmp_path / "spool")).wait_until_ready()
    page = open_page(server.port)
    expect(field(page, "x")).to_have_accessible_description("Items in the basket; items, 0 to 9")
    form = page.get_by_role("form", name="Was it right?")
    expect(form).to_be_hidden()
    score(page)
    expect(result(page)).to_contain_text("green")
    label = form.get_by_label("label")
    expect(label).to_have_value("1")
    expect(label).to_have_accessible_description("What it was")
    label.focus()
    page.keyboard.press("ArrowDown")
    expect(label).to_have_value("2")
    for text in ("late", "1.5", "t"):
        page.keyboard.press("Tab")
        page.keyboard.type(text)
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(form.get_by_role("status")).to_have_text("Thank you: the feedback is kept.")
    assert reported(tmp_path / "spool") == [
        ("label", 2), ("comment", "late"), ("revenue", 1.5), ("bought", True)
    ]  # fmt: skip
    assert Axe().run(page).response["violations"] == []
    form.get_by_label("comment").fill("x" * 1001)
    form.get_by_role("button").click()
    expect(form.get_by_role("status")).to_contain_text("Not kept: metric 'comment': expected")
    field(page, "x").fill("0")
    score(page)
    expect(form.get_by_label("label")).to_have_value("0")
    expect(form.get_by_role("status")).to_be_empty()


def test_feedback_by_type(start_server: StartServer, open_page: OpenPage, tmp_path: Path) -> None:
    """A value is sent in its metric's type, or refused with a message; nothing is lost."""
    schema: Any = {
        "features": {"x": {"type": "integer"}},
        "feedback": {
            "label": {"type": "label", "output": "y"},
            "comment": {"type": "label"},
            "revenue": {"type": "number"},
        },
    }
    package = write_package(
        tmp_path / "package",
        models.identity(TensorProto.INT64, ("batch", 1)),
        schema=schema,
        samples=[{"inputs": {"x": [[1]]}, "outputs": {"y": [[1]]}}],
    )
    page = open_page(start_server(package, CAPTURE_DIR=str(tmp_path / "spool")).wait_until_ready().port)
    score(page)
    form = page.get_by_role("form", name="Was it right?")
    form.get_by_label("label").fill("2.5")
    form.get_by_role("button").click()
    expect(form.get_by_role("status")).to_have_text("Not kept: label: expected a whole number, got 2.5")
    sent: Any = [("007", "True", ".5"), ("-3", "007", "1e3")]
    for label, comment, revenue in sent:
        form.get_by_label("label").fill(label)
        form.get_by_label("comment").fill(comment)
        form.get_by_label("revenue").fill(revenue)
        with page.expect_response("**/feedback") as response:
            form.get_by_role("button").click()
        assert response.value.status == 202
    assert reported(tmp_path / "spool") == [
        ("label", 7), ("comment", True), ("revenue", 0.5),
        ("label", -3), ("comment", "007"), ("revenue", 1000),
    ]  # fmt: skip


def test_no_feedback(start_server: StartServer, open_page: OpenPage, package: Path) -> None:
    """A service that keeps no feedback does not ask for it."""
    page = open_page(start_server(package).wait_until_ready().port)
    score(page)
    expect(result(page)).to_contain_text("green")
    expect(page.locator("#feedback")).to_be_hidden()
