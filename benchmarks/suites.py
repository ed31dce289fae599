"""What is measured: one table of suites, each with what is served and what is done to it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import wraps
from statistics import median

from benchmarks.errors import BenchmarkError
from benchmarks.load import Measured, closed_loop
from benchmarks.open_loop import open_loop
from benchmarks.peer import PARTS, PEERS
from benchmarks.results import Document, capacity
from benchmarks.server import Server, Setup

WARM_S = 1
CONNECTIONS = (1, 8, 64)
BATCHING_CONNECTIONS = (1, 32)
# Enough at once that every worker gets some.
CONNECTIONS_A_WORKER = 4
OBSERVED_CONNECTIONS = 8
# Short against the changes of a machine that others use too.
SLICE_S = 1

Values = Mapping[str, float]
MeasureOne = Callable[[Server, float, Document], Mapping[str, Values]]
Measure = Callable[[Sequence[Server], float, Document], Mapping[str, Mapping[str, Values]]]


@dataclass(frozen=True)
class Suite:
    """One measurement of all peers.

    Attributes:
        setups: label → what is served; each is started anew in each run.
        measure: servers that run, seconds, the results so far → peer → cell → metric → value.
        peers: who takes part; a peer that does not offer a setup's format has an empty cell.
        is_paired: whether all servers run at once and are measured in turn, instead of one after another.
    """

    setups: Mapping[str, Setup]
    measure: Measure
    peers: tuple[str, ...] = tuple(name for name in PEERS if name not in PARTS)
    is_paired: bool = False


def alone(measure: MeasureOne) -> Measure:
    """A measurement of one server that runs by itself."""

    @wraps(measure)
    def measured(
        servers: Sequence[Server], seconds: float, results: Document
    ) -> Mapping[str, Mapping[str, Values]]:
        return {server.name: measure(server, seconds, results) for server in servers}

    return measured


@alone
def throughput(server: Server, seconds: float, _results: Document) -> Mapping[str, Values]:
    """Requests a second and latency, by connections."""
    closed_loop(server, max(CONNECTIONS), WARM_S)
    return {str(count): asdict(closed_loop(server, count, seconds)) for count in CONNECTIONS}


@alone
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


@alone
def memory(server: Server, seconds: float, _results: Document) -> Mapping[str, Values]:
    """Memory of all processes, once each has worked."""
    for _ in range(2):
        closed_loop(server, CONNECTIONS_A_WORKER * server.workers, seconds)
    return {"": {"pss_mb": server.pss_mb()}}


@alone
def batching(server: Server, seconds: float, _results: Document) -> Mapping[str, Values]:
    """Requests a second and latency of a model that takes its time."""
    closed_loop(server, max(BATCHING_CONNECTIONS), WARM_S)
    return {str(count): asdict(closed_loop(server, count, seconds)) for count in BATCHING_CONNECTIONS}


@alone
def picture(server: Server, seconds: float, _results: Document) -> Mapping[str, Values]:
    """One connection: what it takes to read a large request."""
    closed_loop(server, 1, WARM_S)
    return {"": asdict(closed_loop(server, 1, seconds))}


@alone
def overhead(server: Server, seconds: float, _results: Document) -> Mapping[str, Values]:
    """Latency at one connection, and what the model takes by itself on the same core."""
    closed_loop(server, 1, WARM_S)
    found = closed_loop(server, 1, seconds)
    return {"": {"whole_ms": found.p50_ms, "own_ms": server.in_process_ms()}}


def observed(
    servers: Sequence[Server], seconds: float, _results: Document
) -> Mapping[str, Mapping[str, Values]]:
    """Requests a second and latency, and what share the former are of the other's in the slice beside."""
    for server in servers:
        closed_loop(server, OBSERVED_CONNECTIONS, WARM_S)
    slices: dict[str, list[Measured]] = {server.name: [] for server in servers}
    for number in range(max(1, round(seconds / SLICE_S))):
        for server in servers if number % 2 else servers[::-1]:
            slices[server.name].append(closed_loop(server, OBSERVED_CONNECTIONS, SLICE_S))
    found: dict[str, dict[str, float]] = {
        name: {metric: median(asdict(one)[metric] for one in many) for metric in asdict(many[0])}
        for name, many in slices.items()
    }
    if others := slices.get("unobserved"):
        for name, many in slices.items():
            shares = [one.rps / other.rps for one, other in zip(many, others, strict=True)]
            found[name]["share"] = median(shares)
    return {name: {"": values} for name, values in found.items()}


@alone
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
    "observed": Suite({"": Setup("trees")}, observed, peers=("scorebox", "unobserved"), is_paired=True),
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
