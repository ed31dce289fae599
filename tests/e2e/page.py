"""The page at `/` in a real Chromium, against a real server: fixtures and locators."""

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from onnx import helper
from playwright.sync_api import Browser, Locator, Page, Route, expect, sync_playwright
from sklearn.datasets import load_wine

from tests import models
from tests.app.conftest import ROOT, Server
from tests.e2e.conftest import missing

WINE = ROOT / "model_store/wine/2"
# The page polls the metrics every 2 s, and a busy machine is slow.
WAIT_S = 20
# Without GPU, without a sandbox (a container has none), and without requests to the browser's vendor.
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]

OpenPage = Callable[..., Page]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Start the system's Chromium. Without it, the tests are skipped; in CI they fail."""
    path = shutil.which("chromium") or missing("no Chromium (Debian: apt install chromium)")
    expect.set_options(timeout=WAIT_S * 1000)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser: Browser) -> Iterator[OpenPage]:
    """Open a server's page, and check that it has no errors and sends requests to this server only."""
    pages: list[tuple[Page, str, list[str], list[str]]] = []

    def visit(port: int, path: str = "/", **context: Any) -> Page:
        page = browser.new_context(**context).new_page()
        hosts: list[str] = []
        errors: list[str] = []
        pages.append((page, f"127.0.0.1:{port}", hosts, errors))
        page.on("request", lambda request: hosts.append(urlsplit(request.url).netloc))
        page.on("pageerror", lambda error: errors.append(str(error)))
        # The browser logs responses with an error status; these are no errors of the page.
        page.on(
            "console",
            lambda message: (
                None if message.text.startswith("Failed to load resource") else errors.append(message.text)
            ),
        )
        page.add_init_script(
            "addEventListener('securitypolicyviolation', (event) => console.error(event.violatedDirective))"
        )
        if path != "/":
            page.route(f"**{path}**", lambda route: strip_prefix(path, route))
        page.goto(f"http://127.0.0.1:{port}{path}")
        return page

    yield visit
    for page, *_ in pages:
        page.unroute_all(behavior="ignoreErrors")  # not "wait", for ever, for a request that a test holds
        page.context.close()
    for _, host, hosts, errors in pages:
        assert errors == []
        assert set(hosts) == {host}


def strip_prefix(prefix: str, route: Route) -> None:
    """Forward a request without the path's prefix, as an ingress does."""
    url = urlsplit(route.request.url)
    inner = url._replace(path=url.path.removeprefix(prefix.rstrip("/")) or "/")
    fulfill(route, inner.geturl())


def fulfill(route: Route, url: str) -> None:
    """Fulfill a request with the response of another URL."""
    route.fulfill(response=route.fetch(url=url))


def identities(**inputs: tuple[int, tuple[Any, ...]]) -> bytes:
    """Return a model whose outputs are its inputs."""
    nodes = [helper.make_node("Identity", [name], [f"same_{name}"]) for name in inputs]
    tensors = [models.tensor(name, *spec) for name, spec in inputs.items()]
    return models.model(
        nodes, tensors, [models.tensor(f"same_{name}", *spec) for name, spec in inputs.items()]
    )


def poll(page: Page) -> None:
    """Let the page read the service now, as one does that was hidden."""
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")


def result(page: Page) -> Locator:
    """Return the region with the result."""
    return page.get_by_role("region", name="Result")


def score(page: Page) -> None:
    """Submit the form."""
    page.get_by_role("button", name="Score").click()


def field(page: Page, name: str) -> Locator:
    """Return a field of the form."""
    return page.locator("#form").get_by_label(name, exact=True)


def chart(page: Page, name: str) -> Locator:
    """Return a chart with its texts."""
    return page.locator("figure").filter(has=page.get_by_role("heading", name=name, exact=True))


def score_drifted(server: Server) -> None:
    """Score values distributed as in training, except one column that drifts and one with missing values."""
    columns = []
    for bins in json.loads((WINE / "baseline.json").read_text())["features"].values():
        middles = (np.array(bins["edges"])[1:] + np.array(bins["edges"])[:-1]) / 2
        columns.append(np.repeat(middles, np.round(np.array(bins["shares"]) * 1000).astype(int))[:990])
    rows: list[list[float | None]] = np.stack(columns, axis=1).tolist()
    for i, row in enumerate(rows):
        row[1] = 5.5
        row[2] = row[2] if i >= 10 else None
    send_rows(server, rows)


def score_usual(server: Server) -> None:
    """Score the data that the sample model was trained on and evaluated with, four times."""
    send_rows(server, load_wine().data.tolist() * 4)


def send_rows(server: Server, rows: Sequence[Sequence[float | None]]) -> None:
    """Score rows in requests of 45 rows."""
    for start in range(0, len(rows), 45):
        assert server.request("POST", "/score", {"inputs": rows[start : start + 45]})[0] == 200
