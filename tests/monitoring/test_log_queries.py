"""The queries of the log, in Azure Monitor's language."""

import re

from tests.monitoring.conftest import ROOT


def test_fields() -> None:
    """Every field that a query reads is one of a log line's."""
    log = (ROOT / "docs/api.md").read_text().partition("\n## Log\n")[2]
    fields = set(re.findall(r"`(\w+)`", "".join(re.findall(r"^\| `.*?\|", log, re.MULTILINE))))
    text = (ROOT / "docs/operations.md").read_text()
    queries = "".join(re.findall(r"```kusto\n(.*?)```", text, re.DOTALL))
    asked = set(re.findall(r"\bline\.(\w+)", queries))
    assert asked > {"caller", "status", "duration_ms", "model_version", "trace_id"}
    assert asked <= fields
