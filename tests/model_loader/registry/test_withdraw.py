"""Withdrawing versions: what is latest then, and what is refused."""

from pathlib import Path

import pytest

from model_loader.errors import NotFoundError, StoreError
from model_loader.registry.ledger import read_ledger
from model_loader.registry.stages import promote, rollback, withdraw
from model_loader.registry.versions import find
from model_loader.store import Store
from tests.model_loader.drafts import publish


def test_withdraw(three: Store) -> None:
    """A withdrawn version is not the latest, and cannot be promoted; it is found by its number."""
    assert withdraw(three, "tiny", "latest", "leaks").version == 3
    assert find(three, "tiny", "latest").manifest.version == 2
    assert find(three, "tiny", "3").manifest.version == 3
    with pytest.raises(
        StoreError, match=r"tiny/3 cannot be promoted: it was withdrawn by tester at .*: leaks"
    ):
        promote(three, "tiny", "3", "staging")
    with pytest.raises(
        StoreError, match=r"tiny/3 cannot be withdrawn: it was withdrawn by tester at .*: leaks"
    ):
        withdraw(three, "tiny", "3", "again")
    assert [entry.action for entry in read_ledger(three, "tiny").entries] == ["publish"] * 3 + ["withdraw"]
    assert publish(Path("draft"), three).path == "tiny/4"
    assert find(three, "tiny", "latest").manifest.version == 4


def test_withdraw_all(three: Store) -> None:
    """Without a version that is not withdrawn there is no latest one."""
    for version in ("1", "2", "3"):
        withdraw(three, "tiny", version, "leaks")
    with pytest.raises(NotFoundError, match=r"every version of tiny .* is withdrawn: .* its number: 1, 2, 3"):
        find(three, "tiny", "latest")


def test_withdraw_from_a_stage(three: Store) -> None:
    """The version that a stage has cannot be withdrawn; after a rollback it can."""
    promote(three, "tiny", "1", "production")
    promote(three, "tiny", "2", "production")
    with pytest.raises(StoreError, match="tiny/2 is in production: roll back, or promote another version"):
        withdraw(three, "tiny", "2", "leaks")
    rollback(three, "tiny", "production")
    assert withdraw(three, "tiny", "2", "leaks").version == 2
    assert find(three, "tiny", "production").manifest.version == 1


def test_rollback_over_withdrawn_versions(three: Store) -> None:
    """A rollback goes back to a version that is not withdrawn, and so does the next one."""
    for version in ("1", "2", "3"):
        promote(three, "tiny", version, "production")
    withdraw(three, "tiny", "2", "leaks")
    assert rollback(three, "tiny", "production").version == 1
    assert find(three, "tiny", "production").manifest.version == 1
    promote(three, "tiny", "3", "production")
    withdraw(three, "tiny", "1", "leaks too")
    with pytest.raises(NotFoundError, match=r"cannot roll back: .* tiny/3, or only withdrawn ones"):
        rollback(three, "tiny", "production")
