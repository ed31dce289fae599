"""Promotion and rollback of the stages, `staging` and `production`."""

from model_loader.errors import NotFoundError
from model_loader.registry.ledger import Entry, Ledger, append, author, now
from model_loader.registry.versions import find, get
from model_loader.store import Store


def promote(store: Store, name: str, version: str, stage: str, reason: str | None = None) -> Entry:
    """Set `stage` to a version.

    Args:
        version: a number, `latest`, or the name of a stage.

    Returns:
        The new entry in the ledger; if the stage has this version already, the entry that set it.

    Raises:
        NotFoundError: there is no such version.
    """
    published = find(store, name, version)
    number = published.manifest.version

    def decide(ledger: Ledger) -> Entry:
        if stage in ledger.stages(number):
            return ledger.current(stage)
        return Entry(now(), "promote", number, published.digest, author(), stage, reason)

    return append(store, name, decide)


def rollback(store: Store, name: str, stage: str, reason: str | None = None) -> Entry:
    """Set `stage` to its previous version. A second rollback goes one more version back.

    Raises:
        NotFoundError: the stage has no previous version.
    """

    def decide(ledger: Ledger) -> Entry:
        current = ledger.current(stage)
        *_, before = [None, *ledger.promotions(stage)[:-1]]
        if before is None:
            raise NotFoundError(f"{stage} had no version before {name}/{current.version}: cannot roll back")
        published = get(store, ledger, before.version)
        return Entry(now(), "rollback", before.version, published.digest, author(), stage, reason)

    return append(store, name, decide)
