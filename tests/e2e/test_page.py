"""The page at `/`, in a real Chromium, against a real server."""

import hashlib
import itertools
import json
import re
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from onnx import TensorProto, helper
from playwright.sync_api import Browser, Locator, Page, Route, expect, sync_playwright
from prometheus_client import CollectorRegistry, Counter, generate_latest

from tests import models
from tests.app.conftest import ROOT, Server, StartServer
from tests.conftest import write_package
from tests.e2e.conftest import missing

WINE = ROOT / "model_store/wine/2"
SCREENSHOTS = ROOT / "build/screenshots"
# The page reads the metrics every 2 s, and a machine under load takes its time.
WAIT_S = 20
NARROW = {"width": 375, "height": 812}
# No GPU, no sandbox in a container, and no word to the browser's maker.
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
    """Chromium, as the system has it; without one the tests are skipped, in CI they fail."""
    path = shutil.which("chromium") or missing("no Chromium (Debian: apt install chromium)")
    expect.set_options(timeout=WAIT_S * 1000)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser: Browser) -> Iterator[OpenPage]:
    """Opens the page of a server, and holds it to ask this server alone and to have no error of its own."""
    pages: list[tuple[Page, str, list[str], list[str]]] = []

    def visit(port: int, path: str = "/", **context: Any) -> Page:
        page = browser.new_context(**context).new_page()
        hosts: list[str] = []
        faults: list[str] = []
        pages.append((page, f"127.0.0.1:{port}", hosts, faults))
        page.on("request", lambda request: hosts.append(urlsplit(request.url).netloc))
        page.on("pageerror", lambda error: faults.append(str(error)))
        # A reply that refuses is one of the browser's errors, but none of the page.
        page.on(
            "console",
            lambda message: (
                None if message.text.startswith("Failed to load resource") else faults.append(message.text)
            ),
        )
        page.add_init_script(
            "addEventListener('securitypolicyviolation', (event) => console.error(event.violatedDirective))"
        )
        if path != "/":
            page.route(f"**{path}**", lambda route: without(path, route))
        page.goto(f"http://127.0.0.1:{port}{path}")
        return page

    yield visit
    for page, *_ in pages:
        page.unroute_all(behavior="wait")
        page.context.close()
    for _, host, hosts, faults in pages:
        assert faults == []
        assert set(hosts) == {host}


def without(prefix: str, route: Route) -> None:
    """What an ingress does that serves a service under a path: asks it for what comes after."""
    url = urlsplit(route.request.url)
    inner = url._replace(path=url.path.removeprefix(prefix.rstrip("/")) or "/")
    fulfil(route, inner.geturl())


def fulfil(route: Route, url: str) -> None:
    """Answers a request with what another address answers."""
    route.fulfill(response=route.fetch(url=url))


def answer(page: Page) -> Locator:
    """Where the answer is shown."""
    return page.get_by_role("region", name="Answer")


def score(page: Page) -> None:
    """Asks for the answer."""
    page.get_by_role("button", name="Score").click()


def field(page: Page, name: str) -> Locator:
    """A field of the form."""
    return page.locator("#form").get_by_label(name, exact=True)


def chart(page: Page, name: str) -> Locator:
    """A live chart: what stands beside it."""
    return page.locator("figure").filter(has=page.get_by_role("heading", name=name, exact=True))


def shift(server: Server) -> None:
    """Scores values as they came in training, but for one column that has moved and one that has gaps."""
    columns = []
    for bins in json.loads((WINE / "baseline.json").read_text())["features"].values():
        middles = (np.array(bins["edges"])[1:] + np.array(bins["edges"])[:-1]) / 2
        columns.append(np.repeat(middles, np.round(np.array(bins["shares"]) * 1000).astype(int))[:990])
    rows: list[list[float | None]] = np.stack(columns, axis=1).tolist()
    for i, row in enumerate(rows):
        row[1] = 5.5
        row[2] = row[2] if i >= 10 else None
    assert server.request("POST", "/score", {"inputs": rows})[0] == 200


