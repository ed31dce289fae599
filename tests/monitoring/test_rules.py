"""The rules: what fires and what does not, and that each alert says what to do."""

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
    """What each case of the alert expects."""
    return [
        case["exp_alerts"]
        for path in CASES
        for test in yaml.safe_load(path.read_text())["tests"]
        for case in test["alert_rule_test"]
        if case["alertname"] == alert
    ]


def test_check() -> None:
    """Prometheus reads the rules, and finds no fault with them."""
    subprocess.run([program("promtool"), "check", "rules", "--lint-fatal", str(RULES)], check=True)


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_cases(path: Path) -> None:
    """In every case those alerts fire that ought to, with their words, and no others."""
    subprocess.run([program("promtool"), "test", "rules", str(path)], check=True)


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_alert(alert: dict[str, Any]) -> None:
    """Every alert has cases in which it fires and does not, a severity, and a section to read."""
    expected = cases(alert["alert"])
    assert any(expected)
    assert not all(expected)
    assert alert["labels"]["severity"] in ("page", "ticket")
    path, _, anchor = alert["annotations"]["runbook_url"].partition("#")
    headings = re.findall(r"^#+ (.+)$", (ROOT / path).read_text(), re.MULTILINE)
    assert anchor == alert["alert"].lower()
    assert alert["alert"] in headings


def test_scrape_configuration(tmp_path: Path) -> None:
    """What the document says for Prometheus without Kubernetes is a configuration."""
    (text,) = re.findall(
        r"```yaml\n(rule_files:.*?)```", (ROOT / "docs/operations.md").read_text(), re.DOTALL
    )
    (tmp_path / "rules.yaml").write_bytes(RULES.read_bytes())
    (tmp_path / "prometheus.yml").write_text(text)
    subprocess.run([program("promtool"), "check", "config", str(tmp_path / "prometheus.yml")], check=True)


def test_links() -> None:
    """What a runbook sends its reader to is there."""
    text = (ROOT / "docs/operations.md").read_text()
    anchors = {
        re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-")
        for heading in re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    }
    assert set(re.findall(r"\]\(#([^)]+)\)", text)) <= anchors


def test_no_other_section() -> None:
    """No section is left of an alert that is gone."""
    sections = re.findall(r"^### (Scorebox\w+)$", (ROOT / "docs/operations.md").read_text(), re.MULTILINE)
    assert sections == [alert["alert"] for alert in ALERTS]
