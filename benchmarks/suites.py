"""What is measured: one table of suites, each with what is served and what is done to it."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from statistics import median
from urllib.request import urlopen

from benchmarks.errors import BenchmarkError
from benchmarks.load import closed_loop
from benchmarks.open_loop import open_loop
from benchmarks.peer import PARTS, PEERS, TURNS_PATH
from benchmarks.results import Document, capacity
from benchmarks.server import Server, Setup

WARM_S = 1
# Drift counts all of a burst: until it is over a request costs more than it goes on to.
OBSERVED_WARM_S = 5
# For a server to tell of its turns.
TURNS_TIMEOUT_S = 10
CONNECTIONS = (1, 8, 64)
BATCHING_CONNECTIONS = (1, 32)
# Enough at once that every worker gets some.
CONNECTIONS_A_WORKER = 4
OBSERVED_CONNECTIONS = 8

Values = Mapping[str, float]
Measure = Callable[[Server, float, Document], Mapping[str, Values]]


@dataclass(frozen=True)
class Suite:
    """One measurement of all peers.

    Attributes:
        setups: label → what is served; each is started anew in each run.
        measure: a server that runs, seconds, the results so far → cell → metric → value.
        peers: who takes part; a peer that does not offer a setup's format has an empty cell.
    """

    setups: Mapping[str, Setup]
    measure: Measure
    peers: tuple[str, ...] = tuple(name for name in PEERS if name not in PARTS)


def throughput(server: Server, seconds: float, _results: Document) -> Mapping[str, Values]:
    """Requests a second and latency, by connections."""
    closed_loop(server, max(CONNECTIONS), WARM_S)
    return {str(count): asdict(closed_loop(server, count, seconds)) for count in CONNECTIONS}


def at_fixed_rate(server: Server, seconds: float, results: Document) -> Mapping[str, Values]:
    """Latency at half of what it can, and at half of what the slowest one can."""
    able = capacity(results)
    if server.name not in able:
        raise BenchmarkError("its capacity is not known: run --only throughput first, into the same --out")
    closed_loop(server, 1, WARM_S)
    rates = {"own": able[server.name] / 2, "same": min(able.values()) / 2}
    cells: dict[str, Values] = {}
    for cell, rate in rates.items():
        found = open_loop(server, rate, seconds)
        cells[cell] = {"rate": rate, "p50_ms": found.p50_ms, "p99_ms": found.p99_ms}
    return cells


def memory(server: Server, seconds: float, _results: Document) -> Mapping[str, Values]:
    """Memory of all processes, once each has worked."""
    for _ in range(2):
        closed_loop(server, CONNECTIONS_A_WORKER * server.workers, seconds)
    return {"": {"pss_mb": server.pss_mb()}}


def batching(server: Server, seconds: float, _results: Document) -> Mapping[str, Values]:
    """Requests a second and latency of a model that takes its time."""
    closed_loop(server, max(BATCHING_CONNECTIONS), WARM_S)
    return {str(count): asdict(closed_loop(server, count, seconds)) for count in BATCHING_CONNECTIONS}


def picture(server: Server, seconds: float, _results: Document) -> Mapping[str, Values]:
    """One connection: what it takes to read a large request."""
    closed_loop(server, 1, WARM_S)
    return {"": asdict(closed_loop(server, 1, seconds))}


def overhead(server: Server, seconds: float, _results: Document) -> Mapping[str, Values]:
    """Latency at one connection, and what the model takes by itself on the same core."""
    closed_loop(server, 1, WARM_S)
    found = closed_loop(server, 1, seconds)
    return {"": {"whole_ms": found.p50_ms, "own_ms": server.in_process_ms()}}


def observed(server: Server, seconds: float, _results: Document) -> Mapping[str, Values]:
    """Requests a second of those turns in which they are looked at, and of the others."""
    closed_loop(server, OBSERVED_CONNECTIONS, OBSERVED_WARM_S)
    _turns(server)
    closed_loop(server, OBSERVED_CONNECTIONS, seconds)
    # In the first and the last of them the load began and ended.
    turns = _turns(server)[1:-1]
    pairs = [dict(pair) for pair in zip(turns[::2], turns[1::2], strict=False)]
    if not pairs:
        raise BenchmarkError(f"{seconds} s are too short for two turns")
    seen, unseen = (median(pair[is_on] for pair in pairs) for is_on in (True, False))
    share = median(pair[True] / pair[False] for pair in pairs)
    return {"on": {"rps": seen, "share": share}, "off": {"rps": unseen}}


def _turns(server: Server) -> list[tuple[bool, float]]:
    with urlopen(f"http://127.0.0.1:{server.port}{TURNS_PATH}", timeout=TURNS_TIMEOUT_S) as reply:
        return [(is_on, rps) for is_on, rps in json.load(reply)]


def start(server: Server, _seconds: float, _results: Document) -> Mapping[str, Values]:
    """What the start has told already."""
    return {"": {"first_answer_s": server.first_answer_s}}


SUITES: Mapping[str, Suite] = {
    "throughput": Suite({"": Setup("trees")}, throughput),
    "openloop": Suite({"": Setup("trees")}, at_fixed_rate),
    "memory": Suite({str(count): Setup("large", workers=count) for count in (1, 2, 4)}, memory),
    "batching": Suite(
        {value: Setup("heavy", environ={"BATCHING": value}) for value in ("on", "off")},
        batching,
        peers=("scorebox",),
    ),
    "image": Suite({kind: Setup("image", format=kind) for kind in ("json", "binary")}, picture),
    "start": Suite({"": Setup("trees")}, start),
    "observed": Suite({"": Setup("trees")}, observed, peers=("switched",)),
    "overhead": Suite(
        {"json": Setup("trees"), "binary": Setup("image", format="binary")},
        overhead,
        peers=("scorebox", "bare"),
    ),
}


def cell_of(label: str, cell: str) -> str:
    """How a cell is called, by its setup's label and its own: "on 32"."""
    return f"{label} {cell}".strip()


def offers(name: str, setup: Setup) -> bool:
    """Whether a peer can be asked this way."""
    return setup.format in PEERS[name].formats