def several(path: Path) -> Path:
    """A package with inputs of every form, and names and texts that would like to be markup."""
    one = helper.make_tensor("one", TensorProto.INT64, [1], [1])
    nodes = [
        helper.make_node("ReduceSum", ["series", "one"], ["total"], keepdims=1),
        helper.make_node("Add", ["static", "total"], ["scores"]),
        helper.make_node("Softmax", ["scores"], ["mood"], axis=1),
        helper.make_node("Identity", ["text"], ["echo"]),
        helper.make_node("Identity", ["<b>age</b>"], ["older"]),
    ]
    inputs = [
        models.tensor("series", shape=("batch", "steps")),
        models.tensor("static", shape=("batch", 3)),
        models.tensor("text", TensorProto.STRING, ("batch", 1)),
        models.tensor("<b>age</b>", TensorProto.INT64, ("batch", 1)),
    ]
    outputs = [
        models.tensor("mood", shape=("batch", 3)),
        models.tensor("echo", TensorProto.STRING, ("batch", 1)),
        models.tensor("older", TensorProto.INT64, ("batch", 1)),
    ]
    given = {"series": [[1, 2]], "static": [[0, 0, 9]], "text": [["it's"]], "<b>age</b>": [[9]]}
    return write_package(
        path,
        models.model(nodes, inputs, outputs, [one]),
        samples=[{"inputs": given, "outputs": {"older": [[9]]}}],
        classes=["sad", "constructor", "<img src=x onerror=alert(1)>"],
        name="several",
    )


def test_score(start_server: StartServer, open_page: OpenPage) -> None:
    """Fills the form, scores, and reads the answer that the service gives: a bar a class, and its time."""
    server = start_server(WINE).wait_until_ready()
    page = open_page(server.port)
    expect(page.get_by_role("heading", level=1)).to_have_text("wine/2")
    expect(page.locator("#card")).to_contain_text(json.loads(server.request("GET", "/model")[1])["digest"])
    sample = json.loads((WINE / "samples.json").read_text())[1]["inputs"]["x"][0]
    features = json.loads((WINE / "manifest.json").read_text())["features"]
    for name, value in zip(features, sample, strict=True):
        field(page, name).fill(str(value))
    score(page)
    expect(answer(page)).to_contain_text("Answered in")
    status, text = server.request("POST", "/score", {"inputs": [sample]})
    assert status == 200
    (shares,) = json.loads(text)["outputs"]["probabilities"]
    expect(page.get_by_role("list", name="probabilities").get_by_role("listitem")).to_have_text(
        [f"class_{i}{100 * share:.1f} %" for i, share in enumerate(shares)]
    )
    expect(answer(page).locator(".verdict")).to_have_text(f"class_{np.argmax(shares)}")
    expect(answer(page)).to_contain_text(f"{np.argmax(shares)} (class_{np.argmax(shares)})")


def test_shell(start_server: StartServer, open_page: OpenPage) -> None:
    """The command for a shell is what the form sends, kept up with what is typed."""
    server = start_server(WINE).wait_until_ready()
    page = open_page(server.port)
    field(page, "ash").fill("2.5")
    field(page, "proline").fill("")
    command = page.locator("#curl").text_content() or ""
    assert command.startswith(f"curl -s http://127.0.0.1:{server.port}/score ")
    (instance,) = json.loads(command.partition("-d '")[2].removesuffix("'"))["instances"]
    assert (instance["ash"], instance["proline"], instance["alcohol"]) == (2.5, None, 13.24)
    page.get_by_role("button", name="Start over").click()
    expect(page.locator("#curl")).to_contain_text('"ash": 2.29')


def refused_line(server: Server) -> Any:
    """The log line of a request that was refused, which comes a little after the reply."""
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        for line in server.lines():
            if line.get("status", 200) >= 400:
                return line
        time.sleep(0.02)
    raise AssertionError("no refused request is logged")


def test_refused(start_server: StartServer, open_page: OpenPage) -> None:
    """What the service refuses is shown with its status, its sentence and the request's id."""
    server = start_server(WINE).wait_until_ready()
    page = open_page(server.port)
    field(page, "alcohol").fill("1e300")
    score(page)
    expect(answer(page)).to_contain_text("400")
    expect(answer(page)).to_contain_text("expected FP32")
    refused = refused_line(server)
    assert (refused["status"], refused["route"]) == (400, "/score")
    expect(answer(page)).to_contain_text(refused["id"])
    server.stop()
    score(page)
    expect(answer(page)).to_contain_text("No answer")


def test_charts(start_server: StartServer, open_page: OpenPage) -> None:
    """The charts move with the traffic: how much, how fast, and what was refused."""
    server = start_server(WINE).wait_until_ready()
    page = open_page(server.port)
    requests = chart(page, "Requests")
    expect(requests.locator(".now")).to_have_text("0 a second")
    before = requests.get_by_role("img").get_attribute("aria-label")
    for _ in range(20):
        server.request("POST", "/score", {"inputs": [[1] * 13]})
    for _ in range(3):
        server.request("POST", "/score", {"inputs": "no"})
    expect(page.locator("#totals")).to_have_text("Since the start: 23 requests")
    expect(requests).to_contain_text("23 anonymous")
    assert requests.get_by_role("img").get_attribute("aria-label") != before
    assert "L" in (requests.locator("path").get_attribute("d") or "")
    expect(chart(page, "Errors")).to_contain_text("3 invalid")
    assert (chart(page, "Latency").locator(".now").text_content() or "").endswith(("µs", "ms"))


def test_replicas(start_server: StartServer, open_page: OpenPage) -> None:
    """Two replicas that answer in turn have their counts told apart, and what one has is no traffic."""
    idle, busy = start_server(WINE), start_server(WINE)
    ports = [idle.wait_until_ready().port, busy.wait_until_ready().port]
    for _ in range(50):
        busy.request("POST", "/score", {"inputs": [[1] * 13]})
    turn = itertools.cycle(ports)
    page = open_page(ports[0])
    page.route("**/metrics", lambda route: fulfil(route, f"http://127.0.0.1:{next(turn)}/metrics"))
    page.reload()
    expect(page.locator("#totals")).to_contain_text("50 requests, of the replica that answered last")
    expect(chart(page, "Requests").locator(".now")).to_have_text("0 a second")
    line = chart(page, "Requests").locator("path")
    expect(line).to_have_attribute("d", re.compile("L.*L"))
    assert page.evaluate("Math.max(...points.map((point) => point.requests))") == 0


def test_labels(start_server: StartServer, open_page: OpenPage) -> None:
    """Labels are read as the client library writes them, whatever is in them."""
    registry = CollectorRegistry()
    text = 'a"b\\c\nd} 7 {e="f",'
    Counter("odd", "Odd.", ["bin"], registry=registry).labels(text).inc(3)
    page = open_page(start_server(WINE).wait_until_ready().port)
    found = page.evaluate("(text) => parse(text)('odd_total')", generate_latest(registry).decode())
    assert found == [{"bin": text, "value": 3}]


def test_drift(start_server: StartServer, open_page: OpenPage) -> None:
    """Values that come as in training are told from a column that has moved."""
    server = start_server(WINE).wait_until_ready()
    page = open_page(server.port)
    expect(chart(page, "alcohol")).to_contain_text("No values yet")
    shift(server)
    expect(chart(page, "alcohol")).to_contain_text("PSI 0.00")
    expect(chart(page, "malic_acid")).to_contain_text("shifted")
    expect(chart(page, "ash")).to_contain_text("1.0 % missing")
    assert page.locator("#shares .drift-2 h3").first.text_content() == "malic_acid"
    described = chart(page, "alcohol").get_by_role("img").get_attribute("aria-label") or ""
    assert described.startswith("feature alcohol: 11.03..11.82 9.")


def test_key(start_server: StartServer, open_page: OpenPage, tmp_path: Path) -> None:
    """Where authentication is on the page asks for the key, sends it, and keeps it nowhere."""
    keys = tmp_path / "keys"
    keys.write_text(f"me:{hashlib.sha256(b'right-key').hexdigest()}\n")
    server = start_server(WINE, API_KEYS_FILE=str(keys)).wait_until_ready()
    page = open_page(server.port)
    secret = page.get_by_label("This service wants an API key")
    expect(secret).to_be_focused()
    expect(page.get_by_role("heading", level=1)).to_be_hidden()
    secret.fill("wrong")
    secret.press("Enter")
    expect(page.get_by_role("alert")).to_have_text("the API key is not known")
    secret.fill("right-key")
    secret.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_be_focused()
    score(page)
    expect(answer(page)).to_contain_text("class_0")
    assert "right-key" not in page.content()
    assert page.evaluate("[document.cookie, localStorage.length, sessionStorage.length]") == ["", 0, 0]
    keys.write_text(f"me:{hashlib.sha256(b'new').hexdigest()}\n")
    score(page)
    expect(answer(page)).to_contain_text("401")
    expect(secret).to_be_focused()


