"""`releases.jsonl`: the releases of production, oldest first. Lines are only ever appended."""

import json
import re
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from model_loader.package import NAME
from model_loader.registry.lockfile import Lock
from model_loader.registry.versions import VERSION
from release.errors import ReleaseError

LOG_FILE = "releases.jsonl"
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
    """One line of the log.

    Attributes:
        time: RFC 3339, UTC.
        commit: the commit that the image was built from.
        image: by digest, `REPOSITORY@sha256:…`.
        model: `NAME/VERSION@sha256:…`.
        who: who released it.
        note: `rollback` or `rollback: REASON` if an earlier release was restored; otherwise None.
    """

    time: str
    commit: str
    image: str
    model: str
    who: str
    note: str | None = None

    @property
    def is_rollback(self) -> bool:
        """Whether this line restored an earlier release."""
        return (self.note or "").startswith(ROLLBACK)

    @property
    def reason(self) -> str | None:
        """The note without `rollback: `."""
        return (self.note or "").removeprefix(ROLLBACK).removeprefix(": ") or None

    def lock(self, store: str) -> Lock:
        """Return the `model.lock` of this release."""
        name, version, digest = MODEL.fullmatch(self.model).groups()  # type: ignore[union-attr]
        return Lock(name, int(version), digest, store)

    def repeats(self, last: "Release") -> bool:
        """Return whether this release adds nothing to a log that ends with `last`."""
        same = (self.commit, self.image, self.model) == (last.commit, last.image, last.model)
        return same and (last.is_rollback or not self.is_rollback)

    def to_line(self) -> str:
        """Return the line as JSON, with its line feed."""
        fields = {key: value for key, value in asdict(self).items() if value is not None}
        return json.dumps(fields, ensure_ascii=False) + "\n"


def parse(text: str) -> list[Release]:
    """Parse the text of the log.

    Raises:
        ReleaseError: a line is not a release; the message has the line number.
    """
    *lines, rest = text.split("\n")
    if rest:
        raise ReleaseError(f"{LOG_FILE}: the last line is incomplete: {rest[:80]!r}")
    return [_parse_line(number, line) for number, line in enumerate(lines, start=1)]


def default_target(releases: Sequence[Release], running: Collection[str] = ()) -> Release:
    """Return the release that a rollback restores if the user names none.

    Normally this is the release before the last one. After a rollback it is the last line, which is what that
    rollback restored, so that a second call does not go back twice. It is also the last line if a pod runs an
    image that was never released.

    Args:
        running: digests of the images that the pods run.

    Raises:
        ReleaseError: the log has no earlier release.
    """
    known = {release.image.rpartition("@")[2] for release in releases}
    if releases and (releases[-1].is_rollback or not known.issuperset(running)):
        return releases[-1]
    for release in reversed(releases):
        if release.image != releases[-1].image:
            return release
    raise ReleaseError(f"{LOG_FILE} has no release before the current one: nothing to roll back to")


def find(releases: Sequence[Release], text: str) -> Release:
    """Return the last release that `text` identifies by commit, image, model or model version.

    Commits and digests can be abbreviated to seven digits or more.

    Raises:
        ReleaseError: no release matches.
    """
    for release in reversed(releases):
        if _matches(text, release):
            return release
    last = [f"{each.model.partition('@')[0]} of {each.time}" for each in reversed(releases[-3:])]
    raise ReleaseError(
        f"{LOG_FILE} has no release {text}: expected a commit, an image's digest, or NAME/VERSION; its last "
        f"ones are {', '.join(last) or 'none'}"
    )


def _matches(text: str, release: Release) -> bool:
    model, _, _ = release.model.partition("@")
    if text in (release.image, release.model, model, model.partition("/")[2]):
        return True
    if re.fullmatch("[0-9a-f]{7,40}", text):
        return release.commit.startswith(text)
    if re.fullmatch("sha256:[0-9a-f]{7,64}", text):
        return any(each.partition("@")[2].startswith(text) for each in (release.image, release.model))
    return False


def _parse_line(number: int, line: str) -> Release:
    try:
        document: Any = json.loads(line)
    except (ValueError, RecursionError) as exc:
        raise ReleaseError(f"{LOG_FILE}: line {number} is not JSON: {line[:80]!r}") from exc
    fields = document if isinstance(document, dict) else {}
    if not fields.keys() <= FIELDS.keys() or not fields.keys() >= FIELDS.keys() - {"note"}:
        raise ReleaseError(f"{LOG_FILE}: line {number} is not a release: {line[:80]!r}")
    for key, value in fields.items():
        if not isinstance(value, str) or not re.fullmatch(FIELDS[key], value):
            raise ReleaseError(f"{LOG_FILE}: line {number}: invalid {key}: {value!r}")
    return Release(**fields)
