"""No part of a credential is printed or written, in whatever form and wherever it is given."""

import logging
import re
import traceback
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import quote

import pytest

from model_loader.errors import StoreError
from model_loader.store import open_store
from model_loader.store.secrets import redact, scrub
from tests.model_loader.command_line import Loader
from tests.model_loader.drafts import write_draft

KEY = "Zm9ydHktZWlnaHQtcmFuZG9tLWJ5dGVzLw9+aGVyZS1hcmUtc2l4dHktZm91ci1ieXRlcy1pbi1hbGwtb2sh/w=="
SIGNATURE = "Tm90K3RoZS9zaWduYXR1cmUtb2YtYS1yZWFsLVNBUz0="
SAS = f"sv=2025-01-05&se=2030-01-01&sr=c&sp=rl&sig={quote(SIGNATURE, safe='')}"
PASSWORD = "correct-horse"
TOKEN = "eyJhbGciOiJSUzI1NiJ9.eyJhdWQiOiJzdG9yYWdlIn0.c2lnbmF0dXJlLW9mLXRoZS10b2tlbg"
# No part of a credential has one of these in the output.
PARTS = [
    KEY[:12],
    KEY[-12:],
    quote(KEY[-12:], safe=""),
    SIGNATURE[:12],
    quote(SIGNATURE, safe=""),
    quote(quote(SIGNATURE, safe=""), safe=""),
    "sig=",
    "sig%3D",
    "AccountKey=",
    "SharedAccessSignature=",
    PASSWORD,
    TOKEN[:16],
    TOKEN[-12:],
    TOKEN.split(".")[1],
]
ACCOUNT = "https://account.blob.core.windows.net"
NOBODY = "http://127.0.0.1:9/devstoreaccount1/models"
FORMS = {
    "connection string": f"DefaultEndpointsProtocol=https;AccountName=account;AccountKey={KEY};"
    "EndpointSuffix=core.windows.net",
    "connection string of an emulator": f"AccountName=devstoreaccount1;AccountKey={KEY};"
    "BlobEndpoint=http://127.0.0.1:10000/devstoreaccount1",
    "connection string with a SAS": f"BlobEndpoint={ACCOUNT};SharedAccessSignature={SAS}",
    "connection string with spaces": f"AccountName=account; AccountKey = {KEY}",
    "connection string, percent-encoded": quote(f"AccountName=account;AccountKey={KEY}", safe=""),
    "part of a connection string": f"SharedAccessSignature={SAS}",
    "account key": KEY,
    "SAS": SAS,
    "SAS with ?": f"?{SAS}",
    "SAS in a URL": f"{NOBODY}?{SAS}",
    "SAS in the URL of another host": f"https://example.com/models?{SAS}",
    "SAS after a percent-encoded ?": f"{ACCOUNT}/models%3F{quote(SAS, safe='')}",
    "SAS after &": f"{ACCOUNT}/models&{SAS}",
    "SAS after #": f"{ACCOUNT}/models#{SAS}",
    "SAS, percent-encoded twice": f"{ACCOUNT}/models%253F{quote(quote(SAS, safe=''), safe='')}",
    "URL after file:": f"file:{ACCOUNT}/models?{SAS}",
    "connection string after file:": f"file:AccountName=account;AccountKey={KEY}",
    "user and password": f"https://user:{PASSWORD}@account.blob.core.windows.net/models",
    "password with a slash": f"https://user:{PASSWORD}/x@account.blob.core.windows.net/models",
    "password in s3:": f"s3://user:{PASSWORD}@bucket/models",
    "key of the account as a query": f"{ACCOUNT}/models?AccountKey={KEY}",
    "bearer token": f"Bearer {TOKEN}",
    "JSON web token": TOKEN,
    "upper-case SIG": f"{ACCOUNT}/models/SIG={quote(SIGNATURE, safe='')}",
}


def leaks(text: str) -> list[str]:
    """Return the parts of a credential that `text` has."""
    return [part for part in PARTS if part.lower() in text.lower()]


def written(workspace: Path) -> str:
    """Return the names and the content of all files."""
    files = [path for path in workspace.rglob("*") if path.is_file()]
    return "\n".join(map(str, files)) + "".join(file.read_text(errors="replace") for file in files)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("variable", [True, False])