def test_prefix(start_server: StartServer, open_page: OpenPage) -> None:
    """All works where the service is behind somebody's path, with its last slash or without."""
    server = start_server(WINE).wait_until_ready()
    for path in ("/models/wine/", "/models/wine"):
        page = open_page(server.port, path)
        score(page)
        expect(answer(page)).to_contain_text("class_0")
        expect(page.locator("#totals")).to_contain_text("requests")
        href = page.get_by_role("link", name="API").evaluate("(link) => link.href")
        assert urlsplit(href).path == "/models/wine/docs"


def test_tensors(start_server: StartServer, open_page: OpenPage, tmp_path: Path) -> None:
    """Several inputs: a number, a text, JSON for tensors; and no name or text of a model becomes markup."""
    server = start_server(several(tmp_path / "several")).wait_until_ready()
    page = open_page(server.port)
    expect(field(page, "series")).to_have_value("[[1,2]]")
    field(page, "text").fill("<i>two\nlines</i>")
    field(page, "<b>age</b>").fill("9007199254740993")
    score(page)
    expect(answer(page)).to_contain_text("<i>two")
    expect(answer(page).locator(".verdict")).to_have_text("<img src=x onerror=alert(1)>")
    answer(page).get_by_text("The reply").click()
    expect(answer(page).get_by_role("group", name="The reply")).to_contain_text("[[9007199254740993]]")
    assert page.locator("main img, main b, main i").count() == 0
    field(page, "static").fill("[[1, 2, 3]")
    score(page)
    fault = field(page, "static").evaluate("(field) => field.validationMessage")
    assert fault.startswith("Not JSON: ")
    field(page, "static").fill("[[1, 2]]")
    score(page)
    expect(answer(page)).to_contain_text("input 'static': expected FP32 [batch, 3], got shape [1, 2]")


def test_lone_file(start_server: StartServer, open_page: OpenPage, tmp_path: Path) -> None:
    """A file without a manifest, samples or a baseline can be tried too; the page says what is missing."""
    (tmp_path / "lone.onnx").write_bytes(models.total())
    server = start_server(tmp_path / "lone.onnx").wait_until_ready()
    page = open_page(server.port)
    expect(page.locator("#card")).to_contain_text("a lone file")
    expect(page.locator("#origin")).to_contain_text("no samples")
    expect(page.locator("#drift")).to_have_text("This model has no baseline to hold its data against.")
    field(page, "a").fill("[1, 2]")
    field(page, "b").fill("[3, 4]")
    score(page)
    expect(answer(page)).to_contain_text("[4,6]")


def test_keyboard(start_server: StartServer, open_page: OpenPage) -> None:
    """The keyboard is enough: over the skip link to the form, a value, an answer, the command."""
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
    expect(answer(page)).to_contain_text("class_0")
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
def test_looks(start_server: StartServer, open_page: OpenPage, name: str, context: dict[str, Any]) -> None:
    """Nothing sticks out at the side, and all has a name and contrast.

    The pictures are in `build/screenshots`.
    """
    server = start_server(WINE).wait_until_ready()
    page = open_page(server.port, **context)
    shift(server)
    score(page)
    expect(answer(page)).to_contain_text("class_0")
    expect(chart(page, "malic_acid")).to_contain_text("shifted")
    expect(chart(page, "Requests").locator("path")).to_have_attribute("d", re.compile("L"))
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    fields = page.locator("input:visible, textarea:visible")
    assert fields.count() == page.locator("#form").aria_snapshot().count('- spinbutton "') == 13
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.evaluate("scrollTo(0, 0)")
    page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=True)
    found = Axe().run(page).response
    assert (found["violations"], len(found["passes"]) > 20) == ([], True)
