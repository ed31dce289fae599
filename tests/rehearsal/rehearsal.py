"""What the scenarios are made of: commits, models, runs, and what clients saw meanwhile."""

import json
import os
import re
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.rehearsal.client import Client, Reply
from tests.rehearsal.errors import RehearsalError
from tests.rehearsal.models import bodies, draft
from tests.rehearsal.parts import ROOT, Parts
from tests.rehearsal.pipeline import Pipeline
from tests.rehearsal.runner import Run
from tests.rehearsal.tasks import tasks

SAMPLE = ROOT / "model_store/wine/2"
IDENTITY = {
    "GIT_AUTHOR_NAME": "rehearsal",
    "GIT_AUTHOR_EMAIL": "rehearsal@example.com",
    "GIT_COMMITTER_NAME": "rehearsal",
    "GIT_COMMITTER_EMAIL": "rehearsal@example.com",
}
# What the pipeline's variables are here; windows are short, and the tests are those that need no other part.
WATCH, WINDOW = "14s", "12s"
# The plugins are those that take longest to load.
TESTS = "tests/model_loader/registry/test_metrics_gate.py -p no:schemathesis -p no:hypothesispytest"
# What a few seconds can tell: of a hundred requests, one that a busy machine delays is the 99th percentile;
# the outputs of very few may by chance be unlike stable's.
THRESHOLDS = (("requests", "min", 30), ("p99_seconds", "max_rise", 0.25))


def say(text: str) -> None:
    """Prints a line at once."""
    print(text, flush=True)


@dataclass
class Rehearsal:
    """One rehearsal, from an empty cluster on."""

    parts: Parts
    pipeline: Pipeline
    client: Client
    runs: list[Run] = field(default_factory=list)

    @property
    def clone(self) -> Path:
        """The work tree of whoever commits."""
        return self.parts.directory / "clone"

    def begin(self) -> None:
        """Makes the origin of what is in our work tree, the keys, and the first model in the store."""
        files = _git(ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard").split("\0")
        for name in filter(None, files):
            if (ROOT / name).exists():
                (self.clone / name).parent.mkdir(parents=True, exist_ok=True)
                (self.clone / name).write_bytes((ROOT / name).read_bytes())
                (self.clone / name).chmod((ROOT / name).stat().st_mode)
        for name in ("model", "stranger"):
            key = self._key(name)
            _run("openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", str(key))
        _run(
            "openssl", "ec", "-in", str(self._key("model")), "-pubout", "-out", str(self.clone / "model.pub")
        )
        path = self.clone / "monitoring/canary.toml"
        text = path.read_text()
        for table, rule, value in THRESHOLDS:
            text, count = re.subn(rf"(?s)(\[{table}\].*?\n{rule} = )[0-9.]+", rf"\g<1>{value}", text, count=1)
            if not count:
                raise RehearsalError(f"monitoring/canary.toml has no {rule} of {table} any more")
        path.write_text(text)
        _git(self.clone, "init", "--quiet", "--initial-branch=main")
        _git(self.clone, "remote", "add", "origin", str(self.parts.origin))
        _run("git", "init", "--quiet", "--bare", "--initial-branch=main", str(self.parts.origin))
        self.commit("Begin")
        self.publish("the first")

    def commit(self, message: str) -> str:
        """Commits and pushes all that changed in the clone, and gives the commit."""
        _git(self.clone, "add", "--all")
        _git(self.clone, "commit", "--quiet", "--message", message)
        _git(self.clone, "push", "--quiet", "origin", "HEAD:main")
        return self.head()

    def pull(self) -> None:
        """Takes what pipelines have pushed."""
        _git(self.clone, "pull", "--quiet", "--ff-only", "origin", "main")

    def head(self) -> str:
        """The origin's latest commit."""
        return _git(self.parts.origin, "rev-parse", "main").strip()

    def publish(
        self, reason: str, change: str = "", metrics: Mapping[str, float] | None = None, key: str = "model"
    ) -> str:
        """Publishes a model, signed, and gives it as `wine/N`."""
        directory = self.parts.directory / "draft"
        # Otherwise it would be the one before, by another number.
        draft(SAMPLE, directory, change, {"log_loss": 0.08 - len(self.runs) / 1000} | dict(metrics or {}))
        printed = _run(
            *(str(ROOT / ".venv/bin/python"), "-m", "model_loader", "publish", str(directory), "--json"),
            *("--store", self.parts.store, "--sign-key", str(self._key(key)), "--reason", reason),
        )
        document = json.loads(printed)
        return f"{document['name']}/{document['version']}"

    def run(self, reason: str) -> Run:
        """Runs the pipeline on the origin's latest commit.

        Args:
            reason: Build.Reason: `IndividualCI`, `ResourceTrigger` or `Schedule`.
        """
        directory = self.parts.directory / f"run{len(self.runs) + 1}"
        directory.mkdir()
        variables = {
            **self.pipeline.variables,
            "Build.Reason": reason,
            "Build.BuildId": str(len(self.runs) + 1),
            "Build.SourceBranch": "refs/heads/main",
            "Build.SourceBranchName": "main",
            "Build.SourceVersion": self.head(),
            "Build.RequestedFor": "rehearsal",
            "modelStore": self.parts.store,
            "registry": self.parts.registry,
            "prometheus": self.parts.prometheus,
            "watch": WATCH,
            "watchWindow": WINDOW,
            "testArguments": TESTS,
        }
        say(f"  run {len(self.runs) + 1} of commit {self.head()[:7]}, by {reason}")
        run = Run(
            pipeline=self.pipeline,
            tasks=tasks(self.parts.cluster),
            origin=self.parts.origin,
            directory=directory,
            warm={".venv": ROOT / ".venv"},
            variables=variables,
            env=self.parts.env,
            say=say,
        )
        self.runs.append(run)
        run.start()
        if not run.succeeded:
            say(f"  failed: {'; '.join(run.failures)}")
        return run

    def script(self, *command: str) -> str:
        """Runs a script of the project as a person would, in the clone with the parts at hand."""
        self.pull()
        if not (self.clone / ".venv").exists():
            (self.clone / ".venv").symlink_to(ROOT / ".venv")
            (self.clone / ".git/info/exclude").write_text(".venv\n")
        env = os.environ | self.parts.env | IDENTITY | {"MODEL_STORE": self.parts.store}
        done = subprocess.run(command, cwd=self.clone, env=env, check=False, capture_output=True, text=True)
        if done.returncode:
            raise AssertionError(
                f"{' '.join(command)}: exit code {done.returncode}: {done.stdout}{done.stderr}"
            )
        return done.stdout

    def lock(self) -> str:
        """The model that the origin locks, as `wine/N`."""
        document = json.loads(_git(self.parts.origin, "show", "main:model.lock"))
        return f"{document['name']}/{document['version']}"

    def images(self) -> dict[str, set[str]]:
        """Track → the images that its production pods carry."""
        images: dict[str, set[str]] = {}
        for pod in self.parts.cluster.pods("scorebox-production"):
            track = pod["metadata"]["labels"]["azure-pipelines/version"]
            images.setdefault(track, set()).add(pod["spec"]["containers"][0]["image"])
        return images

    def failed(self, replies: list[Reply]) -> list[Reply]:
        """Those that were not answered with 200."""
        return [reply for reply in replies if reply.status != 200]

    def by_track(self, replies: list[Reply], track: str) -> list[Reply]:
        """Those that a track's pods answered."""
        tracks = self.parts.cluster.tracks()
        return [reply for reply in replies if tracks.get(reply.pod) == track]

    def settle(self) -> None:
        """Waits until the requests that are under way have ended."""
        time.sleep(1)

    def _key(self, name: str) -> Path:
        return self.parts.directory / f"{name}.key"


def client(parts: Parts) -> Client:
    """The client of the whole rehearsal."""
    return Client(parts.service, bodies(SAMPLE))


def _git(directory: Path, *args: str) -> str:
    return _run("git", "-C", str(directory), *args)


def _run(*command: str) -> str:
    done = subprocess.run(command, env=os.environ | IDENTITY, check=False, capture_output=True, text=True)
    if done.returncode:
        raise RehearsalError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout
