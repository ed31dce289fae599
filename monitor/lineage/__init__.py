"""From a prediction, a version, a digest, an image or a release to all that led to it and came of it."""

from monitor.lineage.links import Lineage
from monitor.lineage.page import render_page
from monitor.lineage.subject import find_subject
from monitor.lineage.text import to_json, to_text
from monitor.lineage.trace import Sources, trace
from monitor.releases import LOG_FILE, read_releases

__all__ = [
    "LOG_FILE",
    "Lineage",
    "Sources",
    "find_subject",
    "read_releases",
    "render_page",
    "to_json",
    "to_text",
    "trace",
]