def test_store(
    workspace: Path, loader: Loader, monkeypatch: pytest.MonkeyPatch, form: str, variable: bool
) -> None:
    """As the store's URL: one line that says what is expected, without the credential."""
    monkeypatch.delenv("AZURE_STORAGE_KEY", raising=False)
    write_draft(workspace / "draft")
    if variable:
        monkeypatch.setenv("MODEL_STORE", FORMS[form])
        result = loader("publish", "draft")
    else:
        result = loader("pull", "--json", f"--store={FORMS[form]}")
    assert (result.code, result.out) == (1, "")
    (line,) = result.err.splitlines()
    assert re.search("expected file:PATH|(write|expected) https://<account>|cannot reach the store", line)
    assert not leaks(line)
    assert not leaks(written(workspace))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "argv",
    [
        ("{}",),
        ("list", "{}"),
        ("publish", "{}"),
        ("publish", "draft", "--reason", "with {}"),
        ("publish", "draft", "--name={}"),
        ("publish", "draft", "--parent={}"),
        ("promote", "1", "--stage={}"),
        ("show", "--", "{}"),
        ("pull", "--output={}"),
        ("pull", "--locked={}"),
    ],
)
def test_elsewhere(workspace: Path, loader: Loader, form: str, argv: tuple[str, ...]) -> None:
    """As any other argument: refused without the credential, and recorded nowhere."""
    write_draft(workspace / "draft")
    result = loader(*(word.format(FORMS[form]) for word in argv))
    assert result.code in (1, 2)
    assert not leaks(result.out + result.err)
    assert not leaks(written(workspace))


@pytest.mark.parametrize("name", ["MODEL_PUBLISHER", "MODEL_NAME"])
def test_environment(workspace: Path, loader: Loader, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """In a variable that is recorded in the ledger: refused by name."""
    monkeypatch.setenv(name, FORMS["account key"])
    write_draft(workspace / "draft")
    result = loader("publish", "draft")
    assert result.code == 2
    assert f"{name} has a credential: only the URL of a store may have one" in result.err
    assert not leaks(result.err + written(workspace))


class Echo(BaseHTTPRequestHandler):
    """A server whose error page repeats the URL, as those of proxies do."""

    def do_GET(self) -> None:
        """Reject the request."""
        self.send_error(403, explain=f"{self.path} is blocked")

    def log_message(self, *args: object) -> None:
        """Log nothing."""


@pytest.fixture
def echo() -> Iterator[str]:
    """The URL of a container at this server, with a SAS."""
    with HTTPServer(("127.0.0.1", 0), Echo) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/devstoreaccount1/models?{SAS}"
        server.shutdown()


def test_traceback(echo: str) -> None:
    """A traceback is printed without the cause if the response, which the cause prints, has the SAS."""
    with pytest.raises(StoreError, match="rejects the credential") as exc:
        open_store(echo).names("")
    context = exc.value.__context__
    assert context
    assert leaks("".join(traceback.format_exception(context)))
    assert not leaks("".join(traceback.format_exception(exc.value)))


def test_logs(echo: str, caplog: pytest.LogCaptureFixture) -> None:
    """No record of any logger has the SAS, even if somebody sets the level of urllib3's loggers."""
    caplog.set_level(logging.DEBUG)
    store = open_store(echo)
    for name in ("urllib3", "urllib3.connectionpool", "urllib3.util.retry", "azure"):
        caplog.set_level(logging.DEBUG, name)
    with pytest.raises(StoreError):
        store.names("")
    logging.getLogger("urllib3.connectionpool").debug("GET /models?%s", SAS)
    logging.getLogger("urllib3.connectionpool").debug("GET /models")
    assert "GET /models" in caplog.text
    assert not leaks(caplog.text.replace("sig=REDACTED", ""))


@pytest.mark.parametrize(
    "text",
    [
        "published tiny/1@sha256:" + "0" * 64 + " in http://127.0.0.1:10000/devstoreaccount1/models",
        "store https://account.blob.core.windows.net/models/team: expected file:PATH",
        "no usable credential: put a SAS into MODEL_STORE",
        "design=a, assign=b",
        "/home/user/models/" + "a" * 50,
    ],
)
def test_ordinary_text(text: str) -> None:
    """Ordinary messages are not changed."""
    assert scrub(text) == text


@pytest.mark.parametrize("form", FORMS)
def test_forms_are_recognized(form: str) -> None:
    """Each form is recognized, and its redacted URL has nothing of it."""
    assert not leaks(redact(FORMS[form]))
    assert not leaks(scrub(f"error: {FORMS[form]}, see above"))
