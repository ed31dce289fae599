"""From the id of an answer to all that is behind it, on what a rehearsal has left; and a change is found."""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

from tests.rehearsal.rehearsal import Rehearsal
from tests.rehearsal.runner import Run

BROKEN, UNAVAILABLE = 1, 3
# Links that need neither a cluster nor a registry: each has to be found.
FOUND = ("prediction", "digest", "samples", "snapshots", "training", "signature", "release", "SBOM")


def check_lineage(rehearsal: Rehearsal, version: int, training: Run, release: Run) -> str:
    """Follow an answer of a version to the run that trained it, and the one that released it.

    Returns:
        what was found, as a sentence.

    Raises:
        AssertionError: a link is missing or broken, or a changed snapshot is not found.
    """
    query = f"SELECT id FROM predictions WHERE version = {version} AND status = 200 ORDER BY time LIMIT 1"
    id_ = json.loads(rehearsal.script(sys.executable, "-m", "monitor", "query", "--json", query))["id"]
    (snapshot,) = training.artifacts.glob("snapshot*")
    (bill,) = release.artifacts.glob("release*/sbom.cdx.json")
    found = _follow(rehearsal, id_, snapshot, bill, (0, UNAVAILABLE))
    assert not found["broken"], found
    states = {name: link["state"] for name, link in found["links"].items()}
    assert all(states[name] in ("verified", "stated") for name in FOUND), states

    changed = rehearsal.parts.directory / "changed-snapshot"
    shutil.copytree(snapshot, changed)
    rows = changed / "train.parquet"
    rows.write_bytes(rows.read_bytes()[:-1] + b"?")
    assert _follow(rehearsal, id_, changed, bill, (BROKEN,))["broken"] == ["snapshots"]
    verified = sum(state == "verified" for state in states.values())
    return f"lineage of {id_}: {verified} of {len(states)} links verified, {found['unavailable']} unavailable"


def _follow(rehearsal: Rehearsal, id_: str, snapshot: Path, bill: Path, codes: tuple[int, ...]) -> Any:
    command = ("scripts/lineage", id_, "--json", "--snapshots", str(snapshot), "--sbom", str(bill))
    return json.loads(rehearsal.script(*command, codes=codes))
