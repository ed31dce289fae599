"""What is particular to Azure Blob storage: credentials, secrets and Azure's exceptions."""

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
from model_loader.registry.publish import publish
from model_loader.store import open_store
from model_loader.store.blob_store import EMULATOR_ACCOUNT, EMULATOR_KEY, BlobStore
from tests.model_loader.command_line import Loader, snapshot, start
from tests.model_loader.drafts import write_draft

AZURE = "https://account.blob.core.windows.net/models"
SIGNATURE = "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0cyE="


def sas(container: ContainerClient, *, write: bool = True, hours: int = 1) -> str:
    """A SAS of the container, valid for some hours; fewer than none has passed."""
    return generate_container_sas(
        EMULATOR_ACCOUNT,
        container.container_name,
        EMULATOR_KEY,
        permission=ContainerSasPermissions(read=True, list=True, write=write, create=write),
        expiry=datetime.now(UTC) + timedelta(hours=hours),
    )


def free_port() -> int:
    """A port where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def kinds(kind: type[Exception]) -> Iterator[type[Exception]]:
    """An exception and all that derive from it."""
    yield kind
    for derived in kind.__subclasses__():
        yield from kinds(derived)


def no_container(container: ContainerClient) -> str:
    """A container that nobody created."""
    return f"{container.url}-missing"


def bad_name(container: ContainerClient) -> str:
    """A container that nobody can create."""
    return container.url.replace("/test-", "/No_Container-")


def nobody_listens(container: ContainerClient) -> str:
    """An account that does not answer."""
    return f"http://127.0.0.1:{free_port()}/devstoreaccount1/models?sv=2025-01-05&sig={SIGNATURE}"


def wrong_sas(container: ContainerClient) -> str:
    """A SAS that somebody else signed."""
    return f"{container.url}?{sas(container).partition('&sig=')[0]}&sig={SIGNATURE}"


def expired_sas(container: ContainerClient) -> str:
    """A SAS of yesterday."""
    return f"{container.url}?{sas(container, hours=-24)}"


def nonsense_sas(container: ContainerClient) -> str:
    """A SAS that is none."""
    return f"{container.url}?sig={SIGNATURE}"


REFUSALS = [
    (no_container, "has no such container: create it, or correct the URL"),
    (bad_name, "answered InvalidResourceName .*: check the URL, or try again"),
    (nobody_listens, "cannot reach the store .*: check the URL and the network"),
    (wrong_sas, "rejects the credential .*: renew the SAS, or give the identity the role"),
    (expired_sas, "rejects the credential .*: renew the SAS, or give the identity the role"),
    (nonsense_sas, "rejects the credential .*: renew the SAS, or give the identity the role"),
]


@pytest.mark.parametrize(("make_url", "message"), REFUSALS)
def test_refusal(
    container: ContainerClient,
    workspace: Path,
    loader: Loader,
    make_url: Callable[[ContainerClient], str],
    message: str,
) -> None:
    """A store that cannot be used is one line that says what to do, soon; the secret and `model/` stay."""
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


@pytest.mark.parametrize("make_url", [nobody_listens, wrong_sas, expired_sas, nonsense_sas])
def test_exceptions_hold_no_secret(
    container: ContainerClient, make_url: Callable[[ContainerClient], str]
) -> None:
    """Nor does what a service would log of the exception, with all that led to it."""
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
    """An account key that is not the emulator's is refused, and not repeated."""
    monkeypatch.setenv("AZURE_STORAGE_KEY", key)
    result = loader("list", "--store", container.url)
    assert result.code == 1
    (line,) = result.err.splitlines()
    assert "credential" in line
    assert key not in line


def test_no_credential(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any credential the message says where to get one, and nothing waits for a better one."""
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
    """With a SAS in the URL everything works, and nothing that is written or printed has it."""
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
    shown = "".join(result.out + result.err for result in results) + str(snapshot(workspace))
    assert "sig=" not in shown
    assert container.url in shown


def test_sas_to_read_cannot_publish(container: ContainerClient, workspace: Path, loader: Loader) -> None:
    """A SAS that may only read is refused when a version is claimed, and nothing is left behind."""
    write_draft(workspace / "draft")
    result = loader("publish", "draft", "--store", f"{container.url}?{sas(container, write=False)}")
    assert result.code == 1
    assert "Storage Blob Data Contributor to publish" in result.err
    assert not list(container.list_blob_names())


def test_locked_takes_the_sas_of_the_setting(
    container: ContainerClient, workspace: Path, loader: Loader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lock has no secret; MODEL_STORE brings it, where it names the same store."""
    monkeypatch.setenv("AZURE_STORAGE_KEY", "d3Jvbmc=")
    monkeypatch.setenv("MODEL_STORE", f"{container.url}/?{sas(container)}")
    write_draft(workspace / "draft")
    assert loader("publish", "draft").code == 0
    assert loader("pull").code == 0
    assert loader("pull", "--locked", "--output", "other").code == 0
    monkeypatch.setenv("MODEL_STORE", "file:elsewhere")
    assert "rejects the credential" in loader("pull", "--locked").err


def test_sas_is_not_logged(container: ContainerClient, caplog: pytest.LogCaptureFixture) -> None:
    """Not even where everything is logged."""
    caplog.set_level(logging.DEBUG)
    open_store(f"{container.url}?{sas(container)}").names("")
    assert caplog.records
    assert "sig=" not in caplog.text.replace("sig=REDACTED", "")


@pytest.mark.parametrize("kind", sorted(set(kinds(AzureError)), key=str))
def test_every_exception_of_azure_is_wrapped(kind: type[Exception]) -> None:
    """Whatever Azure's packages raise, callers see an exception of ours, with theirs as its cause."""
    assert azure.identity.CredentialUnavailableError in set(kinds(AzureError))
    store = BlobStore(f"{AZURE}?sig={SIGNATURE}", AZURE)
    cause = kind.__new__(kind, "what it said")
    with pytest.raises(LoaderError) as exc, store.wrap_errors("tiny/1/model.onnx"):
        raise cause
    assert exc.value.__cause__ is cause
    assert len(str(exc.value).splitlines()) == 1
