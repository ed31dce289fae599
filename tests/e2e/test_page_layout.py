"""The page's first screen, accessibility, keyboard and size, in four states.

The screenshots are in `build/screenshots`.
"""

import re
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.app.conftest import ROOT, StartServer
from tests.e2e.page import WINE, OpenPage, field, result, score, score_drifted, score_usual
from tests.e2e.page import browser as browser
from tests.e2e.page import open_page as open_page

SCREENSHOTS = ROOT / "build/screenshots"
WIDTHS = {"1280": {"width": 1280, "height": 800}, "375": {"width": 375, "height": 812}}
THEMES = ("light", "dark")
# What somebody who sees the page for the first time asks, and the element that answers it.
QUESTIONS = {
    "Which model is it?": "#name",
    "Is it well?": "#state",
    "Since when?": "#since",
    "What was the last hour like?": "#traffic-tile",
    "Is the data as in training?": "#data-tile",
    "How is it called?": "#endpoint",
    "How can I try it?": "#form button.primary",
}
MAX_PAINT_MS, MAX_BYTES = 500, 150_000


def check_first_screen(page: Page, name: str) -> None:
    """Check that the first screen has all answers, and nothing runs off it; take a screenshot."""
    page.evaluate("scrollTo(0, 0)")
    size = page.viewport_size
    assert size
    for question, selector in QUESTIONS.items():
        box = page.locator(selector).bounding_box()
        assert box, question
        assert box["y"] >= 0, question
        assert box["y"] + box["height"] <= size["height"], question
        assert page.locator(selector).inner_text().strip("– "), question
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), name
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"{name}.png")
    page.screenshot(path=SCREENSHOTS / f"{name}-full.png", full_page=True)
    report = Axe().run(page).response
    found = [(each["id"], [node["html"] for node in each["nodes"]]) for each in report["violations"]]
    assert (found, len(report["passes"]) > 20) == ([], True), name


def check_text_sizes(page: Page) -> None:
    """Check that no text is smaller than 14 px."""
    sizes = page.evaluate(
        """() => [...document.querySelectorAll("body *")]
          .filter((node) => [...node.childNodes].some((child) => child.nodeType === 3 && child.data.trim()))
          .map((node) => [parseFloat(getComputedStyle(node).fontSize), node.outerHTML.slice(0, 80)])"""
    )
    assert [each for each in sizes if each[0] < 14] == []


@pytest.mark.parametrize("width", WIDTHS)
def test_states(start_server: StartServer, open_page: OpenPage, width: str) -> None:
    """The first screen has all answers in each state and theme, and axe finds nothing."""
    server = start_server(WINE, DRAIN_DELAY_S="60", STAGE="production", RELEASE="4f2c1aa").wait_until_ready()
    score_usual(server)
    pages = {
        theme: open_page(server.port, viewport=WIDTHS[width], color_scheme=theme) for theme in THEMES
    }  # fmt: skip

    def check(state: str, *texts: tuple[str, str]) -> None:
        for theme, page in pages.items():
            for selector, text in texts:
                expect(page.locator(selector)).to_contain_text(text)
            check_first_screen(page, f"{state}-{width}-{theme}")

    for page in pages.values():
        score(page)
        expect(result(page)).to_contain_text("class_0")
    check("healthy", ("#state", "Ready"), ("#data-tile", "As in training"), ("#traffic-tile", "no errors"))
    check_text_sizes(pages["light"])
    score_drifted(server)
    check("drifting", ("#state", "Ready"), ("#data-tile", "malic_acid"))
    server.process.terminate()
    check("draining", ("#state", "Draining"))
    server.process.kill()
    server.process.wait()
    check("unreachable", ("#state", "Unreachable"), ("#since", "Figures are from"))


