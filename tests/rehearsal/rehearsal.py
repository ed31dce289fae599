"""Operations that the scenarios use: commit, publish a model, run the pipeline, inspect the cluster."""

import json
import os
import re
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.rehearsal.client import Client, Response
from tests.rehearsal.errors import RehearsalError
from tests.rehearsal.models import request_bodies, write_draft
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
# Values of the pipeline's variables: short windows, and one test module that needs no external service.
WATCH, WINDOW = "14s", "12s"
# The two disabled plugins take the longest to load.
TESTS = "tests/model_loader/registry/test_metrics_gate.py -p no:schemathesis -p no:hypothesispytest"
# Adapted to windows of a few seconds. With a hundred requests, a single one that a busy machine delays is the
# 99th percentile, and the outputs of very few requests can differ from stable's by chance.
THRESHOLDS = (("requests", "min", 30), ("p99_seconds", "max_rise", 0.25))


def report(text: str) -> None:
    """Print a line without buffering."""
    print(text, flush=True)


@dataclass
class Rehearsal:
    """One rehearsal, starting from an empty cluster."""

    parts: Parts
    pipeline: Pipeline
    client: Client
    runs: list[Run] = field(default_factory=list)

    @property
    def clone(self) -> Path:
        """The work tree in which commits are made."""
        return self.parts.directory / "clone"

    def begin(self) -> None:
        """Create the origin from this work tree, the signing keys, and the first model in the store."""
        files = _git(ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard").split("\0")
        for name in filter(None, files):
            if (ROOT / name).exists():
                (self.clone / name).parent.mkdir(parents=True, exist_ok=True)
                (self.clone / name).write_bytes((ROOT / name).read_bytes())
                (self.clone / name).chmod((ROOT / name).stat().st_mode)
        for name in ("model", "unknown"):
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
                raise RehearsalError(f"monitoring/canary.toml has no '{rule}' in [{table}]")
        path.write_text(text)
        _git(self.clone, "init", "--quiet", "--initial-branch=main")
        _git(self.clone, "remote", "add", "origin", str(self.parts.origin))
        _run("git", "init", "--quiet", "--bare", "--initial-branch=main", str(self.parts.origin))
        self.commit("Begin")
        self.publish("the first")

    def commit(self, message: str) -> str:
        """Commit and push all changes in the clone; return the commit id."""
        _git(self.clone, "add", "--all")
        _git(self.clone, "commit", "--quiet", "--message", message)
        _git(self.clone, "push", "--quiet", "origin", "HEAD:main")
        return self.head()

    def pull(self) -> None:
        """Pull what pipeline runs have pushed."""
        _git(self.clone, "pull", "--quiet", "--ff-only", "origin", "main")

    def head(self) -> str:
        """Return the id of the origin's latest commit."""
        return _git(self.parts.origin, "rev-parse", "main").strip()

    def publish(
        self, reason: str, change: str = "", metrics: Mapping[str, float] | None = None, key: str = "model"
    ) -> str:
        """Sign and publish a model; return it as `wine/N`."""
        directory = self.parts.directory / "draft"
        # A different metric in each version; otherwise two versions would have the same content.
        write_draft(
            SAMPLE, directory, change, {"log_loss": 0.08 - len(self.runs) / 1000} | dict(metrics or {})
        )
        printed = _run(
            *(str(ROOT / ".venv/bin/python"), "-m", "model_loader", "publish", str(directory), "--json"),
            *("--store", self.parts.store, "--sign-key", str(self._key(key)), "--reason", reason),
        )
        document = json.loads(printed)
        return f"{document['name']}/{document['version']}"

    def run(self, reason: str) -> Run:
        """Run the pipeline on the origin's latest commit.

        Args:
            reason: value of Build.Reason: `IndividualCI`, `ResourceTrigger` or `Schedule`.
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
        report(f"  run {len(self.runs) + 1} of commit {self.head()[:7]}, by {reason}")
        run = Run(
            pipeline=self.pipeline,
            tasks=tasks(self.parts.cluster),
            origin=self.parts.origin,
            directory=directory,
            preinstalled={".venv": ROOT / ".venv"},
            variables=variables,
            env=self.parts.env,
            report=report,
        )
        self.runs.append(run)
        run.start()
        if not run.succeeded:
            report(f"  failed: {'; '.join(run.failures)}")
        return run

    def script(self, *command: str) -> str:
        """Run a script in the clone, against the rehearsal's services; return what it prints."""
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
        """Return the model in the origin's `model.lock`, as `wine/N`."""
        document = json.loads(_git(self.parts.origin, "show", "main:model.lock"))
        return f"{document['name']}/{document['version']}"

    def images(self) -> dict[str, set[str]]:
        """Return track → images of its production pods."""
        images: dict[str, set[str]] = {}
        for pod in self.parts.cluster.pods("scorebox-production"):
            track = pod["metadata"]["labels"]["azure-pipelines/version"]
            images.setdefault(track, set()).add(pod["spec"]["containers"][0]["image"])
        return images

    def failed(self, responses: list[Response]) -> list[Response]:
        """Return the responses whose status is not 200."""
        return [response for response in responses if response.status != 200]

    def by_track(self, responses: list[Response], track: str) -> list[Response]:
        """Return the responses from a track's pods."""
        tracks = self.parts.cluster.tracks()
        return [response for response in responses if tracks.get(response.pod) == track]

    def wait_for_requests_in_flight(self) -> None:
        """Give the requests in flight time to finish."""
        time.sleep(1)

    def _key(self, name: str) -> Path:
        return self.parts.directory / f"{name}.key"


def client(parts: Parts) -> Client:
    """Return the client that sends requests during the whole rehearsal."""
    return Client(parts.service, request_bodies(SAMPLE))


def _git(directory: Path, *args: str) -> str:
    return _run("git", "-C", str(directory), *args)


def _run(*command: str) -> str:
    done = subprocess.run(command, env=os.environ | IDENTITY, check=False, capture_output=True, text=True)
    if done.returncode:
        raise RehearsalError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout
