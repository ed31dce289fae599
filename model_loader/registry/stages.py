"""Moves a stage, `staging` or `production`, to another version."""

from model_loader.errors import NotFoundError
from model_loader.registry.ledger import Entry, Ledger, append, author, now
from model_loader.registry.versions import find, get
from model_loader.store import Store


def promote(store: Store, name: str, version: str, stage: str, reason: str | None = None) -> Entry:
    """Makes `stage` hold `version`: a number, `latest`, or what another stage holds.

    Returns:
        The entry in the ledger; where the stage holds that version already, the one that made it so.

    Raises:
        NotFoundError: there is no such version.
    """
    release = find(store, name, version)
    number = release.manifest.version

    def decide(ledger: Ledger) -> Entry:
        if stage in ledger.stages(number):
            return ledger.current(stage)
        return Entry(now(), "promote", number, release.digest, author(), stage, reason)

    return append(store, name, decide)


def rollback(store: Store, name: str, stage: str, reason: str | None = None) -> Entry:
    """Makes `stage` hold the version that it held before; again, and it goes back further.

    Raises:
        NotFoundError: it held nothing before.
    """

    def decide(ledger: Ledger) -> Entry:
        current = ledger.current(stage)
        *_, before = [None, *ledger.held(stage)[:-1]]
        if before is None:
            raise NotFoundError(
                f"{stage} held nothing before {name}/{current.version}: nothing to go back to"
            )
        release = get(store, ledger, before.version)
        return Entry(now(), "rollback", before.version, release.digest, author(), stage, reason)

    return append(store, name, decide)
