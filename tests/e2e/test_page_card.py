"""The page's model card, and the quality from the monitor."""

from pathlib import Path
from typing import Any

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Route, expect

from tests import models
from tests.app.conftest import StartServer
from tests.conftest import write_package
from tests.e2e.page import WINE, OpenPage
from tests.e2e.page import browser as browser
from tests.e2e.page import open_page as open_page

FIELDS: Any = {
    "description": "Sorts bottles <b>by grower</b>",
    "intended_use": "For the cellar, not for the label.",
    "limitations": "Not for vinegar.",
    "licence": "mit",
    "tags": ["wine", "cellar"],
    "metrics": {"accuracy": 0.97, "log_loss": 0.08},
    "intervals": {"accuracy": [0.93, 0.99]},
    "slices": [
        {"name": "colour=red", "rows": 1060, "metrics": {"accuracy": 0.95}},
        {"name": "colour=white", "metrics": {"accuracy": 0.99, "log_loss": 0.1}},
    ],
    "links": {"run": "https://example.com/run/7", "Training commit": "https://example.com/commit/4be7"},
    "training": {"commit": "4be7"},
    "parent": 2,
    "data": {
        "snapshots": [
            {"digest": f"sha256:{'a' * 64}", "since": "2026-01-01T00:00:00Z", "until": "2026-02-01T00:00:00Z",
             "rows": 1200}
        ]
    },
}  # fmt: skip
QUALITY: Any = [
    {"metric": "accuracy", "version": "2", "window": "1d", "value": 0.951, "low": 0.94, "high": 0.96,
     "limit": 0.9, "rows": 4000},
    {"metric": "accuracy", "version": "2", "window": "7d", "value": 0.96},
    {"metric": "accuracy", "version": "1", "window": "1d", "value": 0.5},
]  # fmt: skip


def test_card(start_server: StartServer, open_page: OpenPage, tmp_path: Path) -> None:
    """The card has purpose, limits, licence, intervals, slices, lineage and links, as text."""
    package = write_package(tmp_path / "package", models.affine(), features=["a", "b"], **FIELDS)
    page = open_page(start_server(package).wait_until_ready().port)
    card = page.locator("#card")
    expect(page.locator("#about")).to_contain_text("Sorts bottles <b>by grower</b>")
    expect(page.locator("#purpose")).to_have_text("For the cellar, not for the label.")
    for text in (
        "Not for vinegar.",
        "mit",
        "wine, cellar",
        "0.93 to 0.99",
        "Version 2",
        "1,200 rows, 2026-01-01",
    ):
        expect(card).to_contain_text(text)
    table = card.get_by_role("table")
    expect(table.get_by_role("row")).to_have_text(
        ["SliceRowsaccuracylog_loss", "colour=red1,0600.95–", "colour=white–0.990.1"]
    )
    expect(card.get_by_role("link", name="run")).to_have_attribute("href", "https://example.com/run/7")
    expect(card.get_by_role("link", name="4be7")).to_have_attribute("href", "https://example.com/commit/4be7")
    expect(card.get_by_role("link")).to_have_count(2)
    assert Axe().run(page).response["violations"] == []


def test_quality(start_server: StartServer, open_page: OpenPage) -> None:
    """The measures of the served version are shown; without any, there is no such section."""
    page = open_page(start_server(WINE).wait_until_ready().port)
    expect(page.locator("#data-tile")).to_contain_text("No rows")
    expect(page.locator("#quality")).to_be_hidden()

    def add(route: Route) -> None:
        reply = route.fetch()
        route.fulfill(response=reply, json=reply.json() | {"quality": QUALITY})

    page.route("**/recent/data", add)
    page.reload()
    expect(page.locator("#measures").get_by_role("row")).to_have_text(
        [
            "MetricVersionWindowValue95% intervalLimitLabels",
            "accuracy21d0.9510.94 to 0.960.94,000",
            "accuracy27d0.96–––",
        ]
    )
