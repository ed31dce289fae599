"""Replay a package's samples to canary and control pods when too few requests come."""

import http.client
import json
import math
import os
import random
import time
import urllib.error
import urllib.request
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import cycle, islice, pairwise
from pathlib import Path
from typing import Any

from model_loader.errors import PackageError
from model_loader.package.baseline import MISSING, OUTSIDE, Distribution, parse_baseline
from model_loader.package.json_file import read_json
from model_loader.package.manifest_fields import BASELINE_FILE, SAMPLES_FILE
from model_loader.package.samples import Sample, parse_samples
from release.canary_checks import REJECT, REPLAYED
from release.canary_gate import CanaryGate
from release.errors import NotEnoughData, ReleaseError
from release.kubernetes import forward_port, read_pods
from release.pod_counters import Look, TrackCounts
from release.promql import CANARY, CONTROL

TIMEOUT_S = 30
# However slow the pods are, the replay ends.
MAX_REPLAY_S = 300
REQUESTS_PER_LOOK = 25
SHED_STATUSES = (429, 503, 504)
# Upper edges in seconds, each 1.5 times the one before.
EDGES = tuple(0.001 * 1.5**power for power in range(26))
MISSING_VALUES = (None, "NaN")


@dataclass
class _Track:
    """The pods of one track, and what they answered since the last look."""

    urls: Iterator[str]
    statuses: Counter[int] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    outputs: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))

    def take(self) -> TrackCounts:
        """Return what was answered since the last call."""
        statuses = self.statuses
        shed = sum(statuses[status] for status in SHED_STATUSES)
        edges = (*EDGES, math.inf)
        counts = TrackCounts(
            requests=statuses.total(),
            answered=statuses[200],
            errors=sum(statuses[status] for status in statuses if status >= 500) - shed + statuses[429],
            shed=shed,
            durations={REPLAYED: {edge: sum(each <= edge for each in self.seconds) for edge in edges}},
            outputs={name: dict(bins) for name, bins in self.outputs.items()},
        )
        self.statuses, self.seconds, self.outputs = Counter(), [], defaultdict(Counter)
        return counts


def replay(gate: CanaryGate, namespace: str, path: Path) -> None:
    """Replay samples to one canary and one control pod after the other, until the gate has enough requests.

    Each sample's outputs are counted once, however often it is sent: repeating a request says nothing new
    about its outputs.

    Args:
        path: a package, or its `samples.json`.

    Raises:
        NotEnoughData: there are no samples, or no pods that answer them; the message says which.
    """
    try:
        samples, distributions = _read(path)
        with ExitStack() as stack:
            tracks = {name: _Track(cycle(_forward(stack, namespace, name))) for name in (CANARY, CONTROL)}
            _send_all(gate, tracks, samples, distributions)
    except (ReleaseError, PackageError) as exc:
        raise NotEnoughData(f"too few requests, and samples cannot be replayed: {exc}") from exc


def _send_all(
    gate: CanaryGate,
    tracks: Mapping[str, _Track],
    samples: Sequence[Sample],
    distributions: Sequence[Distribution],
) -> None:
    end = time.monotonic() + MAX_REPLAY_S
    for index, sample in islice(enumerate(cycle(samples)), gate.missing_requests):
        # In a random order, so that neither track always finds the machine as the other left it.
        for track in random.sample(list(tracks.values()), len(tracks)):
            outputs = _send(next(track.urls), sample, track)
            if index < len(samples):
                for each in distributions:
                    track.outputs[each.name].update(
                        bin_of(each, value) for value in _values(outputs, each.name)
                    )
        if (index + 1) % REQUESTS_PER_LOOK == 0:
            _observe(gate, tracks)
            if gate.result == REJECT:
                return
        if time.monotonic() > end:
            _observe(gate, tracks)
            raise NotEnoughData(f"the pods answered only {index + 1} of them within {MAX_REPLAY_S} s")
    _observe(gate, tracks)


