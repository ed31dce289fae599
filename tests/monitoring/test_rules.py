"""The rules: when each alert fires and when it does not, and its runbook."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.monitoring.conftest import ROOT, RULES, program

CASES = sorted((ROOT / "monitoring").glob("*_test.yaml"))
ALERTS = [
    rule
    for group in yaml.safe_load(RULES.read_text())["groups"]
    for rule in group["rules"]
    if "alert" in rule
]


def cases(alert: str) -> list[list[Any]]:
    """Return the expected alerts of each test case of an alert."""
    return [
        case["exp_alerts"]
        for path in CASES
        for test in yaml.safe_load(path.read_text())["tests"]
        for case in test["alert_rule_test"]
        if case["alertname"] == alert
    ]


def test_check() -> None:
    """`promtool check rules` accepts the rules without a warning."""
    subprocess.run([program("promtool"), "check", "rules", "--lint-fatal", str(RULES)], check=True)


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_cases(path: Path) -> None:
    """In every test case exactly the expected alerts fire, with the expected annotations."""
    subprocess.run([program("promtool"), "test", "rules", str(path)], check=True)


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_alert(alert: dict[str, Any]) -> None:
    """Every alert has cases in which it fires and does not fire, a severity, and a runbook section."""
    expected = cases(alert["alert"])
    assert any(expected)
    assert not all(expected)
    assert alert["labels"]["severity"] in ("page", "ticket")
    path, _, anchor = alert["annotations"]["runbook_url"].partition("#")
    headings = re.findall(r"^#+ (.+)$", (ROOT / path).read_text(), re.MULTILINE)
    assert anchor == alert["alert"].lower()
    assert alert["alert"] in headings


def test_scrape_configuration(tmp_path: Path) -> None:
    """The documented configuration for Prometheus without Kubernetes is valid."""
    (text,) = re.findall(
        r"```yaml\n(rule_files:.*?)```", (ROOT / "docs/operations.md").read_text(), re.DOTALL
    )
    (tmp_path / "rules.yaml").write_bytes(RULES.read_bytes())
    (tmp_path / "prometheus.yml").write_text(text)
    subprocess.run([program("promtool"), "check", "config", str(tmp_path / "prometheus.yml")], check=True)


def test_links() -> None:
    """All links between sections of the runbook are valid."""
    text = (ROOT / "docs/operations.md").read_text()
    anchors = {
        re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-")
        for heading in re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    }
    assert set(re.findall(r"\]\(#([^)]+)\)", text)) <= anchors


def test_sections() -> None:
    """The runbook has a section for each alert, in the same order, and no others."""
    sections = re.findall(r"^### (Scorebox\w+)$", (ROOT / "docs/operations.md").read_text(), re.MULTILINE)
    assert sections == [alert["alert"] for alert in ALERTS]
