"""The page's status, charts and data, while the service runs, drains, ends and starts again."""

import itertools
import json
import re
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Page, expect

from model_loader.drafting import drift_limits
from tests.app.conftest import StartServer
from tests.conftest import write_package
from tests.e2e.page import WINE, OpenPage, chart, poll, score_drifted
from tests.e2e.page import browser as browser
from tests.e2e.page import open_page as open_page


def test_charts(start_server: StartServer, open_page: OpenPage) -> None:
    """The charts follow the traffic, and survive a reload: requests, latency, errors, queue."""
    server = start_server(WINE).wait_until_ready()
    page = open_page(server.port)
    expect(page.locator("#traffic-tile")).to_have_text("No requests")
    for _ in range(20):
        server.request("POST", "/score", {"inputs": [[1] * 13]})
    for _ in range(5):
        server.request("POST", "/score", {"inputs": "no"})
    for _ in range(2):
        expect(page.locator("#counts")).to_contain_text("25 requests (callers: 25 anonymous)")
        expect(page.locator("#counts")).to_contain_text("rejected: 5 invalid")
        expect(page.locator("#traffic-tile")).to_contain_text(
            re.compile(r"25 requests, p95 .*[µm]s, 20\.0% cl")
        )
        expect(chart(page, "Latency").locator(".now")).to_have_text(
            re.compile(r"p50 [\d.]+ [µm]s · p95 [\d.]+ [µm]s · p99 [\d.]+ [µm]s")
        )
        plot = chart(page, "Errors").get_by_role("slider")
        expect(plot).to_have_attribute("aria-label", re.compile("4xx, client now .*, at most 20.0%"))
        expect(plot).to_have_attribute("aria-valuetext", re.compile("5xx 0%, 4xx [0-9.]+%"))
        page.reload()


def test_keyboard_in_chart(start_server: StartServer, open_page: OpenPage) -> None:
    """The arrow keys read the steps of a chart, and the last values return when it loses the focus."""
    server = start_server(WINE).wait_until_ready()
    server.request("POST", "/score", {"inputs": [[1] * 13]})
    page = open_page(server.port)
    requests = chart(page, "Requests")
    expect(requests.locator(".now")).to_have_text(re.compile("^[0-9.]+ per second$"))
    requests.get_by_role("slider").focus()
    page.keyboard.press("Home")
    reading = re.compile(r"^\d\d:\d\d:\d0: [0-9.]+ per second$")
    expect(requests.locator(".now")).to_have_text(reading)
    expect(requests.get_by_role("slider")).to_have_attribute("aria-valuetext", reading)
    page.keyboard.press("Tab")
    expect(requests.locator(".now")).to_have_text(re.compile("^[0-9.]+ per second$"))
    requests.get_by_role("slider").hover()
    expect(requests.locator(".now")).to_have_text(re.compile(r"^\d\d:\d\d:\d0: "))


def test_stopped_and_started(start_server: StartServer, open_page: OpenPage) -> None:
    """When the service ends, the page says since when and dims its figures, until it is back."""
    server = start_server(WINE).wait_until_ready()
    page = open_page(server.port)
    state = page.locator("#state")
    expect(state).to_have_text("Ready")
    expect(page.locator("#since")).to_contain_text("up")
    expect(page.locator("#where")).to_contain_text("pod ")
    server.stop(signal.SIGKILL)
    expect(state).to_have_text("Unreachable")
    expect(page.locator("#since")).to_contain_text(
        re.compile(r"since \d\d:\d\d:\d\d, for \d+ seconds?\. Figures are from .* old")
    )
    expect(page.locator("body")).to_have_class("stale")
    start_server(WINE, PORT=str(server.port)).wait_until_ready()
    expect(state).to_have_text("Ready")
    expect(page.locator("body")).not_to_have_class("stale")


def test_draining(start_server: StartServer, open_page: OpenPage) -> None:
    """The page says that the service drains, while it does."""
    server = start_server(WINE, DRAIN_DELAY_S="30", STAGE="production", RELEASE="r42").wait_until_ready()
    page = open_page(server.port)
    expect(page.locator("#where")).to_have_text(
        re.compile("^production · release r42 · version 2 · pod .+ · [0-9]+ worker")
    )
    server.process.terminate()
    expect(page.locator("#state")).to_have_text("Draining")
    expect(page.locator("#since")).to_have_text(
        re.compile(r"^since \d\d:\d\d:\d\d: it finishes its requests and should get no new ones\. Up ")
    )


def fulfill_as(pod: str, route: Any) -> None:
    """Answer with the service's reading, as if it were of another replica."""
    reply = route.fetch()
    route.fulfill(response=reply, json=reply.json() | {"pod": pod})


