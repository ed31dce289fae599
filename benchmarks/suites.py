"""The suites: what each one serves, and how it measures."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from statistics import median
from urllib.request import urlopen

from benchmarks.errors import BenchmarkError
from benchmarks.load import LoadResult, closed_loop
from benchmarks.open_loop import open_loop
from benchmarks.peer import CAPTURE_PATH, PARTS, PEERS, TURNS_PATH
from benchmarks.results import Document, capacity
from benchmarks.server import Server, Setup

WARM_S = 1
# Drift counts every value of a first burst and samples after it, so requests cost more during the burst.
OBSERVED_WARM_S = 5
# For the request to TURNS_PATH.
TURNS_TIMEOUT_S = 10
CONNECTIONS = (1, 8, 64)
BATCHING_CONNECTIONS = (1, 32)
# Enough that every worker receives requests.
CONNECTIONS_A_WORKER = 4
OBSERVED_CONNECTIONS = 8
CAPTURED_TURN_S = 1

Values = Mapping[str, float]
Measure = Callable[[Server, float, Document], Mapping[str, Values]]


@dataclass(frozen=True)
class Suite:
    """One measurement of several peers.

    Attributes:
        setups: label → what is served; each run starts a new server for it.
        measure: running server, seconds, results so far → cell → metric → value.
        peers: names of the peers; a peer that does not support a setup's format has an empty cell.
    """

    setups: Mapping[str, Setup]
    measure: Measure
    peers: tuple[str, ...] = tuple(name for name in PEERS if name not in PARTS)


def throughput(server: Server, seconds: float, _results: Document) -> Mapping[str, Values]:
    """Measure throughput and latency by number of connections."""
    closed_loop(server, max(CONNECTIONS), WARM_S)
    return {str(count): asdict(closed_loop(server, count, seconds)) for count in CONNECTIONS}


def at_fixed_rate(server: Server, seconds: float, results: Document) -> Mapping[str, Values]:
    """Measure latency at half of the peer's capacity, and at half of the slowest peer's.

    Raises:
        BenchmarkError: the results have no throughput of this peer.
    """
    capacities = capacity(results)
    if server.name not in capacities:
        raise BenchmarkError("unknown capacity: run `--only throughput` first, with the same --out")
    closed_loop(server, 1, WARM_S)
    rates = {"own": capacities[server.name] / 2, "same": min(capacities.values()) / 2}
    cells: dict[str, Values] = {}
    for cell, rate in rates.items():
        found = open_loop(server, rate, seconds)
        cells[cell] = {"rate": rate, "p50_ms": found.p50_ms, "p99_ms": found.p99_ms}
    return cells


def memory(server: Server, seconds: float, _results: Document) -> Mapping[str, Values]:
    """Measure the memory of all processes, after load on each."""
    for _ in range(2):
        closed_loop(server, CONNECTIONS_A_WORKER * server.workers, seconds)
    return {"": {"pss_mb": server.pss_mb()}}


def batching(server: Server, seconds: float, _results: Document) -> Mapping[str, Values]:
    """Measure throughput and latency of a model with much work."""
    closed_loop(server, max(BATCHING_CONNECTIONS), WARM_S)
    return {str(count): asdict(closed_loop(server, count, seconds)) for count in BATCHING_CONNECTIONS}


def large_request(server: Server, seconds: float, _results: Document) -> Mapping[str, Values]:
    """Measure large requests on one connection."""
    closed_loop(server, 1, WARM_S)
    return {"": asdict(closed_loop(server, 1, seconds))}


def overhead(server: Server, seconds: float, _results: Document) -> Mapping[str, Values]:
    """Measure latency on one connection, and the model's inference in a process on the same core."""
    closed_loop(server, 1, WARM_S)
    found = closed_loop(server, 1, seconds)
    return {"": {"whole_ms": found.p50_ms, "own_ms": server.in_process_ms()}}


