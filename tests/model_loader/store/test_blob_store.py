"""Azure Blob storage: credentials, secrets and Azure's exceptions."""

import logging
import re
import socket
import time
import traceback
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import azure.identity
import pytest
from azure.core.exceptions import AzureError
from azure.storage.blob import ContainerClient, ContainerSasPermissions, generate_container_sas

from model_loader.errors import LoaderError, StoreError
from model_loader.store import open_store
from model_loader.store.blob_store import EMULATOR_ACCOUNT, EMULATOR_KEY, BlobStore
from tests.model_loader.command_line import Loader, snapshot, start
from tests.model_loader.drafts import publish, write_draft

AZURE = "https://account.blob.core.windows.net/models"
SIGNATURE = "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0cyE="


def sas(container: ContainerClient, *, write: bool = True, hours: int = 1) -> str:
    """Return a SAS of the container, valid for some hours; expired if `hours` is negative."""
    return generate_container_sas(
        EMULATOR_ACCOUNT,
        container.container_name,
        EMULATOR_KEY,
        permission=ContainerSasPermissions(read=True, list=True, write=write, create=write),
        expiry=datetime.now(UTC) + timedelta(hours=hours),
    )


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def subclasses(base: type[Exception]) -> Iterator[type[Exception]]:
    """Yield an exception class and all that derive from it."""
    yield base
    for derived in base.__subclasses__():
        yield from subclasses(derived)


def no_container(container: ContainerClient) -> str:
    """Return the URL of a container that does not exist."""
    return f"{container.url}-missing"


def bad_name(container: ContainerClient) -> str:
    """Return the URL of a container with an invalid name."""
    return container.url.replace("/test-", "/No_Container-")


def nobody_listens(container: ContainerClient) -> str:
    """Return the URL of an account that does not answer."""
    return f"http://127.0.0.1:{free_port()}/devstoreaccount1/models?sv=2025-01-05&sig={SIGNATURE}"


def wrong_sas(container: ContainerClient) -> str:
    """Return a URL with a SAS that was signed with another key."""
    return f"{container.url}?{sas(container).partition('&sig=')[0]}&sig={SIGNATURE}"


def expired_sas(container: ContainerClient) -> str:
    """Return a URL with an expired SAS."""
    return f"{container.url}?{sas(container, hours=-24)}"


def malformed_sas(container: ContainerClient) -> str:
    """Return a URL with an incomplete SAS."""
    return f"{container.url}?sig={SIGNATURE}"


FAILURES = [
    (no_container, "has no models: publish one, or correct the URL"),
    (bad_name, "has an invalid name .*: a container has 3 to 63 lower-case letters"),
    (nobody_listens, "cannot reach the store .*: check the URL and the network"),
    (wrong_sas, "rejects the credential .*: .*renew the SAS, or give the identity the role"),
    (expired_sas, "rejects the credential .*: .*renew the SAS, or give the identity the role"),
    (malformed_sas, "rejects the credential .*: .*renew the SAS, or give the identity the role"),
]


@pytest.mark.parametrize(("make_url", "message"), FAILURES)
def test_failure(
    container: ContainerClient,
    workspace: Path,
    loader: Loader,
    make_url: Callable[[ContainerClient], str],
    message: str,
) -> None:
    """An unusable store: one line that says what to do, soon, without the secret; `model/` is kept."""
    publish(write_draft(workspace / "draft"), open_store(container.url))
    assert loader("pull", "--store", container.url).code == 0
    before = snapshot(workspace)
    started = time.monotonic()

    result = loader("pull", "--store", make_url(container))

    assert time.monotonic() - started < 10
    assert result.code == 1
    assert not result.out
    (line,) = result.err.splitlines()
    assert re.search(message, line)
    assert "sig=" not in line
    assert snapshot(workspace) == before


@pytest.mark.parametrize("make_url", [nobody_listens, wrong_sas, expired_sas, malformed_sas])
def test_exceptions_hold_no_secret(
    container: ContainerClient, make_url: Callable[[ContainerClient], str]
) -> None:
    """Tracebacks of exceptions, with their causes, contain no secret."""
    url = make_url(container)
    store = open_store(url)
    with pytest.raises(StoreError) as exc:
        store.names("")
    _, _, signature = url.partition("sig=")
    text = "".join(traceback.format_exception(exc.value))
    assert exc.value.__cause__
    assert signature not in text
    assert "sig=" not in text
    assert "?" not in store.url


