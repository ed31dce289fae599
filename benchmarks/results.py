"""The results: one JSON document, merged suite by suite, and a page generated from it."""

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.peer import PEERS

HIGHLIGHT = "service"

# {"machine": {…}, "versions": {peer: {package: version}},
#  "suites": {suite: {"date", "runs", "seconds", "peers": {peer: {cell: {metric: [value of each run]}}}}}}
Document = dict[str, Any]
Cells = dict[str, dict[str, list[float]]]


@dataclass(frozen=True)
class SuiteSection:
    """A suite's section on the page.

    Attributes:
        title: title of the section and the chart.
        text: what was measured.
        cells: cell → heading of its column.
        metrics: metrics in the order of their tables; peers are ranked by the first one.
    """

    title: str
    text: str
    cells: Mapping[str, str]
    metrics: Sequence[str]


METRICS = {
    "rps": "requests per second",
    "p50_ms": "latency p50, ms",
    "p99_ms": "latency p99, ms",
    "rate": "requests sent per second",
    "pss_mb": "memory of all processes (PSS), MB",
    "first_answer_s": "time to the first response, s",
    "whole_ms": "latency of a request, p50, ms",
    "own_ms": "the model in process, ms",
    "share": "throughput relative to off",
    "p99_share": "latency p99 relative to off",
}
MORE_IS_BETTER = {"rps", "rate", "share"}

SECTIONS: Mapping[str, SuiteSection] = {
    "throughput": SuiteSection(
        "Throughput",
        "Gradient boosting with 300 trees, one row of 30 features per request; closed loop.",
        {"1": "1 connection", "8": "8 connections", "64": "64 connections"},
        ("rps", "p50_ms", "p99_ms"),
    ),
    "openloop": SuiteSection(
        "Latency at a fixed rate",
        "The same model and request, sent at a fixed rate; latency counts from when a request was due.",
        {"own": "half of its own capacity", "same": "half of the slowest peer's capacity"},
        ("p50_ms", "p99_ms", "rate"),
    ),
    "memory": SuiteSection(
        "Memory",
        "A model of 192 MB, 12 MatMuls of 2048×2048 float32, after load on every worker.",
        {"1": "1 worker", "2": "2 workers", "4": "4 workers"},
        ("pss_mb",),
    ),
    "batching": SuiteSection(
        "Batching",
        "Five MatMuls, 64 inputs and layers of 2048, one row per request; closed loop.",
        {
            "on 1": "on, 1 connection",
            "off 1": "off, 1 connection",
            "on 32": "on, 32 connections",
            "off 32": "off, 32 connections",
        },
        ("rps", "p50_ms", "p99_ms"),
    ),
    "image": SuiteSection(
        "A large request",
        "1×3×224×224 float32, little work, 1 connection; empty if a peer does not accept binary tensors.",
        {"json": "JSON", "binary": "binary"},
        ("rps", "p50_ms", "p99_ms"),
    ),
    "start": SuiteSection(
        "Start",
        "From the start of the process to the first correct response, with files in the page cache.",
        {"": "1 worker"},
        ("first_answer_s",),
    ),
    "observed": SuiteSection(
        "Cost of observability",
        "The model of `throughput`, 8 connections; metrics, drift and request log alternate on and off.",
        {"on": "on", "off": "off"},
        ("rps", "share"),
    ),
    "captured": SuiteSection(
        "Cost of capture",
        "The model of `throughput`, 8 connections; capture of all rows alternates on and off.",
        {"on": "on", "off": "off"},
        ("rps", "p99_ms", "share", "p99_share"),
    ),
    "overhead": SuiteSection(
        "Overhead",
        "1 connection. In process: JSON includes parsing and serializing, binary is only `session.run`.",
        {"json": "trees, JSON", "binary": "image to 1,000 numbers, binary"},
        ("whole_ms", "own_ms"),
    ),
}


