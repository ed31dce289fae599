"""Operations that the scenarios use: commit, publish a model, run the pipeline, inspect the cluster."""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Lock

from tests.rehearsal.client import Client, Response
from tests.rehearsal.clone import IDENTITY, create_clone, git, run_command
from tests.rehearsal.cluster.kinds import Document
from tests.rehearsal.cluster.pods import TRACK
from tests.rehearsal.events import Events
from tests.rehearsal.github import read_workflow
from tests.rehearsal.models import request_bodies, write_draft
from tests.rehearsal.parts import ROOT, Parts
from tests.rehearsal.pipeline import Pipeline
from tests.rehearsal.runner import SUCCEEDED, Run
from tests.rehearsal.tasks import tasks
from tests.rehearsal.variables import run_variables
from tests.rehearsal.world import World

SAMPLE = ROOT / "model_store/wine/2"
TEST, PRODUCTION, NAMESPACE = "Test", "Production", "demo-production"
LOAD = 10  # pods that the load needs: as many as the production overlay has
# Values of the pipeline's variables: short watches, and one test module that needs no external service.
WATCH = "14s"
# The two disabled plugins take the longest to load.
TESTS = "tests/app/test_settings.py -p no:schemathesis -p no:hypothesispytest"


def report(text: str) -> None:
    """Print a line without buffering."""
    print(text, flush=True)


