"""The page's form by schema.json, tables in CSV, images, and the request in code."""

import base64
import json
import re
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
from onnx import TensorProto
from playwright.sync_api import Page, expect

from tests import models
from tests.app.conftest import StartServer
from tests.conftest import write_package
from tests.e2e.page import WINE, OpenPage, field, identities, result, score
from tests.e2e.page import browser as browser
from tests.e2e.page import open_page as open_page

COLUMNS: Any = {
    "features": {
        "age": {
            "type": "number",
            "unit": "years",
            "min": 0,
            "max": 120,
            "description": "Age of the customer",
        },
        "member": {"type": "boolean"},
        "plan": {"type": "integer", "categories": [1, 2, 3]},
    }
}
INPUTS: Any = {
    "features": {
        "job": {"type": "string", "categories": ["clerk", "cook"]},
        "count": {"type": "integer", "min": 1},
    }
}


def png(size: int, rgb: tuple[int, int, int]) -> bytes:
    """Return a square image of one colour."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", size, size, 8, 2, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + bytes(rgb) * size for _ in range(size)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def request_of(page: Page) -> Any:
    """Return the body in the shell command."""
    command = page.locator("#code").text_content() or ""
    return json.loads(command.partition("-d '")[2].removesuffix("'").replace("'\\''", "'"))


def test_columns(start_server: StartServer, open_page: OpenPage, tmp_path: Path) -> None:
    """Numbers have unit and range, booleans a checkbox, categories a list, and each can be missing."""
    package = write_package(
        tmp_path / "package",
        models.identity(TensorProto.FLOAT, ("batch", 3)),
        schema=COLUMNS,
        features=["age", "member", "plan"],
        samples=[{"inputs": {"x": [[30, 1, 2], [40, 0, 3]]}, "outputs": {"y": [[30, 1, 2], [40, 0, 3]]}}],
    )
    page = open_page(start_server(package).wait_until_ready().port)
    age = field(page, "age")
    expect(age).to_have_accessible_description("Age of the customer; years, 0 to 120")
    expect(field(page, "member")).to_be_checked()
    expect(field(page, "plan").get_by_role("option")).to_have_text(["missing", "1", "2", "3"])
    page.get_by_label("Values of").select_option("sample 2")
    expect(age).to_have_value("40")
    expect(field(page, "member")).not_to_be_checked()
    age.fill("130")
    expect(page.get_by_text("above 120, the maximum")).to_be_visible()
    field(page, "plan").select_option("1")
    field(page, "member").check()
    assert request_of(page) == {"instances": [{"age": 130, "member": 1, "plan": 1}]}
    age.fill(".5")
    assert request_of(page)["instances"][0]["age"] == 0.5
    age.fill("")
    field(page, "plan").select_option("missing")
    page.get_by_label("missing", exact=True).check()
    assert request_of(page) == {"instances": [{"age": None, "member": None, "plan": None}]}
    score(page)
    expect(result(page)).to_contain_text("NaN: the model could not calculate this number.")
    page.get_by_role("button", name="Start over").click()
    expect(result(page)).to_have_text("The model's outputs appear here.")
    expect(age).to_have_value("30")
    assert request_of(page) == {"instances": [{"age": 30, "member": 1, "plan": 2}]}


def test_inputs(start_server: StartServer, open_page: OpenPage, tmp_path: Path) -> None:
    """A model with an input a column has the same controls; what cannot be missing has no such choice."""
    one: tuple[Any, ...] = ("batch", 1)
    model = identities(
        job=(TensorProto.STRING, one), active=(TensorProto.BOOL, one), count=(TensorProto.INT64, one)
    )
    inputs = {"job": [["cook"]], "active": [[True]], "count": [[2]]}
    package = write_package(
        tmp_path / "package",
        model,
        schema=INPUTS,
        samples=[{"inputs": inputs, "outputs": {"same_count": [[2]]}}],
    )
    page = open_page(start_server(package).wait_until_ready().port)
    expect(field(page, "job").get_by_role("option")).to_have_text(["clerk", "cook"])
    expect(field(page, "job")).to_have_value('"cook"')
    field(page, "active").uncheck()
    field(page, "count").fill("007")
    assert request_of(page)["inputs"]["count"] == [[7]]
    field(page, "count").fill("0")
    expect(page.get_by_text("below 1, the minimum")).to_be_visible()
    expect(page.get_by_label("missing", exact=True)).to_have_count(0)
    assert request_of(page) == {"inputs": {"job": [["cook"]], "active": [[False]], "count": [[0]]}}
    score(page)
    expect(result(page)).to_contain_text("cook")
    expect(result(page)).to_contain_text("false")


@pytest.mark.parametrize(
    ("datatype", "shape", "scale", "expected"),
    [
        (TensorProto.UINT8, ("batch", 8, 8, 3), None, [200, 100, 50]),
        (TensorProto.FLOAT, ("batch", 3, 8, 8), "0 to 1", [0.7843, 0.3922, 0.1961]),
    ],
)
def test_image(
    start_server: StartServer, open_page: OpenPage, tmp_path: Path,
    datatype: int, shape: tuple[Any, ...], scale: str | None, expected: list[float],
) -> None:  # fmt: skip
    """A file becomes the pixels of an input that looks like an image, in its size and layout."""
    package = write_package(tmp_path / "package", identities(image=(datatype, shape)))
    page = open_page(start_server(package).wait_until_ready().port)
    example = field(page, "image").input_value()
    if scale:
        page.get_by_label("Values of the pixels of image").select_option(scale)
    file: Any = {"name": "a.png", "mimeType": "image/png", "buffer": png(20, (200, 100, 50))}
    page.get_by_label("Image for image").set_input_files(file)
    expect(field(page, "image")).not_to_have_value(example)
    (image,) = json.loads(field(page, "image").input_value())
    channels = [image[0][0][k] if shape[-1] == 3 else image[k][0][0] for k in range(3)]
    assert channels == pytest.approx(expected, abs=0.01)
    assert [len(image), len(image[0]), len(image[0][0])] == list(shape[1:])
    score(page)
    expect(result(page)).to_contain_text("same_image")
    page.get_by_label("Image for image").set_input_files(file | {"buffer": b"no image"})
    expect(page.get_by_text(re.compile("Not read: "))).to_be_visible()


def test_image_of_free_size(start_server: StartServer, open_page: OpenPage, tmp_path: Path) -> None:
    """Where the model leaves the size open, a photo is scaled to 512 pixels; INT8 has no image."""
    free = ("batch", 1, "height", "width")
    model = identities(image=(TensorProto.UINT8, free), signed=(TensorProto.INT8, free))
    page = open_page(start_server(write_package(tmp_path / "package", model)).wait_until_ready().port)
    file: Any = {"name": "a.png", "mimeType": "image/png", "buffer": png(600, (9, 9, 9))}
    page.get_by_label("Image for image").set_input_files(file)
    expect(page.get_by_text("Scaled from 600 × 600 to 512 × 512 pixels")).to_be_visible()
    assert np.array(json.loads(field(page, "image").input_value())).shape == (1, 1, 512, 512)
    expect(page.get_by_label("Image for signed")).to_have_count(0)


def test_image_as_text(start_server: StartServer, open_page: OpenPage, tmp_path: Path) -> None:
    """An input whose sample is a file in base64 takes a file."""
    text = base64.b64encode(png(4, (1, 2, 3))).decode()
    model = identities(image=(TensorProto.STRING, ("batch",)))
    package = write_package(
        tmp_path / "package", model,
        samples=[{"inputs": {"image": [text]}, "outputs": {"same_image": [text]}}],
    )  # fmt: skip
    page = open_page(start_server(package).wait_until_ready().port)
    other = png(9, (7, 8, 9))
    page.get_by_label("Image for image").set_input_files(
        {"name": "a.png", "mimeType": "image/png", "buffer": other}
    )
    expect(field(page, "image")).to_have_value(base64.b64encode(other).decode())


def wine_csv(rows: int) -> str:
    """Return a table for the sample model."""
    features = json.loads((WINE / "manifest.json").read_text())["features"]
    samples = [each["inputs"]["x"][0] for each in json.loads((WINE / "samples.json").read_text())]
    lines = [",".join(map(str, samples[i % len(samples)])) for i in range(rows)]
    return "\n".join([",".join(features), *lines]) + "\n"


def test_table(start_server: StartServer, open_page: OpenPage, tmp_path: Path) -> None:
    """A file of 1,000 rows gives a table of answers, and a file with all of them."""
    page = open_page(start_server(WINE).wait_until_ready().port)
    page.get_by_text("Score a table", exact=True).click()
    csv = wine_csv(1000)
    page.get_by_label("File in CSV").set_input_files(
        {"name": "wine.csv", "mimeType": "text/csv", "buffer": csv.encode()}
    )
    answers = page.get_by_role("region", name="Answers for the table")
    expect(answers).to_contain_text("Answers for 1,000 rows")
    expect(answers.get_by_role("row")).to_have_count(21)
    with page.expect_download() as download:
        answers.get_by_role("link", name="Download as CSV").click()
    download.value.save_as(tmp_path / "answers.csv")
    header, *lines = (tmp_path / "answers.csv").read_text().splitlines()
    assert header.split(",")[-4:] == ["label", "probabilities.0", "probabilities.1", "probabilities.2"]
    assert len(lines) == 1000
    shares = [float(value) for value in lines[0].split(",")[-3:]]
    assert sum(shares) == pytest.approx(1, abs=1e-5)
    page.get_by_label(re.compile("A table in CSV")).fill("alcohol,ash\n1,2\n")
    page.get_by_role("button", name="Score the table").click()
    expect(answers).to_contain_text("The table was not scored")
    expect(answers).to_contain_text("malic_acid")
    page.get_by_label(re.compile("A table in CSV")).fill("")
    page.get_by_role("button", name="Score the table").click()
    expect(answers).to_contain_text("expected a line with the columns' names, and at least one row")


def test_missing_value_alone(start_server: StartServer, open_page: OpenPage, tmp_path: Path) -> None:
    """In a table of one column, pandas writes a missing value as `""`: it is a row, with an answer."""
    model = identities(age=(TensorProto.FLOAT, ("batch", 1)))
    page = open_page(start_server(write_package(tmp_path / "package", model)).wait_until_ready().port)
    page.get_by_text("Score a table", exact=True).click()
    csv = pandas.DataFrame({"age": [1.5, None, 2.5]}).to_csv(index=False)
    page.get_by_label(re.compile("A table in CSV")).fill(csv)
    page.get_by_role("button", name="Score the table").click()
    answers = page.get_by_role("region", name="Answers for the table")
    expect(answers.get_by_role("row")).to_have_text(["rowsame_ageage", "11.51.5", "2NaN", "32.52.5"])
    page.route("**/score", lambda route: route.fulfill(json={"predictions": [{"same_age": 1}]}))
    page.get_by_role("button", name="Score the table").click()
    expect(answers).to_contain_text("expected 3 answers, one a row, got 1")


@pytest.mark.parametrize(
    ("content", "message"),
    [("größe\n1\n".encode("latin-1"), "the file is not in UTF-8"), (b"x" * 5_000_001, "the file has 6 MB")],
)
def test_refused_file(start_server: StartServer, open_page: OpenPage, content: bytes, message: str) -> None:
    """A file in another encoding, or of more than 5 MB, is refused with the reason."""
    page = open_page(start_server(WINE).wait_until_ready().port)
    page.get_by_text("Score a table", exact=True).click()
    page.get_by_label("File in CSV").set_input_files(
        {"name": "a.csv", "mimeType": "text/csv", "buffer": content}
    )
    expect(page.get_by_role("region", name="Answers for the table")).to_contain_text(message)
    expect(page.get_by_label(re.compile("A table in CSV"))).to_have_value("")


def test_dropped_table(start_server: StartServer, open_page: OpenPage) -> None:
    """A file that is dropped on the form is scored too."""
    page = open_page(start_server(WINE).wait_until_ready().port)
    expect(page.locator("#try")).to_be_visible()
    transfer = page.evaluate_handle(
        """(text) => {
          const transfer = new DataTransfer();
          transfer.items.add(new File([text], "wine.csv", { type: "text/csv" }));
          return transfer;
        }""",
        wine_csv(3),
    )
    page.locator("#try").dispatch_event("drop", {"dataTransfer": transfer})
    expect(page.locator("#table-answers")).to_contain_text("Answers for 3 rows")


@pytest.mark.parametrize("language", ["curl", "Python", "pandas"])
def test_code(start_server: StartServer, open_page: OpenPage, language: str) -> None:
    """The request in code runs as it stands, and gets the page's answer, also with a missing value."""
    page = open_page(start_server(WINE).wait_until_ready().port)
    field(page, "ash").fill("")
    page.get_by_role("tab", name=language).click()
    code = page.locator("#code").text_content() or ""
    command = ["bash", "-c", code] if language == "curl" else [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, code + done.stderr
    assert "label" in done.stdout


def test_large_request(start_server: StartServer, open_page: OpenPage, tmp_path: Path) -> None:
    """Of a large request only the beginning is shown, and all of it copied."""
    model = identities(text=(TensorProto.STRING, ("batch", 1)))
    page = open_page(start_server(write_package(tmp_path / "package", model)).wait_until_ready().port)
    field(page, "text").fill("x" * 50_000)
    expect(page.locator("#code")).to_contain_text("more characters are copied")
    assert len(page.locator("#code").text_content() or "") < 10_100
    page.evaluate("navigator.clipboard.writeText = async (text) => void (window.copied = text)")
    page.get_by_role("button", name="Copy", exact=True).click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    assert "x" * 50_000 in page.evaluate("copied")


def test_no_clipboard(start_server: StartServer, open_page: OpenPage) -> None:
    """The page does not say that it has copied what it could not, and the focus stays."""
    page = open_page(start_server(WINE).wait_until_ready().port)
    expect(page.locator("#try")).to_be_visible()
    page.evaluate("Object.defineProperty(navigator, 'clipboard', {value: undefined})")
    page.evaluate("document.execCommand = () => false")
    page.get_by_role("button", name="Copy", exact=True).click()
    expect(page.get_by_role("button", name="Not copied")).to_be_focused()


def test_escapes(start_server: StartServer, open_page: OpenPage, tmp_path: Path) -> None:
    """JSON's escapes that Python does not have are written in another way."""
    model = identities(text=(TensorProto.STRING, ("n", 2)))
    page = open_page(start_server(write_package(tmp_path / "package", model)).wait_until_ready().port)
    field(page, "text").fill(r'[["a\/b", "\ud83d\ude00"]]')
    page.get_by_role("tab", name="Python").click()
    expect(page.locator("#code")).to_contain_text('[["a/b", "😀"]]')


def test_javascript(start_server: StartServer, open_page: OpenPage) -> None:
    """The request in JavaScript runs in a browser."""
    page = open_page(start_server(WINE).wait_until_ready().port)
    page.get_by_role("tab", name="JavaScript").click()
    code = (page.locator("#code").text_content() or "").replace("console.log(", "return (")
    assert "label" in page.evaluate(f"async () => {{ {code} }}")["predictions"][0]
