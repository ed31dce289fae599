"""The page's charts and drift."""

import itertools
import re

from playwright.sync_api import expect
from prometheus_client import CollectorRegistry, Counter, generate_latest

from tests.app.conftest import StartServer
from tests.e2e.page import WINE, OpenPage, chart, fulfill, score_drifted
from tests.e2e.page import browser as browser
from tests.e2e.page import open_page as open_page


def test_charts(start_server: StartServer, open_page: OpenPage) -> None:
    """The charts follow the traffic: request rate, latency and errors."""
    server = start_server(WINE).wait_until_ready()
    page = open_page(server.port)
    requests = chart(page, "Requests")
    expect(requests.locator(".now")).to_have_text("0 per second")
    before = requests.get_by_role("img").get_attribute("aria-label")
    for _ in range(20):
        server.request("POST", "/score", {"inputs": [[1] * 13]})
    for _ in range(3):
        server.request("POST", "/score", {"inputs": "no"})
    expect(page.locator("#totals")).to_have_text("23 requests since start")
    expect(requests).to_contain_text("23 anonymous")
    assert requests.get_by_role("img").get_attribute("aria-label") != before
    assert "L" in (requests.locator("path").get_attribute("d") or "")
    expect(chart(page, "Errors")).to_contain_text("3 invalid")
    assert (chart(page, "Latency").locator(".now").text_content() or "").endswith(("µs", "ms"))


def test_replicas(start_server: StartServer, open_page: OpenPage) -> None:
    """The counters of two replicas are kept apart, so that their difference does not look like traffic."""
    idle, busy = start_server(WINE), start_server(WINE)
    ports = [idle.wait_until_ready().port, busy.wait_until_ready().port]
    for _ in range(50):
        busy.request("POST", "/score", {"inputs": [[1] * 13]})
    next_port = itertools.cycle(ports)
    page = open_page(ports[0])
    page.route("**/metrics", lambda route: fulfill(route, f"http://127.0.0.1:{next(next_port)}/metrics"))
    page.reload()
    expect(page.locator("#totals")).to_contain_text("50 requests since start, on the replica")
    expect(chart(page, "Requests").locator(".now")).to_have_text("0 per second")
    line = chart(page, "Requests").locator("path")
    expect(line).to_have_attribute("d", re.compile("L.*L"))
    assert page.evaluate("Math.max(...points.map((point) => point.requests))") == 0


def test_labels(start_server: StartServer, open_page: OpenPage) -> None:
    """Labels are parsed as the client library writes them, with any characters."""
    registry = CollectorRegistry()
    text = 'a"b\\c\nd} 7 {e="f",'
    Counter("odd", "Odd.", ["bin"], registry=registry).labels(text).inc(3)
    page = open_page(start_server(WINE).wait_until_ready().port)
    found = page.evaluate("(text) => parse(text)('odd_total')", generate_latest(registry).decode())
    assert found == [{"bin": text, "value": 3}]


def test_drift(start_server: StartServer, open_page: OpenPage) -> None:
    """A column that drifts is distinguished from columns distributed as in training."""
    server = start_server(WINE).wait_until_ready()
    page = open_page(server.port)
    expect(chart(page, "alcohol")).to_contain_text("No values yet")
    score_drifted(server)
    expect(chart(page, "alcohol")).to_contain_text("PSI 0.00")
    expect(chart(page, "malic_acid")).to_contain_text("significant drift")
    expect(chart(page, "ash")).to_contain_text("1.0% missing")
    assert page.locator("#distributions .drift-2 h3").first.text_content() == "malic_acid"
    label = chart(page, "alcohol").get_by_role("img").get_attribute("aria-label") or ""
    assert label.startswith("feature alcohol: 11.03..11.82 9.")
