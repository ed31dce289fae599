"""From a prediction, a version, a digest, an image or a release to everything."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model_loader.errors import PackageError
from model_loader.package import MANIFEST_FILE
from model_loader.store import Store
from monitor.database import Connection
from monitor.errors import MonitorError
from monitor.lineage import contents, deployment, predictions, published, snapshots
from monitor.lineage.bill import bill_link
from monitor.lineage.links import Lineage, Link, Problem, checked, unavailable
from monitor.lineage.subject import Subject, model_of
from monitor.releases import LOG_FILE, ReleaseLine


@dataclass(frozen=True)
class Sources:
    """Where to look.

    Attributes:
        models: store of the models.
        connection: of the captured rows; None: they could not be read.
        failure: why.
        log: path of releases.jsonl, at the top of the clone.
        releases: its lines.
        snapshots: directory that has snapshots.
        sbom: file of the bill of materials.
        verify_key: public key of the models' signatures.
    """

    models: Store
    connection: Connection | None
    failure: str = ""
    log: Path = LOG_FILE
    releases: tuple[ReleaseLine, ...] = ()
    snapshots: Path | None = None
    sbom: Path | None = None
    verify_key: Path | None = None


def trace(query: str, subject: Subject, sources: Sources) -> Lineage:
    """Follow every link from a subject.

    Raises:
        MonitorError: nothing has this name.
        LoaderError: the store of models cannot be read.
    """
    rows = []
    if subject.id and sources.connection:
        rows = predictions.find_rows(sources.connection, subject.id)
    image = subject.image
    evidence: deployment.Evidence = {}
    if image and subject.name is None:
        evidence = deployment.ask_evidence(image)
    name, version = _model(query, subject, rows, evidence)
    model = f"{name}/{version}"
    try:
        found = published.read_published(sources.models, name, version)
    except PackageError as exc:
        return _unreadable(query, model, str(exc))
    if found is None:
        return _unreadable(query, model, "no such file")
    own = deployment.releases_of(sources.releases, found, image)
    image = image or (own[-1].image if own else None)
    links = _links(found, rows, image, own, evidence or deployment.ask_evidence(image), sources)
    return Lineage(query, model, tuple(links))


def _model(
    query: str, subject: Subject, rows: list[dict[str, Any]], evidence: deployment.Evidence
) -> tuple[str, int]:
    """Return name and version of the model, from the captured rows or from the labels of an image.

    Raises:
        MonitorError: neither has one.
    """
    if rows:
        found = sorted({(row["name"], row["version"] or 0) for row in rows})
        if len(found) > 1:
            texts = ", ".join(f"{name}/{version}" for name, version in found)
            raise MonitorError(f"{query} is the id of requests to {texts}: give an x-prediction-id")
        if not found[0][1]:
            raise MonitorError(f"{query}: the captured row has no version, because no model answered it")
        return found[0]
    if evidence and "error" in evidence["image"]:
        error = evidence["image"]["error"]
        raise MonitorError(f"{query} is in no line of releases.jsonl, and its labels: {error}")
    if evidence:
        return model_of(evidence["image"]["model"])
    return subject.name or "", subject.version or 0


def _links(
    found: published.Published,
    rows: list[dict[str, Any]],
    image: str | None,
    own: list[ReleaseLine],
    evidence: deployment.Evidence,
    sources: Sources,
) -> Iterator[Link]:
    """Yield the links in the order of the life of a prediction."""
    connection = sources.connection
    if rows:
        yield predictions.prediction_link(rows, found)
    elif connection:
        yield predictions.predictions_link(connection, found)
    else:
        yield unavailable("predictions", sources.failure)
    yield published.version_link(found)
    yield published.digest_link(found)
    with contents.downloaded(sources.models, found) as package:
        yield contents.samples_link(found, package)
        signature = contents.signature_link(package, sources.verify_key)
    yield snapshots.data_link(found)
    yield snapshots.snapshots_link(found, sources.snapshots)
    yield published.training_link(found, sources.log)
    yield published.person_link(found)
    yield signature
    yield deployment.image_link(image, own, found, evidence)
    yield deployment.image_signature_link(image, evidence)
    image_id = evidence["image"].get("id") if image else None
    yield bill_link(found, image, sources.sbom, image_id)
    yield deployment.release_link(sources.log, own, found)
    yield deployment.pods_link(image, sources.releases, found, evidence)
    if connection:
        yield predictions.labels_link(connection, found, sorted({row["id"] for row in rows}))
    else:
        yield unavailable("labels", sources.failure)


def _unreadable(query: str, model: str, reason: str) -> Lineage:
    """Return the lineage that ends at a manifest that cannot be read."""
    problem = Problem(f"{model}/{MANIFEST_FILE}", "the manifest of a published version", reason)
    return Lineage(query, model, (checked("version", model, {}, [problem]),))
