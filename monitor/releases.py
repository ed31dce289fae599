"""The lines of `releases.jsonl`, which `scripts/record` writes."""

import json
import re
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from monitor.errors import MonitorError

LOG_FILE = Path("releases.jsonl")
ROLLBACK = "rollback"
FIELDS = ("time", "commit", "image", "model", "who")


@dataclass(frozen=True)
class ReleaseLine:
    """One line of the log; see docs/operations.md, "Record a release".

    Attributes:
        number: of the line, from 1.
        image: `REPOSITORY@sha256:…`.
        model: `NAME/VERSION@sha256:…`.
    """

    number: int
    time: str
    commit: str
    image: str
    model: str
    who: str
    note: str | None = None

    @property
    def image_digest(self) -> str:
        """`sha256:…`."""
        return self.image.rpartition("@")[2]

    @property
    def model_version(self) -> str:
        """`NAME/VERSION`."""
        return self.model.partition("@")[0]

    @property
    def is_rollback(self) -> bool:
        """Whether the line restored an earlier release."""
        return (self.note or "").startswith(ROLLBACK)


def read_releases(path: Path) -> list[ReleaseLine]:
    """Read the releases, oldest first; a missing file has none.

    Raises:
        MonitorError: a line is not a release.
    """
    try:
        lines = path.read_text().splitlines()
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as exc:
        raise MonitorError(f"{path}: {exc}") from exc
    return [_release(path, number, line) for number, line in enumerate(lines, start=1)]


def find_releases(releases: list[ReleaseLine], text: str) -> list[ReleaseLine]:
    """Return the releases of a commit, an image or its digest; seven digits of a hash are enough."""
    if re.fullmatch("[0-9a-f]{7,40}", text):
        return [each for each in releases if each.commit.startswith(text)]
    if re.fullmatch("sha256:[0-9a-f]{7,64}", text):
        return [each for each in releases if each.image_digest.startswith(text)]
    return [each for each in releases if each.image == text]


def _release(path: Path, number: int, line: str) -> ReleaseLine:
    invalid = MonitorError(f"{path}: line {number} is not a release: {line[:80]!r}")
    try:
        document = json.loads(line)
        values = [document[name] for name in FIELDS]
    except (ValueError, LookupError, TypeError) as exc:
        raise invalid from exc
    note = document.get("note")
    if not all(isinstance(value, str) for value in (*values, note or "")):
        raise invalid
    time, commit, image, model, who = values
    if not re.fullmatch(r"[^/@]+/[1-9]\d*", model.partition("@")[0]):
        raise invalid
    try:
        datetime.fromisoformat(time)
    except ValueError as exc:
        raise invalid from exc
    return ReleaseLine(number, time, commit, image, model, who, note)
