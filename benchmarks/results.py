"""The results: one JSON document, merged suite by suite, and the page that shows it."""

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.peer import PEERS

HIGHLIGHT = "scorebox"

# {"machine": {…}, "versions": {peer: {package: version}},
#  "suites": {suite: {"date", "runs", "seconds", "peers": {peer: {cell: {metric: [value of each run]}}}}}}
Document = dict[str, Any]
Cells = dict[str, dict[str, list[float]]]


@dataclass(frozen=True)
class Shown:
    """How a suite is shown.

    Attributes:
        title: of its section and its chart.
        text: what was done.
        cells: cell → what stands above its column.
        metrics: which ones, in the order of the tables; the first decides the order of the peers.
    """

    title: str
    text: str
    cells: Mapping[str, str]
    metrics: Sequence[str]


METRICS = {
    "rps": "requests a second",
    "p50_ms": "latency p50, ms",
    "p99_ms": "latency p99, ms",
    "rate": "requests a second that were sent",
    "pss_mb": "memory of all processes (PSS), MB",
    "first_answer_s": "from start to first answer, s",
    "whole_ms": "latency of a request, p50, ms",
    "own_ms": "the model by itself, ms",
    "share": "requests a second, of those when nobody looks",
}
MORE_IS_BETTER = {"rps", "rate", "share"}

SHOWN: Mapping[str, Shown] = {
    "throughput": Shown(
        "Throughput",
        "Gradient boosting with 300 trees, one row of 30 features a request; closed loop.",
        {"1": "1 connection", "8": "8 connections", "64": "64 connections"},
        ("rps", "p50_ms", "p99_ms"),
    ),
    "openloop": Shown(
        "Latency at a fixed rate",
        "The same model and request, sent at a fixed schedule; latency counts from when a request was due.",
        {"own": "half of its own capacity", "same": "half of the slowest one's capacity"},
        ("p50_ms", "p99_ms", "rate"),
    ),
    "memory": Shown(
        "Memory",
        "A model of 192 MB, 12 MatMuls of 2048×2048 float32, after load on every worker.",
        {"1": "1 worker", "2": "2 workers", "4": "4 workers"},
        ("pss_mb",),
    ),
    "batching": Shown(
        "Batching",
        "Five MatMuls, 64 numbers in and 2048 wide between, one row a request; closed loop.",
        {
            "on 1": "on, 1 connection",
            "off 1": "off, 1 connection",
            "on 32": "on, 32 connections",
            "off 32": "off, 32 connections",
        },
        ("rps", "p50_ms", "p99_ms"),
    ),
    "image": Shown(
        "A large request",
        "1×3×224×224 float32, a mean for a model, 1 connection; empty where a tensor's bytes are not taken.",
        {"json": "JSON", "binary": "binary"},
        ("rps", "p50_ms", "p99_ms"),
    ),
    "start": Shown(
        "Start",
        "From the start of the process to the first right answer, files being in the page cache.",
        {"": "1 worker"},
        ("first_answer_s",),
    ),
    "observed": Shown(
        "What it costs to be seen",
        "The same as for throughput, with 8 connections; metrics, drift and log are on and off by turns.",
        {"on": "on", "off": "off"},
        ("rps", "share"),
    ),
    "overhead": Shown(
        "Overhead",
        "1 connection. By itself: for JSON from text to text in process; for binary only the session's run.",
        {"json": "trees, JSON", "binary": "picture to 1,000 numbers, binary"},
        ("whole_ms", "own_ms"),
    ),
}


def machine() -> dict[str, Any]:
    """What ran it, without its name."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "cpu": models[0] if models else platform.machine(),
        "cpus": lines.count("") or 1,
        "system": platform.freedesktop_os_release()["PRETTY_NAME"],
    }


def merge(document: Document, suite: str, found: Mapping[str, Cells], about: Mapping[str, Any]) -> Document:
    """The document with one suite's new cells; those of peers that were not measured now stay.

    Args:
        about: date, runs and seconds of this measurement.
    """
    suites = document.get("suites", {})
    before = suites.get(suite, {}).get("peers", {})
    new = {**about, "peers": before | dict(found)}
    return {**document, "suites": suites | {suite: new}}


def capacity(document: Document) -> dict[str, float]:
    """Peer → the most requests a second that it answered, at whatever number of connections."""
    peers: Mapping[str, Cells] = document.get("suites", {}).get("throughput", {}).get("peers", {})
    return {name: max(median(cell["rps"]) for cell in cells.values()) for name, cells in peers.items()}


def ranked(suite: str, peers: Mapping[str, Cells]) -> list[str]:
    """The peers, the best first by the suite's first metric and first cell; who has no such cell is last."""
    shown = SHOWN[suite]
    metric, cell = shown.metrics[0], next(iter(shown.cells))
    sign = -1 if metric in MORE_IS_BETTER else 1
    known = [name for name in PEERS if name in peers]
    return sorted(
        known,
        key=lambda name: sign * median(peers[name][cell][metric]) if cell in peers[name] else float("inf"),
    )


def page(document: Document, charts: Mapping[str, str]) -> str:
    """The results in Markdown.

    Args:
        charts: suite → file name of its chart.
    """
    host = document["machine"]
    parts = [
        "# Benchmark",
        f"{host['cpu']}, {host['cpus']} CPUs, {host['system']}: one core for the server, one for the load. "
        "Each number is the median of the runs, with the least and the greatest of them in parentheses.",
    ]
    for suite, shown in SHOWN.items():
        if suite in document["suites"]:
            parts += _section(document["suites"][suite], suite, shown, charts)
    parts += ["## Versions", _versions(document["versions"])]
    return "\n\n".join(parts) + "\n"


def _section(data: Mapping[str, Any], suite: str, shown: Shown, charts: Mapping[str, str]) -> list[str]:
    timing = f" of {data['seconds']:g} s" if "rps" in shown.metrics or "p50_ms" in shown.metrics else ""
    runs = "1 run" if data["runs"] == 1 else f"{data['runs']} runs"
    parts = [f"## {shown.title}", f"{shown.text} {data['date']}, {runs}{timing}."]
    if suite in charts:
        parts.append(f"![{shown.title}]({charts[suite]})")
    for metric in shown.metrics:
        rows = [[METRICS[metric], *shown.cells.values()]]
        for name in ranked(suite, data["peers"]):
            cells = data["peers"][name]
            row = [PEERS[name].title, *(spread(cells.get(cell, {}).get(metric)) for cell in shown.cells)]
            rows.append([f"**{value}**" if value else "" for value in row] if name == HIGHLIGHT else row)
        parts.append(_table(rows))
    return parts


def _versions(versions: Mapping[str, Mapping[str, str]]) -> str:
    told = [
        [PEERS[name].title, ", ".join(f"{package} {version}" for package, version in versions[name].items())]
        for name in PEERS
        if name in versions
    ]
    return _table([["", "versions"], *told], align="")


def spread(values: Sequence[float] | None) -> str:
    """ "1230 (1200–1260)", in three digits or whole numbers; empty where nothing was measured."""
    if not values:
        return ""
    return f"{digits(median(values))} ({digits(min(values))}–{digits(max(values))})"


def digits(value: float) -> str:
    """A number in three digits, or whole from 100 on."""
    return f"{value:.0f}" if value >= 99.95 else f"{value:#.3g}"


def _table(rows: Sequence[Sequence[str]], align: str = ":") -> str:
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([lines[0], "|---" + f"|---{align}" * (len(rows[0]) - 1) + "|", *lines[1:]])
