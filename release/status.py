"""Collect which model is in production from every source, and compare the sources."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from model_loader.errors import LoaderError
from model_loader.registry.ledger import read_ledger
from model_loader.text_tables import short, table
from release import git_branch
from release.errors import ReleaseError
from release.image_labels import read_labels
from release.kubernetes import Pod, namespace_of, read_pods
from release.record_release import LOCK_FILE, PRODUCTION, find_store, read_lock
from release.release_log import LOG_FILE, parse

LEDGER = f"ledger ({PRODUCTION})"
IMAGE = "last released image"
PODS = "pods"


@dataclass(frozen=True)
class Status:
    """What one source reports.

    Attributes:
        model: `NAME/VERSION@sha256:…`; empty if unknown.
        image: the image's digest, `sha256:…`; empty if unknown, or if the source knows no images.
        remark: additional information for the user.
        problem: what is wrong with the source's answer, if it names no model or no image.
        error: why the source is unavailable; empty if it answered.
    """

    source: str
    model: str = ""
    image: str = ""
    remark: str = ""
    problem: str = ""
    error: str = ""


def collect() -> list[Status]:
    """Return the status of the ledger, the lock, the last released image and every pod.

    An unavailable source has a status too, with the error.
    """
    tip, error = "", ""
    try:
        tip = git_branch.fetch()
    except ReleaseError as exc:
        error = _one_line(exc)
    readers: dict[str, Callable[[], list[Status]]] = {
        LEDGER: lambda: [_read_ledger(tip)],
        LOCK_FILE: lambda: [_read_lock(tip)],
        IMAGE: lambda: [_read_image(tip)],
    }
    statuses = _ask(readers) if tip else [Status(source, error=error) for source in readers]
    return statuses + _ask({PODS: _read_pods})


def _ask(readers: Mapping[str, Callable[[], list[Status]]]) -> list[Status]:
    statuses: list[Status] = []
    for source, read in readers.items():
        try:
            statuses += read()
        except (ReleaseError, LoaderError) as exc:
            statuses.append(Status(source, error=_one_line(exc)))
    return statuses


def status_table(statuses: Sequence[Status]) -> str:
    """Return a table with one row per source that answered."""
    rows = [
        (
            status.source,
            _short(status.model) or "-",
            short(status.image) or "-",
            status.problem or status.remark,
        )
        for status in statuses
        if not status.error
    ]
    return table(("SOURCE", "MODEL", "IMAGE", ""), rows)


def unavailable(statuses: Sequence[Status]) -> list[str]:
    """Return one sentence per reason for which sources are unavailable."""
    sources: dict[str, list[str]] = defaultdict(list)
    for status in statuses:
        if status.error:
            sources[status.error].append(status.source)
    return [f"{', '.join(group)}: {error}" for error, group in sources.items()]


def difference(statuses: Sequence[Status]) -> str | None:
    """Return one sentence that names the sources that differ, of those that answered; None if all agree."""
    parts = [f"{status.source}: {status.problem}" for status in statuses if status.problem]
    for prefix, values in (
        ("", [(status.source, status.model) for status in statuses if status.model]),
        ("images: ", [(status.source, status.image) for status in statuses if status.image]),
    ):
        sources: dict[str, list[str]] = defaultdict(list)
        for source, value in values:
            sources[value].append(source)
        by_count = sorted(sources.items(), key=lambda group: len(group[1]), reverse=True)
        if len(by_count) > 1:
            (common, majority), *others = by_count
            named = [f"{', '.join(group)} {_report(group)} {_short(value)}" for value, group in others]
            rest = f"the other {len(majority)} {_report(majority)} {_short(common)}"
            parts.append(f"{prefix}{', '.join(named)}, {rest}")
    return "; ".join(parts) or None


def _read_ledger(tip: str) -> Status:
    lock = read_lock(tip)
    ledger = read_ledger(find_store(lock), lock.name)
    if not ledger.promotions(PRODUCTION):
        return Status(LEDGER, problem=f"{lock.name} has no version in {PRODUCTION}")
    entry = ledger.current(PRODUCTION)
    model = f"{lock.name}/{entry.version}@{entry.digest}"
    return Status(LEDGER, model, remark=f"{entry.action} by {entry.by} at {entry.time}")


def _read_lock(tip: str) -> Status:
    lock = read_lock(tip)
    model = f"{lock.name}/{lock.version}@{lock.digest}"
    return Status(LOCK_FILE, model, remark=f"in origin/{git_branch.BRANCH}")


def _read_image(tip: str) -> Status:
    releases = parse(git_branch.read(tip, LOG_FILE) or "")
    if not releases:
        return Status(IMAGE, problem=f"{LOG_FILE} in origin/{git_branch.BRANCH} has no release yet")
    last = releases[-1]
    model, commit = read_labels(last.image)
    remark = f"commit {commit[:12]}, by {last.who} at {last.time}"
    return Status(IMAGE, model, last.image.rpartition("@")[2], remark)


def _read_pods() -> list[Status]:
    namespace = namespace_of(PRODUCTION)
    pods = read_pods(namespace, may_be_empty=True)
    if not pods:
        return [Status(PODS, problem=f"no pods are running in {namespace}")]
    return [_pod_status(pod) for pod in pods]


def _pod_status(pod: Pod) -> Status:
    problem = ""
    if not pod.image_digest:
        problem = "no image is running yet"
    elif not pod.model:
        problem = "has no model labels"
    remark = "ready" if pod.ready else "not ready"
    return Status(f"pod {pod.name}", pod.model, pod.image_digest, remark, problem)


def _one_line(exc: Exception) -> str:
    return " ".join(str(exc).split())


def _short(text: str) -> str:
    """Return a model or digest with its digest abbreviated."""
    name, _, digest = text.rpartition("@")
    return f"{name}@{short(digest)}" if name else short(digest)


def _report(sources: Sequence[str]) -> str:
    return "reports" if len(sources) == 1 else "report"