@dataclass
class Rehearsal:
    """One rehearsal, starting from an empty cluster."""

    parts: Parts
    pipeline: Pipeline
    client: Client
    world: World
    events: Events
    runs: list[Run] = field(default_factory=list)
    prepared: Run | None = None  # a run with a release that is not in production
    captures: bool = False  # whether production captures what it answers
    _lock: Lock = field(default_factory=Lock)

    @property
    def clone(self) -> Path:
        """The work tree in which commits are made."""
        return self.parts.directory / "clone"

    @property
    def workflow(self) -> Pipeline:
        """GitHub's workflow, which can run in place of the pipeline."""
        return read_workflow(ROOT / ".github/workflows/release.yml")

    def begin(self) -> None:
        """Create the origin from this work tree, the signing keys, and the first model in the store."""
        create_clone(self.clone, self.parts.origin, self._key("model"), self._key("unknown"))
        self.commit("Begin")
        self.publish("the first")
        self.parts.cluster.set_load(LOAD)

    def commit(self, message: str) -> str:
        """Commit and push all changes in the clone; return the commit id."""
        git(self.clone, "add", "--all")
        git(self.clone, "commit", "--quiet", "--message", message)
        git(self.clone, "push", "--quiet", "origin", "HEAD:main")
        return self.head()

    def change_service(self) -> None:
        """Commit a change that releases a new image."""
        self.pull()
        path = self.clone / "app/routes/static/docs.js"
        path.write_text(path.read_text() + "// rehearsed\n")
        self.commit("Change the service")

    def pull(self) -> None:
        """Pull what pipeline runs have pushed."""
        git(self.clone, "pull", "--quiet", "--ff-only", "origin", "main")

    def head(self) -> str:
        """Return the id of the origin's latest commit."""
        return git(self.parts.origin, "rev-parse", "main").strip()

    def publish(
        self, reason: str, change: str = "", metrics: Mapping[str, float] | None = None, key: str = "model"
    ) -> str:
        """Sign and publish a model; return it as `wine/N`."""
        directory = self.parts.directory / "draft"
        # A different metric in each version; otherwise two versions would have the same content.
        write_draft(
            SAMPLE, directory, change, {"log_loss": 0.08 - len(self.runs) / 1000} | dict(metrics or {})
        )
        printed = run_command(
            *(str(ROOT / ".venv/bin/python"), "-m", "model_loader", "publish", str(directory), "--json"),
            *("--store", self.parts.store, "--sign-key", str(self._key(key)), "--reason", reason),
        )
        document = json.loads(printed)
        return f"{document['name']}/{document['version']}"

    def run(
        self,
        reason: str,
        pipeline: Pipeline | None = None,
        until: str = "",
        progress: Callable[[str], None] = report,
    ) -> Run:
        """Run a pipeline on the origin's latest commit.

        Args:
            reason: value of Build.Reason: `IndividualCI`, `ResourceTrigger` or `Schedule`.
            pipeline: default: the rehearsal's.
            until: stage that does not run, nor those after it, as if it waited for its approval.
            progress: called with each line of progress.
        """
        pipeline = pipeline or self.pipeline
        names = [stage.name for stage in pipeline.stages]
        if until:
            pipeline = replace(pipeline, stages=pipeline.stages[: names.index(until)])
        run = self._new_run(pipeline, reason, self.head(), progress=progress)
        progress(f"  {run.directory.name} of commit {self.head()[:7]}, by {reason}")
        # A new model changes no code, so its runs do not repeat the tests.
        if reason != "IndividualCI" and any(
            each.pipeline.system == pipeline.system and each.results.get(TEST) == SUCCEEDED
            for each in self.runs
        ):
            run.passed = (TEST,)
        return self._start(run)

    def run_production(
        self,
        given: Run,
        interrupt: Callable[[str, str], str] | None = None,
        reached: Callable[[], bool] | None = None,
        watch: str = WATCH,
    ) -> Run:
        """Run only the stage Production, with the release of an earlier run, as if it was approved now.

        Args:
            given: the earlier run.
            interrupt: called with stage and title of each step; returns `cancel`, `lose` or an empty string.
            reached: a step that is interrupted runs until this is true; default: for a second.
            watch: how long the canary is watched.
        """
        run = self._new_run(self.pipeline, "IndividualCI", self.commit_of(given), watch)
        report(f"  {run.directory.name}, production only, with the release of {given.directory.name}")
        run.start_at, run.given, run.interrupt, run.reached = PRODUCTION, given, interrupt, reached
        return self._start(run)

    def commit_of(self, run: Run) -> str:
        """Return the commit that a run checks out."""
        return run.variables[run.pipeline.commit_variable]

    def _new_run(
        self,
        pipeline: Pipeline,
        reason: str,
        commit: str,
        watch: str = WATCH,
        progress: Callable[[str], None] = report,
    ) -> Run:
        settings = {
            "modelStore": self.parts.store,
            "captureStore": self.parts.captured if self.captures else "",
            "prometheus": self.parts.prometheus,
            "alertsPrometheus": self.parts.prometheus,
            "notifyUrl": self.events.notify_url,
            "watch": watch,
            "testArguments": TESTS,
        }
        with self._lock:  # several runs can begin at once
            number = len(self.runs) + 1
            directory = self.parts.directory / f"run{number}"
            directory.mkdir()
            run = Run(
                pipeline=pipeline,
                tasks=tasks(),
                origin=self.parts.origin,
                directory=directory,
                preinstalled={
                    name: ROOT / name for name in (".venv", ".mypy_cache") if (ROOT / name).exists()
                },
                variables=run_variables(pipeline, reason, number, commit, settings),
                env=self.parts.env,
                report=progress,
            )
            self.runs.append(run)
        return run

    def _start(self, run: Run) -> Run:
        run.start()
        if not run.succeeded:
            run.report(f"  failed: {'; '.join(run.failures)}")
        return run

    def script(self, *command: str, codes: Collection[int] = (0,)) -> str:
        """Run a script in the clone, against the rehearsal's services; return what it prints.

        Args:
            codes: the expected exit codes.
        """
        self.pull()
        if not (self.clone / ".venv").exists():
            (self.clone / ".venv").symlink_to(ROOT / ".venv")
            (self.clone / ".git/info/exclude").write_text(".venv\n")
        stores = {"MODEL_STORE": self.parts.store, "CAPTURE_STORE": self.parts.captured}
        person = stores | {"REHEARSAL_IDENTITY": ""}
        env = os.environ | self.parts.env | IDENTITY | person
        done = subprocess.run(command, cwd=self.clone, env=env, check=False, capture_output=True, text=True)
        if done.returncode not in codes:
            raise AssertionError(
                f"{' '.join(command)}: exit code {done.returncode}: {done.stdout}{done.stderr}"
            )
        return done.stdout

    def lock(self) -> str:
        """Return the model in the origin's `model.lock`, as `wine/N`."""
        document = json.loads(git(self.parts.origin, "show", "main:model.lock"))
        return f"{document['name']}/{document['version']}"

    def images(self) -> dict[str, set[str]]:
        """Return track → images of its production pods."""
        images: dict[str, set[str]] = {}
        for pod in self._scoring_pods():
            track = pod["metadata"]["labels"][TRACK]
            images.setdefault(track, set()).add(pod["spec"]["containers"][0]["image"])
        return images

    def count_pods(self, track: str) -> int:
        """Return the number of a track's pods in production."""
        return sum(pod["metadata"]["labels"][TRACK] == track for pod in self._scoring_pods())

    def _scoring_pods(self) -> list[Document]:
        """Return the service's pods in production, without the monitor's."""
        return [pod for pod in self.parts.cluster.pods(NAMESPACE) if TRACK in pod["metadata"]["labels"]]

    def replicas(self) -> int:
        """Return the number of stable pods that production should have."""
        return int(self._production("Deployment")["spec"]["replicas"])

    def scale_down_policy(self) -> str:
        """Return the policy by which production's autoscaler removes pods; `Disabled` if it is held."""
        spec = self._production("HorizontalPodAutoscaler")["spec"]
        return str(spec["behavior"]["scaleDown"]["selectPolicy"])

    def fail_downloads(self, run: Run) -> None:
        """Let everything fail from now on that an agent of a run downloads, except for the checkout."""
        shutil.rmtree(run.artifacts, ignore_errors=True)
        self.parts.downloads_fail.touch()

    def restore_downloads(self) -> None:
        """Let downloads succeed again."""
        self.parts.downloads_fail.unlink(missing_ok=True)

    def _production(self, kind: str) -> Document:
        found = self.parts.cluster.get(NAMESPACE, kind, "demo")
        assert found is not None, f"{NAMESPACE} has no {kind}"
        return found

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
