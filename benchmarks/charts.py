"""Charts of the results, one PNG per suite."""

from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, NullFormatter

from benchmarks.peer import PEERS
from benchmarks.results import HIGHLIGHT, METRICS, MORE_IS_BETTER, SECTIONS, Cells, Document, digits, ranked

mpl.use("Agg")

OURS, THEIRS, WHISKER, TEXT = "#d95f02", "#9aa5b1", "#333333", "#333333"
LATENCY = ("p50_ms", "p99_ms")


def draw(document: Document, directory: Path) -> dict[str, str]:
    """Draw a chart of every suite in the document.

    Returns:
        Suite → file name of its chart in `directory`.
    """
    charts = {}
    for suite, data in document["suites"].items():
        if len(data["peers"]) > 0:
            charts[suite] = f"{suite}.png"
            _draw(suite, data["peers"], directory / charts[suite])
    return charts


def _draw(suite: str, peers: Mapping[str, Cells], path: Path) -> None:
    """Draw a row of panels for each metric, with latencies in one row, and a column for each cell."""
    section = SECTIONS[suite]
    bars = [metric for metric in section.metrics if metric not in (*LATENCY, "rate", "share", "p99_share")]
    rows: list[Any] = [*bars, *(["latency"] if LATENCY[0] in section.metrics else [])]
    names = ranked(suite, peers)[::-1]
    has_one_peer = len(names) == 1
    # With a single peer, the chart compares its cells in one column.
    columns = [""] if has_one_peer else list(section.cells)
    height = (len(section.cells) if has_one_peer else len(names)) * 0.34 + 1.0
    figure, grid = plt.subplots(
        len(rows),
        len(columns),
        figsize=(1.9 + 2.9 * len(columns) + 2 * has_one_peer, height * len(rows) + 0.5),
        sharey="row",
        sharex="row" if suite == "memory" else False,
        squeeze=False,
        layout="constrained",
    )
    for metric, line in zip(rows, grid, strict=True):
        for column, (cell, axes) in enumerate(zip(columns, line, strict=True)):
            if has_one_peer:
                cells = reversed(list(section.cells.items()))
                data = {title: peers[names[0]].get(key) for key, title in cells}
                colours = [OURS if title.startswith("on") else THEIRS for title in data]
            else:
                data = {PEERS[name].title: peers[name].get(cell) for name in names}
                colours = [OURS if name == HIGHLIGHT else THEIRS for name in names]
                axes.set_title(section.cells[cell] if metric == rows[0] else "", fontsize=10)
            (_latency if metric == "latency" else _bars)(axes, metric, data, colours)
            axes.set_yticks(range(len(data)), list(data))
            axes.tick_params(left=False, labelsize=9)
            axes.spines[["top", "right", "left"]].set_visible(False)
            for label in axes.get_yticklabels() if not column else ():
                label.set_fontweight("bold" if label.get_text() == PEERS[HIGHLIGHT].title else "normal")
    figure.suptitle(section.title, fontsize=12, fontweight="bold")
    figure.savefig(path, dpi=120)
    plt.close(figure)


def _bars(axes: Axes, metric: str, data: Mapping[str, Any], colours: list[str]) -> None:
    """Draw a bar for each median, labeled with its value, and a whisker from the minimum to the maximum."""
    maximum = max(max(cell[metric]) for cell in data.values() if cell)
    for y, (cell, colour) in enumerate(zip(data.values(), colours, strict=True)):
        if not cell:
            axes.text(0, y, " not offered", va="center", fontsize=9, color=THEIRS)
            continue
        values = cell[metric]
        axes.barh(y, median(values), color=colour, height=0.7)
        axes.plot([min(values), max(values)], [y, y], color=WHISKER, linewidth=1.2)
        x = max(values) + maximum * 0.02
        axes.text(x, y, digits(median(values)), va="center", fontsize=9, color=TEXT)
    axes.set_xlim(0, maximum * 1.25)
    better = "more" if metric in MORE_IS_BETTER else "less"
    axes.set_xlabel(f"{METRICS[metric]} ({better} is better)", fontsize=9)


def _latency(axes: Axes, _metric: str, data: Mapping[str, Any], colours: list[str]) -> None:
    """Draw lines from p50 (a dot) to p99 (a stroke), on a logarithmic scale."""
    for y, (cell, colour) in enumerate(zip(data.values(), colours, strict=True)):
        if not cell:
            continue
        p50, p99 = (median(cell[metric]) for metric in LATENCY)
        axes.plot([p50, p99], [y, y], color=colour, linewidth=3)
        axes.plot([p50], [y], "o", color=colour, markersize=7)
        axes.plot([p99], [y], "|", color=colour, markersize=11, markeredgewidth=2.5)
        axes.annotate(
            f"{digits(p50)} / {digits(p99)}",
            (p99, y),
            xytext=(7, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
            color=TEXT,
        )
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    low, high = axes.get_xlim()
    axes.set_xlim(low, high * (high / low) ** 0.45)
    axes.set_xlabel("latency, ms: ● p50, | p99", fontsize=9)
