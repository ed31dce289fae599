"""Fixtures of the registry's tests."""

from pathlib import Path

import pytest

from model_loader.store import Store
from tests.model_loader.drafts import publish


@pytest.fixture
def three(draft: Path, store: Store) -> Store:
    """A store with tiny/1, tiny/2 and tiny/3."""
    for _ in range(3):
        publish(draft, store)
    return store
