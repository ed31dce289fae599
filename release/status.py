"""Asks every place that says which model is in production, and finds who differs."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

from model_loader.errors import LoaderError
from model_loader.registry.ledger import read_ledger
from model_loader.text_tables import short, table
from release import git_branch as origin
from release.errors import ReleaseError
from release.image_labels import read_labels
from release.kubernetes import Pod, read_stage
from release.record_release import LOCK, PRODUCTION, find_store, read_lock
from release.release_log import FILE, parse

LEDGER = f"ledger ({PRODUCTION})"
IMAGE = "image last released"


@dataclass(frozen=True)
class Answer:
    """What one place says.

    Attributes:
        model: `NAME/VERSION@sha256:…`; empty where it is not known.
        image: its digest, `sha256:…`; empty where the place says nothing of images.
        remark: for people.
        fault: why the place could not be asked.
    """

    place: str
    model: str = ""
    image: str = ""
    remark: str = ""
    fault: str = ""


def ask() -> list[Answer]:
    """What the ledger, the lock, the image last released and every pod say. Nobody is left out: who cannot be
    asked says why.
    """
    tip = cache(origin.fetch)
    places: list[tuple[str, Callable[[], list[Answer]]]] = [
        (LEDGER, lambda: [_ask_ledger(tip())]),
        (LOCK, lambda: [_ask_lock(tip())]),
        (IMAGE, lambda: [_ask_image(tip())]),
        ("pods", _ask_pods),
    ]
    answers: list[Answer] = []
    for place, asked in places:
        try:
            answers += asked()
        except (ReleaseError, LoaderError) as exc:
            answers.append(Answer(place, fault=" ".join(str(exc).split())))
    return answers


def show(answers: Sequence[Answer]) -> str:
    """The table."""
    return table(
        ("WHO", "MODEL", "IMAGE", ""),
        [
            (a.place, _short(a.model) or "not known", short(a.image) or "-", a.fault or a.remark)
            for a in answers
        ],
    )


def difference(answers: Sequence[Answer]) -> str | None:
    """One sentence that says who differs and who could not be asked; None where all agree."""
    parts = []
    for prefix, values in (
        ("", [(a.place, a.model) for a in answers if a.model]),
        ("of images, ", [(a.place, a.image) for a in answers if a.image]),
    ):
        groups: dict[str, list[str]] = defaultdict(list)
        for place, value in values:
            groups[value].append(place)
        most, *others = sorted(groups.items(), key=lambda group: len(group[1]), reverse=True) or [("", [])]
        if others:
            named = [f"{', '.join(who)} {_say(who)} {_short(value)}" for value, who in others]
            parts.append(
                f"{prefix}{', '.join(named)}, the other {len(most[1])} {_say(most[1])} {_short(most[0])}"
            )
    if silent := [answer.place for answer in answers if answer.fault]:
        parts.append(f"{', '.join(silent)} could not tell")
    return "; ".join(parts) or None


def _ask_ledger(tip: str) -> Answer:
    lock = read_lock(tip)
    entry = read_ledger(find_store(lock), lock.name).current(PRODUCTION)
    model = f"{lock.name}/{entry.version}@{entry.digest}"
    return Answer(LEDGER, model, remark=f"{entry.action} by {entry.by} at {entry.time}")


def _ask_lock(tip: str) -> Answer:
    lock = read_lock(tip)
    return Answer(LOCK, f"{lock.name}/{lock.version}@{lock.digest}", remark=f"in origin/{origin.BRANCH}")


def _ask_image(tip: str) -> Answer:
    releases = parse(origin.read(tip, FILE) or "")
    if not releases:
        raise ReleaseError(f"{FILE} in origin/{origin.BRANCH} has no release yet")
    last = releases[-1]
    model, commit = read_labels(last.image)
    remark = f"commit {commit[:12]}, by {last.who} at {last.time}"
    return Answer(IMAGE, model, last.image.rpartition("@")[2], remark)


def _ask_pods() -> list[Answer]:
    return [_answer(pod) for pod in read_stage(PRODUCTION)]


def _answer(pod: Pod) -> Answer:
    fault = (
        "" if pod.model and pod.image else "has no labels of a model" if pod.image else "runs no image yet"
    )
    return Answer(f"pod {pod.name}", pod.model, pod.image, "ready" if pod.ready else "not ready", fault)


def _short(text: str) -> str:
    """A model or a digest with as much of its digest as tells it apart."""
    name, _, digest = text.rpartition("@")
    return f"{name}@{short(digest)}" if name else short(digest)


def _say(who: Sequence[str]) -> str:
    return "says" if len(who) == 1 else "say"
