"""The locked model of this clone, and the service with it."""

from pathlib import Path

import pytest

from app import create_app
from app.settings import Settings
from model_loader.errors import LoaderError
from model_loader.package import Package, read_package
from model_loader.registry.lockfile import read_lock
from model_loader.registry.pull import find_locked, pull
from model_loader.store import open_store
from tests.asgi_client import AsgiClient
from tests.e2e.conftest import base_image as base_image
from tests.e2e.conftest import engine as engine
from tests.e2e.conftest import missing

ROOT = Path(__file__).parents[2]
LOCK = ROOT / "model.lock"


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory) -> Package:
    """The package that `model.lock` names, from its store."""
    if not LOCK.exists():
        missing("this clone has no model: no model.lock; docs/clone.md says how to publish one")
    lock = read_lock(LOCK)
    path = tmp_path_factory.mktemp("package") / "model"
    url = lock.store
    if url.startswith("file:"):
        url = f"file:{ROOT / url.removeprefix('file:')}"
        pull(store := open_store(url), find_locked(store, lock), path)
        return read_package(path)
    try:
        pull(store := open_store(url), find_locked(store, lock), path)
    except LoaderError as exc:
        # A pull request's tests have no identity at the store; the build of its image verifies the model.
        pytest.skip(f"{lock.name}/{lock.version} cannot be pulled from {url}: {exc}")
    return read_package(path)


@pytest.fixture(scope="session")
def client(package: Package) -> AsgiClient:
    """A client of the service with the model, behind the clone's own transform."""
    return AsgiClient(create_app(Settings(model_path=package.path, web_concurrency=1)))
