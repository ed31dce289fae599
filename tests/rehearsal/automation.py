"""What Azure does without anybody: a webhook starts the training pipeline, a new model starts a release."""

import re
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType

from model_loader.registry.versions import version_numbers
from model_loader.store import open_store
from tests.rehearsal.events import Payload
from tests.rehearsal.parts import ROOT
from tests.rehearsal.pipeline import read_pipeline
from tests.rehearsal.rehearsal import Rehearsal
from tests.rehearsal.runner import Run
from tests.rehearsal.timeline import Timeline

NAME = "wine"
MAX_TRAININGS = 2  # agents
# `  Title (kind): outcome, 1.2 s`, as runner.py reports a step.
STEP = re.compile(r"\s+(?P<title>.+) \([\w@/.-]+\): (?P<outcome>.+), [\d.]+ s")
# Steps that need no line of their own.
QUIET = re.compile(r"Check out|Install|Log in|Download|Fetch|Render|Pass on|Verify|Compare ledger")


class Automation:
    """A context manager during which events start pipelines.

    Attributes:
        trainings: runs of the training pipeline that have ended.
        releases: runs of the release pipeline that have ended.
    """

    def __init__(self, rehearsal: Rehearsal, timeline: Timeline, *, listens: bool = True) -> None:
        """Create it for a rehearsal.

        Args:
            timeline: gets the steps of its runs.
            listens: whether alerts start the training pipeline.
        """
        self.trainings: list[Run] = []
        self.releases: list[Run] = []
        self._rehearsal = rehearsal
        self._timeline, self._listens = timeline, listens
        self._training = read_pipeline(ROOT / "azure-pipelines-train.yml")
        self._agents = ThreadPoolExecutor(MAX_TRAININGS)
        self._production = ThreadPoolExecutor(1)
        self._started: list[Future[None]] = []
        self._latest = self._latest_version()

    def __enter__(self) -> "Automation":
        """Begin to listen."""
        self._rehearsal.events.on_alert = self._alerted if self._listens else None
        self._rehearsal.events.on_notice = lambda text: self._timeline.add(f'people are told: "{text}"')
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop listening, and wait for the runs that have begun."""
        self._rehearsal.events.on_alert = None
        self._agents.shutdown()
        self._production.shutdown()
        self._rehearsal.events.on_notice = None
        if exc is None:
            self.check()

    @property
    def granted(self) -> list[Run]:
        """The trainings that were granted."""
        return [run for run in self.trainings if "train=true" in run.log.read_text().splitlines()]

    def check(self) -> None:
        """Raise the exception of a run that ended with one."""
        for each in list(self._started):
            if each.done():
                each.result()

    def has_released(self) -> bool:
        """Return whether a release has ended, well or not."""
        self.check()
        return bool(self.releases)

    def start_training(self, reason: str) -> None:
        """Start the training pipeline, by a reason that is a value of Build.Reason."""
        self._started.append(self._agents.submit(self._train, reason))

    def _alerted(self, payload: Payload) -> None:
        names = sorted({alert["labels"]["alertname"] for alert in payload["alerts"]})
        self._timeline.add(f"Alertmanager calls the webhook: {', '.join(names)}")
        self.start_training("ResourceTrigger")

    def _train(self, reason: str) -> None:
        run = self._rehearsal.run(reason, pipeline=self._training, progress=self._progress("training"))
        self.trainings.append(run)
        version = self._latest_version()
        if version > self._latest:
            self._latest = version
            self._timeline.add(f"published: {NAME}/{version}; the store's event starts a release")
            self._started.append(self._production.submit(self._release))

    def _release(self) -> None:
        self.releases.append(self._rehearsal.run("ResourceTrigger", progress=self._progress("release")))

    def _progress(self, what: str) -> Callable[[str], None]:
        def add(line: str) -> None:
            if "failed: " in line:
                self._timeline.add(f"{what}: {line.strip()}")
            elif (step := STEP.fullmatch(line)) and not QUIET.match(step["title"]):
                self._timeline.add(f"{what}: {step['title']}: {step['outcome']}")

        return add

    def _latest_version(self) -> int:
        return max(version_numbers(open_store(self._rehearsal.parts.store), NAME))