def observed(server: Server, seconds: float, _results: Document) -> Mapping[str, Values]:
    """Compare throughput in the intervals with observability on and off."""
    closed_loop(server, OBSERVED_CONNECTIONS, OBSERVED_WARM_S)
    _turns(server)
    closed_loop(server, OBSERVED_CONNECTIONS, seconds)
    # The load starts during the first interval and ends during the last.
    turns = _turns(server)[1:-1]
    pairs = [dict(pair) for pair in zip(turns[::2], turns[1::2], strict=False)]
    if not pairs:
        raise BenchmarkError(
            f"{seconds} s are too short for one interval with observability on and one without"
        )
    rps_on, rps_off = (median(pair[is_on] for pair in pairs) for is_on in (True, False))
    share = median(pair[True] / pair[False] for pair in pairs)
    return {"on": {"rps": rps_on, "share": share}, "off": {"rps": rps_off}}


def _turns(server: Server) -> list[tuple[bool, float]]:
    url = f"http://127.0.0.1:{server.port}{TURNS_PATH}"
    with urlopen(url, timeout=TURNS_TIMEOUT_S) as response:
        return [(is_on, rps) for is_on, rps in json.load(response)]


def captured(server: Server, seconds: float, _results: Document) -> Mapping[str, Values]:
    """Compare throughput and latency with capture on and off, which alternate every second."""
    _switch_capture(server, "on")
    closed_loop(server, OBSERVED_CONNECTIONS, OBSERVED_WARM_S)
    found: dict[str, list[LoadResult]] = {"on": [], "off": []}
    for number in range(max(1, round(seconds))):
        for state in ("on", "off") if number % 2 else ("off", "on"):
            _switch_capture(server, state)
            found[state].append(closed_loop(server, OBSERVED_CONNECTIONS, CAPTURED_TURN_S))
    cells: dict[str, dict[str, float]] = {
        state: {"rps": median(each.rps for each in turns), "p99_ms": median(each.p99_ms for each in turns)}
        for state, turns in found.items()
    }
    pairs = [*zip(found["on"], found["off"], strict=True)]
    cells["on"]["share"] = median(on.rps / off.rps for on, off in pairs)
    cells["on"]["p99_share"] = median(on.p99_ms / off.p99_ms for on, off in pairs)
    return cells


def _switch_capture(server: Server, state: str) -> None:
    with urlopen(f"http://127.0.0.1:{server.port}{CAPTURE_PATH}?{state}", timeout=TURNS_TIMEOUT_S):
        pass


def start(server: Server, _seconds: float, _results: Document) -> Mapping[str, Values]:
    """Return the time to the first response, which was measured at the start."""
    return {"": {"first_answer_s": server.first_answer_s}}


SUITES: Mapping[str, Suite] = {
    "throughput": Suite({"": Setup("trees")}, throughput),
    "openloop": Suite({"": Setup("trees")}, at_fixed_rate),
    "memory": Suite({str(count): Setup("large", workers=count) for count in (1, 2, 4)}, memory),
    "batching": Suite(
        {value: Setup("heavy", environ={"BATCHING": value}) for value in ("on", "off")},
        batching,
        peers=("service",),
    ),
    "image": Suite({kind: Setup("image", format=kind) for kind in ("json", "binary")}, large_request),
    "start": Suite({"": Setup("trees")}, start),
    "observed": Suite({"": Setup("trees")}, observed, peers=("switched",)),
    "captured": Suite({"": Setup("trees")}, captured, peers=("captured",)),
    "overhead": Suite(
        {"json": Setup("trees"), "binary": Setup("image", format="binary")},
        overhead,
        peers=("service", "bare"),
    ),
}


def cell_of(label: str, cell: str) -> str:
    """Return the name of a cell, from its setup's label and its own name: "on 32"."""
    return f"{label} {cell}".strip()


def offers(name: str, setup: Setup) -> bool:
    """Return whether a peer supports the setup's format."""
    return setup.format in PEERS[name].formats