def _observe(gate: CanaryGate, tracks: Mapping[str, _Track]) -> None:
    gate.observe(Look(tracks[CANARY].take(), tracks[CONTROL].take(), is_replayed=True))


def _read(path: Path) -> tuple[Sequence[Sample], Sequence[Distribution]]:
    """Return the samples, and the distributions of the outputs if there is a baseline beside them."""
    file = path / SAMPLES_FILE if path.is_dir() else path
    try:
        samples = parse_samples(file.read_bytes(), str(file))
    except OSError as exc:
        raise NotEnoughData(f"{file} cannot be read: {exc.strerror}") from exc
    if not samples:
        raise NotEnoughData(f"{file} has no samples")
    if not path.is_dir() or not (path / BASELINE_FILE).exists():
        return samples, ()
    document = read_json(path / BASELINE_FILE)
    names = [document.get(kind, {}) if isinstance(document, dict) else {} for kind in ("features", "outputs")]
    return samples, parse_baseline(document, *(set(each) for each in names)).outputs


def _forward(stack: ExitStack, namespace: str, track: str) -> list[str]:
    """Forward ports to the ready pods of a track, and return the URLs."""
    pods = [pod for pod in read_pods(namespace) if pod.track == track and pod.ready]
    if not pods:
        raise NotEnoughData(f"no {track} pod is ready in {namespace}")
    return [stack.enter_context(forward_port(namespace, pod)) for pod in pods]


def _send(url: str, sample: Sample, track: _Track) -> Mapping[str, Any]:
    """Send a sample, count status and duration, and return the outputs.

    Raises:
        NotEnoughData: the pod does not answer, or rejects the request, which says nothing about the release.
    """
    body = json.dumps({"inputs": sample.inputs}).encode()
    key = {"x-api-key": os.environ["API_KEY"]} if os.environ.get("API_KEY") else {}
    request = urllib.request.Request(  # noqa: S310 (the URL is a forwarded port)
        f"{url}/score", body, {"content-type": "application/json", **key}
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    start = time.monotonic()
    try:
        with opener.open(request, timeout=TIMEOUT_S) as response:
            status, content = response.status, response.read()
    except urllib.error.HTTPError as exc:
        with exc:
            status, content = exc.code, exc.read()
    except (OSError, http.client.HTTPException) as exc:
        raise NotEnoughData(f"a pod does not answer a sample: {exc!r}") from exc
    if 400 <= status < 500 and status not in SHED_STATUSES:
        raise NotEnoughData(f"a pod answered a sample with {status}: {content[:200]!r}")
    track.statuses[status] += 1
    track.seconds.append(time.monotonic() - start)
    try:
        return dict(json.loads(content)["outputs"]) if status == 200 else {}
    except (ValueError, KeyError, TypeError) as exc:
        raise NotEnoughData(f"a pod answered a sample without outputs: {content[:200]!r}") from exc


def _values(outputs: Mapping[str, Any], name: str) -> Iterator[Any]:
    """Yield the single values of an output: of nested lists, and of maps as classifiers return them."""
    pending = [outputs[name]] if name in outputs else []
    while pending:
        match pending.pop():
            case list(values):
                pending += values
            case dict(members):
                pending += members.values()
            case value:
                yield value


def bin_of(distribution: Distribution, value: Any) -> str:
    """Return the name of the bin into which a value of a response falls."""
    bins = distribution.bins
    if value in MISSING_VALUES:
        return MISSING
    if not distribution.edges:
        text = str(value).lower() if isinstance(value, bool) else str(value)
        return text if text in bins[:-2] else OUTSIDE
    try:
        number = float(value)
    except (TypeError, ValueError):
        return OUTSIDE
    for name, (low, high) in zip(bins, pairwise(distribution.edges), strict=False):
        if low <= number < high or number == high == distribution.edges[-1]:
            return name
    return OUTSIDE
