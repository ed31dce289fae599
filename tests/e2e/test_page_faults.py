"""The page when the service changes under it, or answers what it should not."""

import re
import signal
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests import models
from tests.app.conftest import StartServer
from tests.conftest import write_package
from tests.e2e.page import WINE, OpenPage, poll, result, score
from tests.e2e.page import browser as browser
from tests.e2e.page import open_page as open_page


def test_rollout(start_server: StartServer, open_page: OpenPage, package: Path, tmp_path: Path) -> None:
    """When another version is served under the open page, the page says so, and the strip has the version."""
    server = start_server(package).wait_until_ready()
    page = open_page(server.port)
    expect(page.locator("#where")).to_contain_text("version 3")
    expect(page.locator("#outdated")).to_be_empty()
    server.stop(signal.SIGKILL)
    newer = write_package(tmp_path / "newer", models.affine(), features=["a", "b"], version=4)
    start_server(newer, PORT=str(server.port)).wait_until_ready()
    score(page)
    expect(result(page)).to_contain_text("measured in this browser")
    expect(page.locator("#outdated")).to_have_text("Version 4 is served now. Reload the page.")
    expect(page.locator("#where")).to_contain_text("version 4")
    page.reload()
    expect(page.get_by_role("heading", level=1)).to_have_text("tiny/4")
    expect(page.locator("#outdated")).to_be_empty()


@pytest.mark.parametrize("body", ["null", "{}", "[]", '{"pod": "a", "hour": {}}', "<html>"])
def test_unexpected_reading(start_server: StartServer, open_page: OpenPage, body: str) -> None:
    """An unexpected body is a failed reading: the page says so, and goes on reading."""
    page = open_page(start_server(WINE).wait_until_ready().port)
    expect(page.locator("#state")).to_have_text("Ready")
    expect(page.locator("#drift")).to_contain_text("0 rows since")
    page.route("**/recent", lambda route: route.fulfill(body=body, content_type="application/json"))
    page.route("**/recent/data", lambda route: route.fulfill(body=body, content_type="application/json"))
    poll(page)
    expect(page.locator("#state")).to_have_text("Unreachable")
    expect(page.locator("#data-age")).to_contain_text(
        re.compile("These figures are [0-9]+ seconds? old: /recent/data")
    )
    expect(page.locator("#data")).to_have_class("stale")
    page.unroute_all()
    poll(page)
    expect(page.locator("#state")).to_have_text("Ready")
    expect(page.locator("#data-age")).to_be_empty()
    expect(page.locator("#data")).not_to_have_class("stale")


def test_first_reading_fails(start_server: StartServer, open_page: OpenPage) -> None:
    """The model's details are read again until they are there."""
    page = open_page(start_server(WINE).wait_until_ready().port)
    page.route("**/model", lambda route: route.fulfill(status=502, body="Bad gateway"))
    page.reload()
    expect(page.get_by_role("alert")).to_have_text("The model's details could not be loaded: Bad gateway")
    page.unroute("**/model")
    expect(page.get_by_role("heading", level=1)).to_have_text("wine/2")
    expect(page.locator("#problem")).to_be_empty()


def test_missing_module(start_server: StartServer, browser: Browser) -> None:
    """A page of which a module is of another version says so."""
    server = start_server(WINE).wait_until_ready()
    with browser.new_context() as context:
        page = context.new_page()
        page.goto(f"http://127.0.0.1:{server.port}")
        expect(page.locator("#state")).to_have_text("Ready")
        expect(page.locator("#broken")).to_be_hidden()
        page.route("**/page/drift.js", lambda route: route.fulfill(body="export const compare = 1;"))
        page.reload()
        expect(page.locator("#broken")).to_be_visible()
        expect(page.locator("#state")).to_be_hidden()
