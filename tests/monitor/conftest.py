"""The chain of fixtures: store_url → lake; the store is a directory, and Azurite."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from azure.storage.blob import ContainerClient

from model_loader.store.blob_store import EMULATOR_ACCOUNT, EMULATOR_KEY
from monitor.__main__ import main
from monitor.lake import Lake

Monitor = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory without settings."""
    for name in ("MODEL_STORE", "MODEL_NAME", "AZURE_STORAGE_KEY", "CAPTURE_DIR", "CAPTURE_STORE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def spool(workspace: Path) -> Path:
    """The spool of the clone."""
    return workspace / "captured/spool"


@pytest.fixture
def container() -> Iterator[ContainerClient]:
    """An empty container in Azurite."""
    url = os.environ.get("AZURITE_BLOB_URL")
    if not url:
        pytest.skip("no Azurite: AZURITE_BLOB_URL is not set")
    credential = {"account_name": EMULATOR_ACCOUNT, "account_key": EMULATOR_KEY}
    with ContainerClient(url, f"test-{uuid4().hex}", credential=credential) as client:
        client.create_container()
        yield client


@pytest.fixture(params=["file", "blob"])
def store_url(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of an empty store of each kind, also set as CAPTURE_STORE."""
    url = "file:captured"
    if request.param == "blob":
        container: ContainerClient = request.getfixturevalue("container")
        url = f"{container.url}/team"
    monkeypatch.setenv("CAPTURE_STORE", url)
    return url


@pytest.fixture
def lake(store_url: str, workspace: Path) -> Lake:
    """An empty store of each kind."""
    return Lake(store_url, workspace / "cache")


@pytest.fixture
def file_lake(workspace: Path) -> Lake:
    """An empty directory as the store."""
    return Lake("file:captured")


@pytest.fixture
def monitor(capfd: pytest.CaptureFixture[str]) -> Monitor:
    """A function that runs the command line in this process: exit code, output, errors."""

    def run(*argv: str | Path) -> tuple[int, str, str]:
        capfd.readouterr()
        try:
            code = main([str(arg) for arg in argv])
        except SystemExit as exc:
            code = int(exc.code or 0)
        out, err = capfd.readouterr()
        return code, out, err

    return run
