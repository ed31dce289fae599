"""Errors of Azure Blob storage: each message says what to do, from a server's answers and from Azurite."""

import io
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from azure.storage.blob import BlobClient, ContainerClient

from model_loader.errors import ConflictError, NotFoundError, StoreError
from model_loader.registry.publish import publish
from model_loader.store import Store, open_store
from tests.model_loader.command_line import Loader
from tests.model_loader.drafts import write_draft

NOW = datetime.now(UTC)
SIGNATURE = "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0cyE="


@contextmanager
def answering(status: int, code: str, detail: str = "", clock: timedelta = timedelta()) -> Iterator[Store]:
    """Run a server that answers every request with an error; yield a store at its URL."""
    body = (
        f'<?xml version="1.0" encoding="utf-8"?><Error><Code>{code}</Code><Message>Failed.</Message>'
        f"<AuthenticationErrorDetail>{detail}</AuthenticationErrorDetail></Error>"
    ).encode()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response_only(status)
            self.send_header("Date", format_datetime(datetime.now(UTC) + clock, usegmt=True))
            self.send_header("x-ms-error-code", code)
            self.send_header("Content-Type", "application/xml")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_GET = do_HEAD = do_PUT = answer  # noqa: N815  (names that http.server calls)

        def log_message(self, *args: object) -> None:
            """Log nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        Thread(target=server.serve_forever, daemon=True).start()
        sas = f"sv=2025-01-05&sig={SIGNATURE}"
        yield open_store(f"http://127.0.0.1:{server.server_port}/devstoreaccount1/models?{sas}")
        server.shutdown()


def names(store: Store) -> None:
    """List the store."""
    store.names("")


def read(store: Store) -> None:
    """Read a small object."""
    store.read("tiny/1/manifest.json")


def write(store: Store) -> None:
    """Write a small object."""
    store.write("tiny/ledger.jsonl", b"{}", "etag")


def upload(store: Store) -> None:
    """Upload a file."""
    store.upload("tiny/1/model.onnx", io.BytesIO(b"model"))


def download(store: Store) -> None:
    """Download a file."""
    b"".join(store.chunks("tiny/1/model.onnx"))


def time(hours: int) -> str:
    """Return a time, in hours from now, as Azure writes it."""
    return format_datetime(NOW + timedelta(hours=hours), usegmt=True)


def sas_times(start: str, expiry: str) -> str:
    """Return the detail of a SAS that is not valid now."""
    return (
        "Signature not valid in the specified time frame: "
        f"Start [{start}] - Expiry [{expiry}] - Current [{time(0)}]"
    )


NETWORK = r"rejects the credential or this network \(\w+\): allow the network in the firewall"
CASES = [
    (read, 409, "BlobArchived", "is archived and cannot be read: .*az storage blob set-tier --tier Hot"),
    (
        read,
        409,
        "BlobBeingRehydrated",
        "is being moved out of the archive, which takes up to 15 hours: try again",
    ),
    (
        write,
        412,
        "LeaseIdMissing",
        "ledger.jsonl .* is leased by somebody: wait, or run 'az storage blob lease",
    ),
    (
        upload,
        412,
        "LeaseIdMissing",
        "model.onnx .* is leased by somebody: wait, or run 'az storage blob lease",
    ),
    (
        write,
        409,
        "BlobImmutableDueToPolicy",
        "ledger.jsonl .* is immutable .*: .*a container without such a policy",
    ),
    (
        upload,
        409,
        "BlobImmutableDueToPolicy",
        "model.onnx .* is immutable by a retention policy or a legal hold",
    ),
    (
        names,
        409,
        "ContainerBeingDeleted",
        "is being deleted: wait, and create it with 'az storage container create'",
    ),
    (names, 403, "AccountIsDisabled", "the account .* is disabled: ask the subscription's administrator"),
    (download, 409, "InvalidBlobType", "is no block blob, so another program wrote it: remove it"),
    (names, 403, "AuthorizationFailure", NETWORK),
    (names, 403, "AuthorizationSourceIPMismatch", NETWORK),
    (
        upload,
        403,
        "AuthorizationPermissionMismatch",
        "lacks a permission .*: take a SAS with .* create and write",
    ),
    (names, 403, "AuthorizationPermissionMismatch", "or give the identity the role Storage Blob Data Reader"),
    (names, 403, "InsufficientAccountPermissions", "lacks a permission .*: give the identity the role"),
    (names, 403, "KeyBasedAuthenticationNotPermitted", "accepts no account key, .*: sign in with 'az login'"),
    (names, 409, "PublicAccessNotPermitted", "needs a credential .*: sign in with 'az login', or append"),
    (names, 401, "NoAuthenticationInformation", "needs a credential .*: sign in with 'az login', or append"),
    (
        names,
        403,
        "AuthenticationFailed",
        r"rejects the credential \(AuthenticationFailed\): renew the SAS, or give",
    ),
    (names, 418, "Teapot", "answered Teapot for '': check the URL, or try again"),
]


@pytest.mark.parametrize(("operation", "status", "code", "message"), CASES)
def test_code(operation: Callable[[Store], None], status: int, code: str, message: str) -> None:
    """Each code has a message of one line that says what to do, and names the store without its SAS."""
    with answering(status, code) as store, pytest.raises(StoreError, match=message) as exc:
        operation(store)
    assert store.url in str(exc.value)
    assert SIGNATURE not in str(exc.value)
    assert len(str(exc.value).splitlines()) == 1


@pytest.mark.parametrize("code", ["ConditionNotMet", "BlobAlreadyExists", "UnauthorizedBlobOverwrite"])
def test_conflict(code: str) -> None:
    """A write after somebody else's is a conflict."""
    with answering(412, code) as store, pytest.raises(ConflictError, match="was written by somebody else"):
        write(store)


