"""One HTML file about a model in production, without scripts and without parts from other hosts."""

from monitor.report.document import render
from monitor.report.findings import Findings, find

__all__ = ["Findings", "find", "render"]
