"""The page of a replica that reads the last hour of all replicas from a real Prometheus."""

import re
from pathlib import Path

from playwright.sync_api import expect

from tests.app.conftest import StartServer
from tests.e2e.page import WINE, OpenPage, chart
from tests.e2e.page import browser as browser
from tests.e2e.page import open_page as open_page
from tests.monitoring.conftest import prometheus


def test_all_replicas(start_server: StartServer, open_page: OpenPage, tmp_path: Path) -> None:
    """The charts have another replica's requests; without Prometheus, the page says so and shows its own."""
    busy = start_server(WINE).wait_until_ready()
    directory = tmp_path / "prometheus"
    directory.mkdir()
    # A rate needs a count before: Prometheus does not see the first ones.
    busy.request("POST", "/score", {"inputs": [[1] * 13]})
    with prometheus(directory, {busy.port: {"namespace": "demo"}}) as server:
        for _ in range(30):
            busy.request("POST", "/score", {"inputs": [[1] * 13]})
        own = start_server(
            WINE,
            PROMETHEUS_URL=f"http://127.0.0.1:{server.port}",
            PROMETHEUS_SELECTOR='namespace="demo", job="demo"',
        ).wait_until_ready()
        page = open_page(own.port)
        expect(page.locator("#totals")).to_have_text("All replicas, from Prometheus")
        expect(page.locator("#traffic-tile")).to_contain_text(
            re.compile("^[0-9]+ requests, p95"), timeout=60_000
        )
        expect(chart(page, "Requests").locator(".now")).not_to_have_text("0 per second")
    expect(page.locator("#totals")).to_contain_text("is unreachable", timeout=60_000)
    expect(page.locator("#totals")).to_contain_text("Replica")
    expect(page.locator("#state")).to_have_text("Ready")
