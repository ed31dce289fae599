"""What a version was trained on: the data that its manifest names, and frozen snapshots of production."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model_loader.package import digest_of, hash_file
from model_loader.snapshot_files import SNAPSHOT_FILE
from model_loader.text_tables import short
from monitor.lineage.links import Link, Problem, absent, checked, compare, unavailable
from monitor.lineage.published import Published

DEFAULT_DIRECTORY = Path("build")


@dataclass(frozen=True)
class Snapshot:
    """A directory with a snapshot.

    Attributes:
        digest: the sha256 of snapshot.json.
        document: its content; empty if it is not JSON.
    """

    directory: Path
    digest: str
    document: Mapping[str, Any]


def data_link(published: Published) -> Link:
    """Return the link of the data that the manifest names."""
    data = published.manifest.document.get("data")
    if not data:
        return absent("data", "the manifest has no field 'data'")
    facts = {key: value for key, value in data.items() if key != "snapshots"}
    texts = [f"{facts[key]} {unit}" for key, unit in (("rows", "rows"),) if key in facts]
    texts = [str(facts.get("name", "without a name")), *texts]
    if "sha256" in facts:
        texts.append(f"sha256 {str(facts['sha256'])[:12]}")
    return checked("data", ", ".join(texts), facts, state="stated")


def snapshots_link(published: Published, directory: Path | None) -> Link:
    """Return the link of the snapshots: each one's digest, and the sha256 of every file in it.

    Args:
        directory: has a directory for each snapshot, or is that of one; None: build/, where scripts/train
            leaves its own, if the manifest names that one.
    """
    data = published.manifest.document.get("data") or {}
    declared = [each if isinstance(each, dict) else {"digest": each} for each in data.get("snapshots") or ()]
    if not declared:
        return absent("snapshots", "trained without a snapshot of production")
    facts = {"snapshots": declared}
    text = ", ".join(_describe(each) for each in declared)
    if directory is not None and not directory.is_dir():
        return unavailable("snapshots", f"{directory} is not a directory", text, facts)
    given, directory = directory is not None, directory or DEFAULT_DIRECTORY
    found = read_snapshots(directory)
    if not given and not {each.get("digest") for each in declared} <= {each.digest for each in found}:
        return unavailable("snapshots", "give --snapshots DIR, the directory that has them", text, facts)
    problems = [problem for each in declared for problem in _check(each, found, directory)]
    return checked("snapshots", text, facts, problems)


def read_snapshots(directory: Path) -> list[Snapshot]:
    """Return the snapshots in a directory and below it, sorted by name."""
    found = []
    for path in sorted([*directory.glob(SNAPSHOT_FILE), *directory.glob(f"*/{SNAPSHOT_FILE}")]):
        content = path.read_bytes()
        try:
            document = json.loads(content)
        except ValueError:
            document = {}
        found.append(
            Snapshot(path.parent, digest_of(content), document if isinstance(document, dict) else {})
        )
    return found


def _check(declared: Mapping[str, Any], found: Sequence[Snapshot], directory: Path) -> list[Problem]:
    """Return what is wrong with a snapshot that the manifest names."""
    digest = declared.get("digest")
    for each in found:
        if each.digest == digest:
            return _check_files(each)
    # The snapshot of the same time, whose snapshot.json was edited, is more helpful than a list.
    same = [each for each in found if _times(each.document) == _times(declared)] or found
    others = ", ".join(f"{each.digest} in {each.directory.name}" for each in same) or "none"
    return [Problem(f"{directory}/*/{SNAPSHOT_FILE}", str(digest), others)]


def _check_files(snapshot: Snapshot) -> list[Problem]:
    problems: list[Problem] = []
    files = snapshot.document.get("files")
    if not files or not isinstance(files, dict) or not all(isinstance(each, dict) for each in files.values()):
        return [
            Problem(f"{snapshot.directory.name}/{SNAPSHOT_FILE}: files", "the sha256 of each", str(files))
        ]
    for name, entry in files.items():
        what, path = f"{snapshot.directory.name}/{name}", snapshot.directory / name
        if not path.is_file():
            problems.append(Problem(what, f"a file of sha256 {entry.get('sha256')}", "no such file"))
            continue
        problems += compare(what, f"sha256 {entry.get('sha256')}", f"sha256 {hash_file(path).sha256}")
    return problems


def _times(document: Mapping[str, Any]) -> tuple[Any, Any]:
    return document.get("since"), document.get("until")


def _describe(declared: Mapping[str, Any]) -> str:
    text = f"{short(str(declared.get('digest')))} of {declared.get('since')} to {declared.get('until')}"
    return f"{text}, {declared['rows']} rows" if "rows" in declared else text
