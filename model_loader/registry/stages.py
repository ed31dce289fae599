"""Promotion and rollback of the stages, `staging` and `production`, and withdrawal of versions."""

from model_loader.errors import NotFoundError, StoreError
from model_loader.registry.ledger import Entry, Ledger, append, author, now, read_ledger
from model_loader.registry.repair import missing_entries
from model_loader.registry.versions import find, get
from model_loader.store import Store


def promote(store: Store, name: str, version: str, stage: str, reason: str | None = None) -> Entry:
    """Set `stage` to a version.

    Args:
        stage: one of STAGES, or BUILD, which marks a version as taken up: its build has begun.
        version: a number, `latest`, or the name of a stage.

    Returns:
        The new entry in the ledger; if the stage has this version already, the entry that set it.

    Raises:
        NotFoundError: there is no such version.
        StoreError: it was withdrawn.
    """
    published = find(store, name, version)
    number = published.manifest.version

    def decide(ledger: Ledger) -> Entry:
        check_not_withdrawn(ledger, number)
        current = ledger.promotions(stage)[-1:]
        if current and current[0].version == number:
            return current[0]
        return Entry(now(), "promote", number, published.digest, author(), stage, reason)

    return append(store, name, decide, missing_entries(store, read_ledger(store, name)))


def rollback(
    store: Store, name: str, stage: str, reason: str | None = None, *, to: int | None = None
) -> Entry:
    """Set `stage` to its previous version that is not withdrawn, or to any version.

    A second rollback goes further back; with `to`, it writes nothing.

    Args:
        to: the version, which the stage need not have had before.

    Returns:
        The new entry in the ledger; if the stage has the version `to` already, the entry that set it.

    Raises:
        NotFoundError: the stage has no previous version, or there is no version `to`.
        StoreError: the version `to` was withdrawn.
    """

    def decide(ledger: Ledger) -> Entry:
        if to is not None:
            check_not_withdrawn(ledger, to)
            if stage in ledger.stages(to):
                return ledger.current(stage)
            return Entry(now(), "rollback", to, get(store, ledger, to).digest, author(), stage, reason)
        current = ledger.current(stage)
        before = ledger.previous(stage)
        if before is None:
            raise NotFoundError(
                f"cannot roll back: {stage} had no version before {name}/{current.version}, or only "
                "withdrawn ones"
            )
        published = get(store, ledger, before.version)
        return Entry(now(), "rollback", before.version, published.digest, author(), stage, reason)

    return append(store, name, decide, missing_entries(store, read_ledger(store, name)))


def withdraw(store: Store, name: str, version: str, reason: str) -> Entry:
    """Take a version out of `latest`, and out of what can be promoted. Its files stay.

    Args:
        version: a number, `latest`, or the name of a stage.

    Raises:
        NotFoundError: there is no such version.
        StoreError: it is in a stage, or was withdrawn before.
    """
    published = find(store, name, version)
    number = published.manifest.version

    def decide(ledger: Ledger) -> Entry:
        if withdrawal := ledger.withdrawals.get(number):
            raise StoreError(f"{name}/{number} cannot be withdrawn: {describe_withdrawal(withdrawal)}")
        if stages := ledger.stages(number):
            raise StoreError(
                f"{name}/{number} is in {' and '.join(stages)}: roll back, or promote another version, and "
                "then withdraw it"
            )
        return Entry(now(), "withdraw", number, published.digest, author(), reason=reason)

    return append(store, name, decide, missing_entries(store, read_ledger(store, name)))


def check_not_withdrawn(ledger: Ledger, version: int) -> None:
    """Check that a version may be in a stage.

    Raises:
        StoreError: it was withdrawn.
    """
    if withdrawal := ledger.withdrawals.get(version):
        raise StoreError(f"{ledger.name}/{version} cannot be promoted: {describe_withdrawal(withdrawal)}")


def describe_withdrawal(entry: Entry) -> str:
    """Return who withdrew a version, when and why."""
    return f"it was withdrawn by {entry.by} at {entry.time}: {entry.reason}"
