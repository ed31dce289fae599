"""The chain of fixtures: store_url → store → published → pulled; each for a directory and for Azurite."""

import os
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from azure.storage.blob import ContainerClient

from model_loader.__main__ import main
from model_loader.registry.pull import pull
from model_loader.registry.versions import PublishedVersion
from model_loader.store import Store, open_store
from model_loader.store.blob_store import EMULATOR_ACCOUNT, EMULATOR_KEY
from tests.model_loader.command_line import Loader, Result, Snapshot, snapshot
from tests.model_loader.drafts import publish, write_draft

MISSING = "no Azurite: AZURITE_BLOB_URL is not set"


@pytest.fixture(autouse=True)
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, and no settings but MODEL_PUBLISHER."""
    for name in ("MODEL_STORE", "MODEL_NAME", "AZURE_STORAGE_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MODEL_PUBLISHER", "tester")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def azurite() -> str:
    """The URL of the account in Azurite, Microsoft's storage emulator."""
    url = os.environ.get("AZURITE_BLOB_URL")
    if not url and os.environ.get("CI") == "true":
        pytest.fail(MISSING)
    if not url:
        pytest.skip(MISSING)
    return url


@pytest.fixture
def container(azurite: str) -> Iterator[ContainerClient]:
    """An empty container in Azurite, for one test."""
    credential = {"account_name": EMULATOR_ACCOUNT, "account_key": EMULATOR_KEY}
    with ContainerClient(azurite, f"test-{uuid4().hex}", credential=credential) as client:
        client.create_container()
        yield client


@pytest.fixture(params=["file", "blob"])
def store_url(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of an empty store of each kind, also set as MODEL_STORE."""
    url = "file:store"
    if request.param == "blob":
        container: ContainerClient = request.getfixturevalue("container")
        url = f"{container.url}/team/models"
    monkeypatch.setenv("MODEL_STORE", url)
    return url


@pytest.fixture
def store(store_url: str) -> Store:
    """An empty store of each kind."""
    return open_store(store_url)


@pytest.fixture
def draft(workspace: Path) -> Path:
    """A draft of y = 2·x + 1 over the columns `a` and `b`, with one sample."""
    return write_draft(workspace / "draft")


@pytest.fixture
def published(draft: Path, store: Store) -> PublishedVersion:
    """The draft, published as tiny/1."""
    return publish(draft, store)


@pytest.fixture
def pulled(published: PublishedVersion, store: Store, workspace: Path) -> Snapshot:
    """The content of `model/` and `model.lock` after a pull of tiny/1."""
    pull(store, published, workspace / "model", lock=workspace / "model.lock")
    return snapshot(workspace)


@pytest.fixture
def loader(capfd: pytest.CaptureFixture[str]) -> Loader:
    """A function that runs the command line in this process, as `python -m model_loader` would."""

    def run(*argv: str | Path) -> Result:
        capfd.readouterr()
        try:
            code = main([str(arg) for arg in argv])
        except SystemExit as exc:
            code = int(exc.code or 0)
        out, err = capfd.readouterr()
        return Result(code, out, err)

    return run
