"""The dashboard, as Grafana imports it."""

import json
import re
from itertools import combinations
from typing import Any

from tests.monitoring.conftest import DASHBOARD, PANELS


def test_rows() -> None:
    """The questions, in the order in which they are asked."""
    assert [panel["title"] for panel in PANELS if panel["type"] == "row"] == [
        "Is it up and which model",
        "Traffic by caller",
        "Latency by phase",
        "Errors and shedding",
        "Versions side by side",
        "Data: drift by feature and output",
        "Model quality over time",
    ]


def test_variables() -> None:
    """Those used are those declared; Grafana's own begin with two underscores."""
    declared = {variable["name"] for variable in DASHBOARD["templating"]["list"]}
    assert declared >= {"datasource", "namespace", "model"}
    text = json.dumps({"panels": PANELS, "templating": DASHBOARD["templating"]})
    assert set(re.findall(r"\$\{?([a-z]\w*)", text)) == declared


def test_datasource() -> None:
    """On import Grafana asks for one data source, and every panel reads from the one that is chosen."""
    (asked,) = DASHBOARD["__inputs"]
    (variable,) = (item for item in DASHBOARD["templating"]["list"] if item["type"] == "datasource")
    assert variable["current"]["value"] == f"${{{asked['name']}}}"
    for panel in PANELS:
        assert panel["type"] == "row" or panel["datasource"]["uid"] == "${datasource}"


def test_places() -> None:
    """Panels have a number of their own, lie within the width, and none on another."""
    assert len({panel["id"] for panel in PANELS}) == len(PANELS)
    for one, other in combinations([panel["gridPos"] for panel in PANELS], 2):
        assert one["x"] + one["w"] <= 24
        assert apart(one, other, "x", "w") or apart(one, other, "y", "h"), (one, other)


def apart(one: Any, other: Any, place: str, size: str) -> bool:
    """Whether two panels have nothing in common in one direction."""
    return bool(one[place] + one[size] <= other[place] or other[place] + other[size] <= one[place])