@pytest.mark.parametrize("key", ["d3Jvbmc=", "not base64"])
def test_wrong_key(
    container: ContainerClient, loader: Loader, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    """A wrong account key is refused, and not printed."""
    monkeypatch.setenv("AZURE_STORAGE_KEY", key)
    result = loader("list", "--store", container.url)
    assert result.code == 1
    (line,) = result.err.splitlines()
    assert "credential" in line
    assert key not in line


def test_no_credential(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a credential, the message says how to get one; there are no retries."""
    for name in ("AZURE_CLIENT_ID", "AZURE_TENANT_ID", "AZURE_CLIENT_SECRET"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AZURE_TOKEN_CREDENTIALS", "EnvironmentCredential")
    started = time.monotonic()
    process = start("list", "--store", AZURE)
    out, err = process.communicate(timeout=60)
    assert time.monotonic() - started < 5
    assert (process.returncode, out) == (1, "")
    (line,) = err.splitlines()
    assert "sign in with 'az login', give the workload an identity, or put a SAS into MODEL_STORE" in line


def test_sas_is_enough(container: ContainerClient, workspace: Path, loader: Loader) -> None:
    """With a SAS in the URL every command works, and no output and no file contains it."""
    url = f"{container.url}?{sas(container)}"
    write_draft(workspace / "draft")
    results = [
        loader(*command, "--store", url)
        for command in (
            ("publish", "draft"),
            ("promote", "1", "--stage", "production"),
            ("pull",),
            ("list", "--json"),
            ("show",),
            ("history",),
        )
    ]
    assert [result.code for result in results] == [0] * 6
    written = "".join(result.out + result.err for result in results) + str(snapshot(workspace))
    assert "sig=" not in written
    assert container.url in written


def test_read_only_sas(container: ContainerClient, workspace: Path, loader: Loader) -> None:
    """Publishing with a read-only SAS is refused when it claims a version, and writes nothing."""
    write_draft(workspace / "draft")
    result = loader("publish", "draft", "--store", f"{container.url}?{sas(container, write=False)}")
    assert result.code == 1
    assert "Storage Blob Data Contributor to publish" in result.err
    assert not list(container.list_blob_names())


def test_locked_takes_the_sas_of_the_setting(
    container: ContainerClient, workspace: Path, loader: Loader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lock has no SAS; the one in MODEL_STORE is used if it is the same store."""
    monkeypatch.setenv("AZURE_STORAGE_KEY", "d3Jvbmc=")
    monkeypatch.setenv("MODEL_STORE", f"{container.url}/?{sas(container)}")
    write_draft(workspace / "draft")
    assert loader("publish", "draft").code == 0
    assert loader("pull").code == 0
    assert loader("pull", "--locked", "--output", "other").code == 0
    monkeypatch.setenv("MODEL_STORE", "file:elsewhere")
    assert "rejects the credential" in loader("pull", "--locked").err


def test_sas_is_not_logged(container: ContainerClient, caplog: pytest.LogCaptureFixture) -> None:
    """The SAS is not logged, at any level."""
    caplog.set_level(logging.DEBUG)
    open_store(f"{container.url}?{sas(container)}").names("")
    assert caplog.records
    assert "sig=" not in caplog.text.replace("sig=REDACTED", "")


@pytest.mark.parametrize("error", sorted(set(subclasses(AzureError)), key=str))
def test_every_exception_of_azure_is_wrapped(error: type[Exception]) -> None:
    """Every exception of Azure's packages is raised as a LoaderError, with the original as its cause."""
    assert azure.identity.CredentialUnavailableError in set(subclasses(AzureError))
    store = BlobStore(f"{AZURE}?sig={SIGNATURE}", AZURE)
    cause = error.__new__(error, "message")
    with pytest.raises(LoaderError) as exc, store.wrap_errors("tiny/1/model.onnx"):
        raise cause
    assert exc.value.__cause__ is cause
    assert len(str(exc.value).splitlines()) == 1
