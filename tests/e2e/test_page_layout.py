"""The page's layout and accessibility."""

import re
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from tests.app.conftest import ROOT, StartServer
from tests.e2e.page import WINE, OpenPage, chart, field, result, score, score_drifted
from tests.e2e.page import browser as browser
from tests.e2e.page import open_page as open_page

SCREENSHOTS = ROOT / "build/screenshots"
NARROW = {"width": 375, "height": 812}


def test_keyboard(start_server: StartServer, open_page: OpenPage) -> None:
    """The keyboard is enough to skip to the form, enter a value, score and open the shell command."""
    server = start_server(WINE).wait_until_ready()
    page = open_page(server.port)
    expect(page.get_by_role("button", name="Score")).to_be_visible()
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the form")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    expect(field(page, "alcohol")).to_be_focused()
    page.keyboard.type("14")
    page.keyboard.press("Enter")
    expect(result(page)).to_contain_text("class_0")
    for _ in range(15):
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator("#curl")).to_be_visible()


@pytest.mark.parametrize(
    ("name", "context"),
    [
        ("light", {}),
        ("dark", {"color_scheme": "dark"}),
        ("narrow", {"viewport": NARROW}),
        ("narrow-dark", {"viewport": NARROW, "color_scheme": "dark"}),
    ],
)
def test_layout(start_server: StartServer, open_page: OpenPage, name: str, context: dict[str, Any]) -> None:
    """The page fits the viewport's width, and has no accessibility violations.

    The screenshots are in `build/screenshots`.
    """
    server = start_server(WINE).wait_until_ready()
    page = open_page(server.port, **context)
    score_drifted(server)
    score(page)
    expect(result(page)).to_contain_text("class_0")
    expect(chart(page, "malic_acid")).to_contain_text("significant drift")
    expect(chart(page, "Requests").locator("path")).to_have_attribute("d", re.compile("L"))
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    fields = page.locator("input:visible, textarea:visible")
    assert fields.count() == page.locator("#form").aria_snapshot().count('- spinbutton "') == 13
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.evaluate("scrollTo(0, 0)")
    page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=True)
    report = Axe().run(page).response
    assert (report["violations"], len(report["passes"]) > 20) == ([], True)