def machine() -> dict[str, Any]:
    """Describe the machine's CPU and operating system, without its name."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "cpu": models[0] if models else platform.machine(),
        "cpus": lines.count("") or 1,
        "system": platform.freedesktop_os_release()["PRETTY_NAME"],
    }


def merge(document: Document, suite: str, found: Mapping[str, Cells], about: Mapping[str, Any]) -> Document:
    """Return the document with one suite's new cells; cells of other peers are kept.

    Args:
        found: peer → its new cells.
        about: date, runs and seconds of this measurement.
    """
    suites = document.get("suites", {})
    before = suites.get(suite, {}).get("peers", {})
    new = {**about, "peers": before | dict(found)}
    return {**document, "suites": suites | {suite: new}}


def capacity(document: Document) -> dict[str, float]:
    """Return peer → its highest requests per second over all numbers of connections."""
    peers: Mapping[str, Cells] = document.get("suites", {}).get("throughput", {}).get("peers", {})
    return {name: max(median(cell["rps"]) for cell in cells.values()) for name, cells in peers.items()}


def ranked(suite: str, peers: Mapping[str, Cells]) -> list[str]:
    """Return the peers, best first, by the suite's first metric and cell; peers without it are last."""
    section = SECTIONS[suite]
    metric, cell = section.metrics[0], next(iter(section.cells))
    sign = -1 if metric in MORE_IS_BETTER else 1
    known = [name for name in PEERS if name in peers]
    return sorted(
        known,
        key=lambda name: sign * median(peers[name][cell][metric]) if cell in peers[name] else float("inf"),
    )


def page(document: Document, charts: Mapping[str, str]) -> str:
    """Return the results in Markdown.

    Args:
        charts: suite → file name of its chart.
    """
    host = document["machine"]
    parts = [
        "# Benchmark",
        f"{host['cpu']}, {host['cpus']} CPUs, {host['system']}: one core for the server, one for the load. "
        "Each number is the median of the runs, with their minimum and maximum in parentheses.",
    ]
    for suite in SECTIONS:
        if suite in document["suites"]:
            parts += _section(document["suites"][suite], suite, charts)
    parts += ["## Versions", _versions(document["versions"])]
    return "\n\n".join(parts) + "\n"


def _section(data: Mapping[str, Any], suite: str, charts: Mapping[str, str]) -> list[str]:
    section = SECTIONS[suite]
    timing = f" of {data['seconds']:g} s" if "rps" in section.metrics or "p50_ms" in section.metrics else ""
    runs = "1 run" if data["runs"] == 1 else f"{data['runs']} runs"
    parts = [f"## {section.title}", f"{section.text} {data['date']}, {runs}{timing}."]
    if suite in charts:
        parts.append(f"![{section.title}]({charts[suite]})")
    for metric in section.metrics:
        rows = [[METRICS[metric], *section.cells.values()]]
        for name in ranked(suite, data["peers"]):
            cells = data["peers"][name]
            row = [PEERS[name].title, *(spread(cells.get(cell, {}).get(metric)) for cell in section.cells)]
            rows.append([f"**{value}**" if value else "" for value in row] if name == HIGHLIGHT else row)
        parts.append(_table(rows))
    return parts


def _versions(versions: Mapping[str, Mapping[str, str]]) -> str:
    rows = [
        [PEERS[name].title, ", ".join(f"{package} {version}" for package, version in versions[name].items())]
        for name in PEERS
        if name in versions
    ]
    return _table([["", "versions"], *rows], align="")


def spread(values: Sequence[float] | None) -> str:
    """Format median, minimum and maximum, such as "1230 (1200–1260)"; "" without values."""
    if not values:
        return ""
    return f"{digits(median(values))} ({digits(min(values))}–{digits(max(values))})"


def digits(value: float) -> str:
    """Format a number with three significant digits, or as an integer if it is 100 or more."""
    return f"{value:.0f}" if value >= 99.95 else f"{value:#.3g}"


def _table(rows: Sequence[Sequence[str]], align: str = ":") -> str:
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([lines[0], "|---" + f"|---{align}" * (len(rows[0]) - 1) + "|", *lines[1:]])
