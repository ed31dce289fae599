"""`releases.jsonl`: what was in production, oldest first; appended to, and never changed."""

import json
import re
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from model_loader.package import NAME
from model_loader.registry.lockfile import Lock
from model_loader.registry.versions import VERSION
from release.errors import ReleaseError

FILE = "releases.jsonl"
DIGEST = r"sha256:[0-9a-f]{64}"
MODEL = re.compile(rf"({NAME.pattern})/({VERSION})@({DIGEST})")
FIELDS = {
    "time": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z",
    "commit": r"[0-9a-f]{40}",
    "image": rf"[^\s@]+@{DIGEST}",
    "model": MODEL.pattern,
    "who": r".+",
    "note": r".+",
}
ROLLBACK = "rollback"


@dataclass(frozen=True)
class Release:
    """One line.

    Attributes:
        time: RFC 3339, UTC.
        commit: that the image was built of.
        image: by digest, `REPOSITORY@sha256:…`.
        model: `NAME/VERSION@sha256:…`.
        who: put it into production.
        note: `rollback`, and why, where it was there before.
    """

    time: str
    commit: str
    image: str
    model: str
    who: str
    note: str | None = None

    @property
    def is_rollback(self) -> bool:
        """Whether an earlier release was put back."""
        return (self.note or "").startswith(ROLLBACK)

    def lock(self, store: str) -> Lock:
        """What `model.lock` says while this release is in production."""
        name, version, digest = MODEL.fullmatch(self.model).groups()  # type: ignore[union-attr]
        return Lock(name, int(version), digest, store)

    def repeats(self, last: "Release") -> bool:
        """Whether the history, which ends with `last`, says all that this release does."""
        same = (self.commit, self.image, self.model) == (last.commit, last.image, last.model)
        return same and (last.is_rollback or not self.is_rollback)

    def line(self) -> str:
        """As it stands in the file."""
        fields = {key: value for key, value in asdict(self).items() if value is not None}
        return json.dumps(fields, ensure_ascii=False) + "\n"


def parse(text: str) -> list[Release]:
    """The releases in the text of the file.

    Raises:
        ReleaseError: a line is not a release; the message has its number.
    """
    *lines, rest = text.split("\n")
    if rest:
        raise ReleaseError(f"{FILE}: the last line is cut off: {rest[:80]!r}")
    return [_release(number, line) for number, line in enumerate(lines, start=1)]


def before(releases: Sequence[Release], running: Collection[str] = ()) -> Release:
    """The release that a rollback goes to, unless it is told another.

    It is the one before the last. But after a rollback it is that one again, so that asking twice does not
    go back twice. And where a pod carries what was never released, it is the last.

    Args:
        running: digests of the images that the pods carry.

    Raises:
        ReleaseError: there is none.
    """
    known = {release.image.rpartition("@")[2] for release in releases}
    if releases and (releases[-1].is_rollback or not known.issuperset(running)):
        return releases[-1]
    for release in reversed(releases):
        if release.image != releases[-1].image:
            return release
    raise ReleaseError(f"{FILE} has no release before the current one: nothing to go back to")


def find(releases: Sequence[Release], text: str) -> Release:
    """The last release that `text` names: by commit, image, model, or the model's version.

    Digests and commits may be cut off after seven digits.

    Raises:
        ReleaseError: it names none.
    """
    for release in reversed(releases):
        if _names(text, release):
            return release
    raise ReleaseError(f"{FILE} has no release {text}: expected a commit, an image's digest, or NAME/VERSION")


def _names(text: str, release: Release) -> bool:
    model, _, _ = release.model.partition("@")
    if text in (release.image, release.model, model, model.partition("/")[2]):
        return True
    if re.fullmatch("[0-9a-f]{7,40}", text):
        return release.commit.startswith(text)
    if re.fullmatch("sha256:[0-9a-f]{7,64}", text):
        return any(each.partition("@")[2].startswith(text) for each in (release.image, release.model))
    return False


def _release(number: int, line: str) -> Release:
    try:
        document: Any = json.loads(line)
    except (ValueError, RecursionError) as exc:
        raise ReleaseError(f"{FILE}: line {number} is not JSON: {line[:80]!r}") from exc
    given = document if isinstance(document, dict) else {}
    if not given.keys() <= FIELDS.keys() or not given.keys() >= FIELDS.keys() - {"note"}:
        raise ReleaseError(f"{FILE}: line {number} is not a release: {line[:80]!r}")
    for key, value in given.items():
        if not isinstance(value, str) or not re.fullmatch(FIELDS[key], value):
            raise ReleaseError(f"{FILE}: line {number}: {key} cannot be {value!r}")
    return Release(**given)
