"""The dashboard in the format that Grafana imports."""

import json
import re
from itertools import combinations
from typing import Any

from tests.monitoring.conftest import DASHBOARD, PANELS


def test_rows() -> None:
    """The rows have the documented order."""
    assert [panel["title"] for panel in PANELS if panel["type"] == "row"] == [
        "Availability and model",
        "Traffic by caller",
        "Latency by phase",
        "Errors and shedding",
        "Versions side by side",
        "Data: drift by feature and output",
        "Model quality over time",
        "Data contract",
        "Capture and feedback",
        "Quality in production",
    ]


def test_variables() -> None:
    """All variables in use are declared; Grafana's own begin with two underscores."""
    declared = {variable["name"] for variable in DASHBOARD["templating"]["list"]}
    assert declared >= {"datasource", "namespace", "model"}
    text = json.dumps({"panels": PANELS, "templating": DASHBOARD["templating"]})
    assert set(re.findall(r"\$\{?([a-z]\w*)", text)) == declared


def test_datasource() -> None:
    """The dashboard has one data source as import parameter, and every panel uses the selected one."""
    (parameter,) = DASHBOARD["__inputs"]
    (variable,) = (item for item in DASHBOARD["templating"]["list"] if item["type"] == "datasource")
    assert variable["current"]["value"] == f"${{{parameter['name']}}}"
    for panel in PANELS:
        assert panel["type"] == "row" or panel["datasource"]["uid"] == "${datasource}"


def test_layout() -> None:
    """Panels have unique ids, fit into the width and do not overlap."""
    assert len({panel["id"] for panel in PANELS}) == len(PANELS)
    for one, other in combinations([panel["gridPos"] for panel in PANELS], 2):
        assert one["x"] + one["w"] <= 24
        assert apart(one, other, "x", "w") or apart(one, other, "y", "h"), (one, other)


def apart(one: Any, other: Any, axis: str, size: str) -> bool:
    """Return whether two panels do not overlap along an axis."""
    return bool(one[axis] + one[size] <= other[axis] or other[axis] + other[size] <= one[axis])