def test_replicas(start_server: StartServer, open_page: OpenPage) -> None:
    """The page stays with one replica, so that the counts of two do not look like traffic."""
    idle, busy = start_server(WINE), start_server(WINE)
    ports = [idle.wait_until_ready().port, busy.wait_until_ready().port]
    for _ in range(50):
        busy.request("POST", "/score", {"inputs": [[1] * 13]})
    page = open_page(ports[0])
    calls = itertools.count()

    def alternate(route: Any) -> None:
        call = next(calls)
        reply = route.fetch(url=f"http://127.0.0.1:{ports[call % 2]}/recent")
        route.fulfill(response=reply, json=reply.json() | {"pod": f"pod-{call % 2}"})

    data_calls = itertools.count()

    def alternate_data(route: Any) -> None:
        call = next(data_calls)
        reply = route.fetch(url=f"http://127.0.0.1:{ports[call % 2]}/recent/data")
        route.fulfill(response=reply, json=reply.json() | {"pod": f"pod-{call % 2}"})

    page.route("**/recent", alternate)
    page.route("**/recent/data", alternate_data)
    page.reload()
    expect(page.locator("#where")).to_contain_text("pod pod-0 (one of 2 that answered)")
    expect(page.locator("#traffic-tile")).to_have_text("No requests")
    for _ in range(3):
        with page.expect_response("**/recent/data"):
            poll(page)
        expect(page.locator("#drift")).to_contain_text(
            re.compile(r"^0 rows since \d\d:\d\d on replica pod-0,")
        )
    # A replica that has not answered for a minute is not counted any more.
    page.unroute("**/recent")
    page.route("**/recent", lambda route: fulfill_as("pod-0", route))
    page.clock.install()
    page.clock.fast_forward(61_000)
    poll(page)
    expect(page.locator("#where")).not_to_contain_text("one of")
    expect(page.locator("#where")).to_contain_text("pod pod-0")


def test_drift(start_server: StartServer, open_page: OpenPage) -> None:
    """A column that drifts comes first, in words too; missing values have a bar of their own."""
    server = start_server(WINE).wait_until_ready()
    page = open_page(server.port)
    expect(page.locator("#data-tile")).to_have_text("No rows yet to compare")
    expect(chart(page, "alcohol")).to_contain_text("No values yet")
    score_drifted(server)
    expect(page.locator("#data-tile")).to_contain_text("malic_acid")
    expect(page.locator("#drift-sentence")).to_contain_text(
        re.compile("of 15 distributions .* not as in training")
    )
    expect(page.locator("#distributions h3").first).to_have_text("malic_acid")
    expect(chart(page, "malic_acid")).to_contain_text("significant drift")
    expect(page.locator("#drift")).to_contain_text("990 rows since")
    page.get_by_role("button", name="Show all 15").click()
    expect(page.locator("#distributions figure").nth(12)).to_be_focused()
    expect(chart(page, "alcohol")).to_contain_text("PSI 0.00")
    expect(chart(page, "ash")).to_contain_text("1.0% missing")
    expect(chart(page, "ash").locator("rect.special")).to_have_count(2)
    expect(chart(page, "alcohol").locator("rect.special")).to_have_count(0)
    label = chart(page, "alcohol").get_by_role("img").get_attribute("aria-label") or ""
    assert label.startswith("feature alcohol: 11.03..11.82 9.")


def compared(page: Page, distribution: Any, context: Any) -> Any:
    """Return what the page's own formulas say of a distribution."""
    module = "await import(new URL('page/drift.js', document.baseURI))"
    return page.evaluate(f"async (given) => ({module}).compare(...given)", [distribution, context])


@pytest.mark.parametrize("shift", [0.0, 0.05, 0.3])
def test_drift_formulas(start_server: StartServer, open_page: OpenPage, shift: float) -> None:
    """The page's verdicts are those of the alerts: PSI of an hour, shares of 15 minutes."""
    page = open_page(start_server(WINE).wait_until_ready().port)
    expect(page.locator("#state")).to_have_text("Ready")
    rng = np.random.default_rng(7)
    baseline = np.array([30, 40, 30, 33])
    counts = rng.multinomial(500, baseline / baseline.sum() * (1 - shift) + np.array([0, 0, 0, shift]))
    z = drift_limits.limit_z(15)
    rows = 133
    one = {
        "kind": "feature", "name": "x", "bins": ["0..1", "1..2", "2..3", "3..4", "missing", "outside"],
        "expected": [*(baseline / rows).tolist(), 0.0, 0.0],
        "1h": [*counts.tolist(), 0, 40], "15m": [*counts.tolist(), 0, 40],
    }  # fmt: skip
    found = compared(page, one, {"baselineRows": rows, "rows": {"1h": 540, "15m": 540}, "z": z})
    index = drift_limits.psi(counts, baseline)
    excess = max(0.0, float(index - 3 * drift_limits.chance(500, rows)))
    assert found["psi"] == pytest.approx(excess)
    assert (found["isBeyondChance"] and found["psi"] > 0.1) == bool(
        drift_limits.is_drift(index, np.array(500), rows, 4, z)
    )
    # The words of a distribution, which may be beyond training by its missing values only.
    assert bool(found["psiLevel"]) == (found["isBeyondChance"] and found["psi"] > 0.1)
    outside = next(each for each in found["special"] if each["bin"] == "outside")
    least = drift_limits.lowest_share(40, 540, z) - drift_limits.highest_share(drift_limits.EXTREMES, rows, z)
    assert outside["excess"] == pytest.approx(float(least))


def test_bare_data(start_server: StartServer, open_page: OpenPage, tmp_path: Path) -> None:
    """A baseline without its number of rows gives counts, and no verdict."""
    package = tmp_path / "package"
    package.mkdir()
    baseline = json.loads((WINE / "baseline.json").read_text())
    del baseline["rows"]
    features = json.loads((WINE / "manifest.json").read_text())["features"]
    write_package(package, (WINE / "model.onnx").read_bytes(), baseline=baseline, features=features)
    server = start_server(package).wait_until_ready()
    page = open_page(server.port)
    expect(page.locator("#data-tile")).to_have_text("No verdict: the baseline has no rows")
