"""A clone with everything that lineage follows: a model trained on a snapshot, signed and released."""

import hashlib
import json
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from model_loader.registry.stages import promote
from model_loader.store import open_store
from tests.model_loader.drafts import publish, write_draft
from tests.model_loader.registry.test_package_signing import write_key
from tests.monitor.spool_writer import feedback, prediction, write_segment

ROOT = Path(__file__).parents[2]
ID, OTHER_ID = "0123456789abcdef0123456789abcdef", "fedcba9876543210fedcba9876543210"
IDENTITY = ("-c", "user.name=tester", "-c", "user.email=tester@example.com")
SINCE, UNTIL = "2026-01-01T00:00:00Z", "2026-01-29T00:00:00Z"
# Nothing listens there: the registry is unavailable.
IMAGE = f"127.0.0.1:1/demo@sha256:{7:064x}"


@dataclass(frozen=True)
class Released:
    """The clone, and what was released from it.

    Attributes:
        path: of the clone, with the model store, the spool, the snapshots and the log.
        digest: of the model, `sha256:…`.
        image: `REPOSITORY@sha256:…`.
        commit: of the training and of the release.
        key: public key of the model's signature.
    """

    path: Path
    digest: str
    image: str
    commit: str
    key: Path

    @property
    def model(self) -> str:
        """`NAME/VERSION@sha256:…`."""
        return f"tiny/1@{self.digest}"

    def edit(self, path: str, old: str, new: str) -> None:
        """Replace a text in a file of the clone, as somebody who tampers with it does."""
        file = self.path / path
        text = file.read_text()
        assert old in text
        file.write_text(text.replace(old, new))

    def commit_all(self, message: str) -> str:
        """Commit every file of the clone, and return the commit."""
        git(self.path, "add", "--all")
        git(self.path, *IDENTITY, "commit", "--quiet", "--allow-empty", f"--message={message}")
        return git(self.path, "rev-parse", "HEAD")


def git(path: Path, *arguments: str) -> str:
    """Run git, and return its output."""
    return subprocess.check_output(["git", *arguments], cwd=path, text=True).strip()


def write_snapshot(directory: Path, rows: int = 20) -> dict[str, Any]:
    """Write a snapshot as `monitor snapshot` does, and return what a manifest has of it."""
    directory.mkdir(parents=True)
    files = {}
    for name in ("train.parquet", "test.parquet"):
        path = directory / name
        sql = f"SELECT 'id-' || range AS id, 0 AS row, range AS a, range % 2 AS label FROM range({rows})"
        duckdb.sql(f"COPY ({sql}) TO '{path}'")
        content = path.read_bytes()
        sha256 = hashlib.sha256(content).hexdigest()
        files[name] = {"sha256": sha256, "bytes": len(content), "rows": rows}
    document = {"schema": 1, "name": "tiny", "since": SINCE, "until": UNTIL, "files": files}
    text = json.dumps(document, indent=2).encode()
    (directory / "snapshot.json").write_bytes(text)
    digest = f"sha256:{hashlib.sha256(text).hexdigest()}"
    return {"digest": digest, "since": SINCE, "until": UNTIL, "rows": 2 * rows}


def release_model(path: Path, make_image: Callable[[str, str], str] = lambda *_: IMAGE) -> Released:
    """Train on a snapshot, publish and sign tiny/1, release it, answer two requests, and get a label.

    Args:
        path: an empty directory, which becomes the clone.
        make_image: returns an image of a model's digest and a commit.
    """
    git(path, "init", "--quiet", "--initial-branch=main")
    (path / ".gitignore").write_text("/captured/\n/model_store/\n/snapshots/\n/draft/\n/key.*\n/programs/\n")
    git(path, "add", "--all")
    git(path, *IDENTITY, "commit", "--quiet", "--message=seed")
    commit = git(path, "rev-parse", "HEAD")
    snapshot = write_snapshot(path / "snapshots/week-4")
    draft = write_draft(
        path / "draft",
        data={"name": "tiny", "rows": 40, "sha256": f"{1:064x}", "snapshots": [snapshot]},
        training={"commit": commit, "finished": "2026-01-29T03:00:00Z", "seed": 1},
    )
    store = open_store("file:model_store")
    published = publish(draft, store, sign_key=write_key(path / "key.pem"))
    for stage in ("staging", "production"):
        promote(store, "tiny", "1", stage)
    image = make_image(published.digest, commit)
    released = Released(path, published.digest, image, commit, path / "key.pub")
    line = {
        "time": "2026-01-30T00:00:00Z", "commit": commit, "image": image, "model": released.model,
        "who": "pipeline",
    }  # fmt: skip
    (path / "releases.jsonl").write_text(json.dumps(line) + "\n")
    released.commit_all("Release tiny/1 [skip ci]")
    answered: dict[str, Any] = {"name": "tiny", "version": 1, "digest": published.digest, "caller": "shop"}
    rows = [prediction(ID, row, **answered) for row in (0, 1)] + [prediction(OTHER_ID, **answered)]
    write_segment(path / "captured/spool", "prediction", rows, name="tiny")
    write_segment(path / "captured/spool", "feedback", [feedback(ID, 2, row=1)], name="tiny")
    return released
