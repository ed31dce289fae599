"""The page's answers: the newest request counts, integers are exact, only floats are probabilities."""

import json
import time
from pathlib import Path
from typing import Any

from onnx import TensorProto
from playwright.sync_api import Page, Route, expect

from tests import models
from tests.app.conftest import StartServer
from tests.conftest import write_package
from tests.e2e.page import WAIT_S, WINE, OpenPage, field, identities, result, score
from tests.e2e.page import browser as browser
from tests.e2e.page import open_page as open_page
from tests.e2e.test_page_feedback import reported

LARGE = 9007199254740993  # no JavaScript number
EMPTY = "The model's outputs appear here."


class HeldRequests:
    """The page's requests to /score, which wait until a test continues them."""

    def __init__(self, page: Page) -> None:
        self._page = page
        self._routes: list[Route] = []
        page.route("**/score", lambda route: self._routes.append(route))

    def wait(self, number: int) -> None:
        """Wait until the page has sent a number of requests."""
        deadline = time.monotonic() + WAIT_S
        while len(self._routes) < number:
            assert time.monotonic() < deadline, f"{len(self._routes)} requests, expected {number}"
            self._page.wait_for_timeout(20)

    def answer(self, index: int) -> None:
        """Wait for a request, and send it to the service."""
        self.wait(index + 1)
        self._routes[index].continue_()


def test_newest_request(start_server: StartServer, open_page: OpenPage, package: Path) -> None:
    """An answer is shown only if nothing newer was asked, and the form was not reset."""
    page = open_page(start_server(package).wait_until_ready().port)
    held = HeldRequests(page)
    field(page, "a").fill("1000")
    score(page)
    expect(result(page)).to_have_text("Scoring…")
    held.wait(1)
    field(page, "a").fill("2000")
    score(page)
    held.answer(1)
    expect(result(page)).to_contain_text("4001")
    held.answer(0)
    score(page)
    expect(result(page)).to_have_text("Scoring…")
    held.wait(3)
    page.get_by_role("button", name="Start over").click()
    expect(result(page)).to_have_text(EMPTY)
    held.answer(2)
    page.unroute("**/score")
    page.evaluate("fetch('healthz')")
    expect(result(page)).to_have_text(EMPTY)


def test_newest_table(start_server: StartServer, open_page: OpenPage, package: Path) -> None:
    """Of two tables the answers of the newer one are shown."""
    page = open_page(start_server(package).wait_until_ready().port)
    held = HeldRequests(page)
    page.get_by_text("Score a table", exact=True).click()
    answers = page.get_by_role("region", name="Answers for the table")
    for rows in (1, 2):
        content = ("a,b\n" + "1,2\n" * rows).encode()
        page.get_by_label("File in CSV").set_input_files(
            {"name": "a.csv", "mimeType": "text/csv", "buffer": content}
        )
        expect(answers).to_have_text("Scoring…")
        held.wait(rows)
    held.answer(1)
    expect(answers).to_contain_text("Answers for 2 rows")
    held.answer(0)
    page.evaluate("fetch('healthz')")
    expect(answers).to_contain_text("Answers for 2 rows")


def test_no_answer(start_server: StartServer, open_page: OpenPage) -> None:
    """A request that is not answered ends after a minute, with a message."""
    page = open_page(start_server(WINE).wait_until_ready().port)
    expect(page.locator("#try")).to_be_visible()
    held = HeldRequests(page)
    page.clock.install()
    score(page)
    expect(result(page)).to_have_text("Scoring…")
    page.clock.fast_forward(61_000)
    expect(result(page)).to_contain_text("no answer within 60 s")
    held.answer(0)


def test_exact_integers(start_server: StartServer, open_page: OpenPage, tmp_path: Path) -> None:
    """An integer beyond 2^53 is exact in the form, the answer, the feedback and the table."""
    package = write_package(
        tmp_path / "package",
        models.identity(TensorProto.INT64, ("batch", 1)),
        samples=[{"inputs": {"x": [[LARGE]]}, "outputs": {"y": [[LARGE]]}}],
    )
    spool = tmp_path / "spool"
    page = open_page(start_server(package, CAPTURE_DIR=str(spool)).wait_until_ready().port)
    expect(field(page, "x")).to_have_value(str(LARGE))
    score(page)
    expect(result(page).locator(".values")).to_have_text(f"y{LARGE}")
    form = page.get_by_role("form", name="Was it right?")
    expect(form.get_by_label("y")).to_have_value(str(LARGE))
    form.get_by_role("button").click()
    expect(form.get_by_role("status")).to_have_text("Thank you: the feedback is kept.")
    assert reported(spool) == [("y", LARGE)]
    page.get_by_text("Score a table", exact=True).click()
    page.locator("#csv").fill(f"x\n{LARGE}\n")
    page.get_by_role("button", name="Score the table").click()
    expect(page.locator("#table-answers").get_by_role("row").nth(1)).to_have_text(f"1{LARGE}{LARGE}")


def test_exact_json(start_server: StartServer, open_page: OpenPage) -> None:
    """Only integers that no number holds are read otherwise, and all values are written as they were."""
    page = open_page(start_server(WINE).wait_until_ready().port)
    expect(page.locator("#try")).to_be_visible()
    texts = [
        f"[{LARGE},-{LARGE},18446744073709551615]",
        f'{{"{LARGE}":"{LARGE} \\\\\\" {LARGE}","a":[1,0.12345678901234568,true,null]}}',
        "[9007199254740991,1234567890123456]",
    ]
    for text in texts:
        module = "await import(new URL('page/json.js', document.baseURI))"
        written = page.evaluate(
            f"async (text) => {{ const json = {module}; return json.stringify(json.parse(text)) }}", text
        )
        assert json.loads(written) == json.loads(text)


def test_no_probabilities(start_server: StartServer, open_page: OpenPage, tmp_path: Path) -> None:
    """Integers that sum to 1 are no probabilities, and the text NaN is no number."""
    model = identities(flags=(TensorProto.INT64, ("batch", 2)), word=(TensorProto.STRING, ("batch", 1)))
    inputs: Any = {"flags": [[0, 1]], "word": [["NaN"]]}
    package = write_package(
        tmp_path / "package", model, samples=[{"inputs": inputs, "outputs": {"same_flags": [[0, 1]]}}]
    )
    page = open_page(start_server(package).wait_until_ready().port)
    score(page)
    expect(result(page)).to_contain_text("same_flags[0,1]same_wordNaN")
    expect(result(page)).not_to_contain_text("could not calculate")
    expect(result(page).get_by_role("list")).to_have_count(0)