def test_keyboard(start_server: StartServer, open_page: OpenPage) -> None:
    """The keyboard is enough to choose a sample, enter a value, score, and read the request in code."""
    server = start_server(WINE).wait_until_ready()
    page = open_page(server.port)
    expect(page.get_by_role("button", name="Score", exact=True)).to_be_visible()
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the form")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    expect(page.get_by_label("Values of")).to_be_focused()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Tab")
    expect(field(page, "alcohol")).to_be_focused()
    page.keyboard.type("14")
    page.keyboard.press("Enter")
    expect(result(page)).to_contain_text(re.compile("class_[012]"))
    expect(page.locator("#code")).to_contain_text("curl")
    page.get_by_role("tab", name="curl").focus()
    for language, text in (
        ("Python", "import requests"),
        ("pandas", "DataFrame"),
        ("JavaScript", "await fetch"),
    ):
        page.keyboard.press("ArrowRight")
        expect(page.get_by_role("tab", name=language)).to_be_focused()
        expect(page.locator("#code")).to_contain_text(text)
    page.get_by_role("button", name="Start over").focus()
    page.keyboard.press("Enter")
    expect(result(page)).to_contain_text("The model's outputs appear here.")
    expect(page.get_by_label("Values of")).to_have_value("0")


def test_budget(start_server: StartServer, open_page: OpenPage) -> None:
    """The first paint is early, and all that the page loads is small.

    A busy machine paints late, so the best of some visits counts, beyond the best of an empty page.
    """
    server = start_server(WINE).wait_until_ready()
    paints: list[float] = []
    empty: list[float] = []
    for _ in range(6):
        page = open_page(server.port)
        expect(page.locator("#state")).to_have_text("Ready")
        expect(page.locator("#data-tile")).to_contain_text("No rows")
        paint, size = page.evaluate(
            """() => [performance.getEntriesByType("paint")[0].startTime,
              [...performance.getEntriesByType("navigation"), ...performance.getEntriesByType("resource")]
                .reduce((sum, entry) => sum + entry.transferSize, 0)]"""
        )
        assert size < MAX_BYTES
        paints.append(paint)
        page.goto(f"http://127.0.0.1:{server.port}/healthz")
        page.wait_for_function("performance.getEntriesByType('paint').length")
        empty.append(page.evaluate("performance.getEntriesByType('paint')[0].startTime"))
        if min(paints) - min(empty) < MAX_PAINT_MS:
            break
    assert min(paints) - min(empty) < MAX_PAINT_MS, (paints, empty)


def test_print(start_server: StartServer, open_page: OpenPage) -> None:
    """On paper the card and the figures remain, and what can be clicked does not."""
    page = open_page(start_server(WINE).wait_until_ready().port)
    expect(page.locator("#card")).to_contain_text("accuracy")
    page.emulate_media(media="print")
    for selector, is_visible in (("#card", True), ("#distributions", True), ("#form", False), ("nav", False)):
        assert page.locator(selector).is_visible() is is_visible, selector


def test_reduced_motion(start_server: StartServer, open_page: OpenPage) -> None:
    """Nothing moves, also for those who did not ask for that."""
    page = open_page(start_server(WINE).wait_until_ready().port)
    expect(page.locator("#state")).to_have_text("Ready")
    assert page.evaluate("document.getAnimations().length") == 0


@pytest.mark.parametrize("width", WIDTHS)
def test_docs(start_server: StartServer, open_page: OpenPage, width: str) -> None:
    """The API's page lists each route with its method once, leads back, fits, and its example works."""
    server = start_server(WINE).wait_until_ready()
    page = open_page(server.port, viewport=WIDTHS[width])
    page.get_by_role("link", name="API").click()
    entries: Any = page.locator("rapi-doc .nav-bar-path")
    expect(entries.filter(has_text="/score")).to_have_count(1)
    names = entries.all_text_contents()
    assert len({" ".join(name.split()) for name in names}) == len(names) > 10
    content = page.locator("rapi-doc main")
    assert content.evaluate("main => main.scrollWidth <= main.clientWidth && main.clientWidth <= innerWidth")
    page.get_by_role("button", name="Try").first.click()
    expect(page.get_by_text("Response Status: OK:200").first).to_be_visible()
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"docs-{width}.png")
    page.get_by_role("link", name="The model's page").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("wine/2")