def test_deleted() -> None:
    """A missing file may have been deleted: the message says how to restore it."""
    with (
        answering(404, "BlobNotFound") as store,
        pytest.raises(NotFoundError, match="az storage blob undelete"),
    ):
        download(store)


@pytest.mark.parametrize(
    ("detail", "message"),
    [
        (
            sas_times(time(-48), time(-24)),
            f"the SAS has expired at {NOW - timedelta(days=1):%Y-%m-%d %H:%M} UTC: renew",
        ),
        (sas_times("", time(-24)), "the SAS has expired at .* UTC: renew it"),
        (sas_times(time(1), time(24)), "the SAS is not valid before .* UTC: take one that starts earlier"),
        (
            f"Signature did not match. String to sign used was rl {SIGNATURE}",
            "its signature does not match: copy the whole SAS, and quote it",
        ),
    ],
)
def test_sas(detail: str, message: str) -> None:
    """The detail of the answer says what is wrong with a SAS; the detail itself is not printed."""
    with (
        answering(403, "AuthenticationFailed", detail) as store,
        pytest.raises(StoreError, match=message) as exc,
    ):
        names(store)
    assert SIGNATURE not in str(exc.value)


@pytest.mark.parametrize("clock", [timedelta(minutes=-40), timedelta(minutes=40)])
@pytest.mark.parametrize("code", ["AuthenticationFailed", "AuthorizationFailure", "InvalidHeaderValue"])
def test_clock(clock: timedelta, code: str) -> None:
    """A clock that differs from the server's is the reason, whatever the code is."""
    status = 400 if code == "InvalidHeaderValue" else 403
    with answering(status, code, clock=clock) as store, pytest.raises(StoreError) as exc:
        names(store)
    assert re.search("the clock of this machine is (39|40) minutes off; set it", str(exc.value))


def test_container_is_not_created_in_azure() -> None:
    """Only the emulator's container is created; elsewhere the message says how."""
    with answering(404, "ContainerNotFound") as store:
        # The URL of the emulator is the only one that a test can connect to.
        vars(store)["_is_emulated"] = False
        with pytest.raises(
            StoreError, match="no such container: create it with 'az storage container create'"
        ):
            names(store)


def test_container_is_created(container: ContainerClient, loader: Loader, workspace: Path) -> None:
    """The emulator's container is created by the first command."""
    write_draft(workspace / "draft")
    url = f"{container.url}-new"
    assert loader("publish", "draft", "--store", url).code == 0
    assert loader("pull", "--store", url).code == 0


def test_archived(container: ContainerClient, loader: Loader, workspace: Path) -> None:
    """A file in the archive tier is not pulled, and the message says how to get it back."""
    publish(write_draft(workspace / "draft"), open_store(container.url))
    container.get_blob_client("tiny/1/model.onnx").set_standard_blob_tier("Archive")
    result = loader("pull", "--store", container.url)
    assert result.code == 1
    assert "tiny/1/model.onnx in the store" in result.err
    assert "is archived and cannot be read: move it to another tier" in result.err


def test_leased(container: ContainerClient, loader: Loader, workspace: Path) -> None:
    """A leased ledger can be read, but not written."""
    publish(write_draft(workspace / "draft"), open_store(container.url))
    ledger: BlobClient = container.get_blob_client("tiny/ledger.jsonl")
    lease = ledger.acquire_lease()
    result = loader("promote", "1", "--stage", "staging", "--store", container.url)
    assert result.code == 1
    assert "tiny/ledger.jsonl in the store" in result.err
    assert "is leased by somebody: wait, or run 'az storage blob lease break'" in result.err
    lease.break_lease(0)
    assert loader("promote", "1", "--stage", "staging", "--store", container.url).code == 0
