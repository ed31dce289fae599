"""The Kusto queries of the request log in docs/operations.md."""

import re

from tests.monitoring.conftest import ROOT


def test_fields() -> None:
    """The queries use only fields that docs/api.md documents."""
    log = (ROOT / "docs/api.md").read_text().partition("\n## Log\n")[2]
    fields = set(re.findall(r"`(\w+)`", "".join(re.findall(r"^\| `.*?\|", log, re.MULTILINE))))
    text = (ROOT / "docs/operations.md").read_text()
    queries = "".join(re.findall(r"```kusto\n(.*?)```", text, re.DOTALL))
    used = set(re.findall(r"\bline\.(\w+)", queries))
    assert used > {"caller", "status", "duration_ms", "model_version", "trace_id"}
    assert used <= fields
