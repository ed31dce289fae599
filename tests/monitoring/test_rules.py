"""The rules: when each alert fires and when it does not, and its runbook."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from model_loader.package.service_file import service
from scripts.monitoring_files import jobs, scope
from tests.monitoring.conftest import ROOT, RULES, program

CASES = sorted((ROOT / "monitoring").glob("*_test.yaml"))
ALERTS = [rule for group in yaml.safe_load(RULES)["groups"] for rule in group["rules"] if "alert" in rule]
# Alerts on what the monitor measures.
MONITORED = {
    "ScoringQuality",
    "ScoringCalibration",
    "ScoringCoverage",
    "ScoringBusiness",
    "ScoringMonitorDown",
}
MONITOR_METRICS = re.compile(r"(model_labels|model_quality|model_business|monitor_)")
PREFIX = "https://example.com/docs/operations.md#"
# Alert → its section of the runbook, without the heading.
SECTIONS = dict(
    re.findall(
        r"^### (Scoring\w+)\n(.*?)(?=^##)",
        (ROOT / "docs/operations.md").read_text(),
        re.MULTILINE | re.DOTALL,
    )
)


def cases(alert: str) -> list[list[Any]]:
    """Return the expected alerts of each test case of an alert."""
    return [
        case["exp_alerts"]
        for path in CASES
        for test in yaml.safe_load(path.read_text())["tests"]
        for case in test["alert_rule_test"]
        if case["alertname"] == alert
    ]


def test_check(tmp_path: Path) -> None:
    """`promtool check rules` accepts the rules without a warning."""
    (tmp_path / "rules.yaml").write_text(RULES)
    subprocess.run(
        [program("promtool"), "check", "rules", "--lint-fatal", tmp_path / "rules.yaml"], check=True
    )


class Cases(yaml.SafeLoader):
    """A loader that leaves `0x60`, sixty zeros for promtool, as it is."""

    yaml_implicit_resolvers = {  # noqa: RUF012  (PyYAML declares it)
        first: [each for each in resolvers if not each[0].endswith(":int")]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


Cases.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"-?(0|[1-9][0-9]*)$"), list("-0123456789"))


def with_jobs(document: Any, *, twins: bool) -> Any:
    """Return test cases with the jobs of the service.

    Args:
        twins: whether another service has the same series.
    """
    name, contact = service().name, service().contact
    for test in document["tests"]:
        others = []
        for each in test["input_series"]:
            if "job=" not in each["series"]:
                suffix = "-monitor" if MONITOR_METRICS.match(each["series"]) else ""
                given = each["series"]
                each["series"] = labelled(given, f"{name}{suffix}")
                others.append(each | {"series": labelled(given, f"other{suffix}")})
        test["input_series"] += others if twins else []
        for case in test.get("promql_expr_test", []):
            case["expr"] = scope(case["expr"], jobs(service()), keep_job=False)
            for sample in case["exp_samples"]:
                if "labels" in sample and not sample["labels"].startswith("{"):
                    sample["labels"] = labelled(sample["labels"], name)
        for case in test["alert_rule_test"]:
            job = f"{name}-monitor" if case["alertname"] in MONITORED else name
            for alert in case["exp_alerts"]:
                alert["exp_labels"] |= {"job": job}
                alert["exp_annotations"] |= {"contact": contact}
    return document


def labelled(series: str, job: str) -> str:
    """Return a series with a job."""
    metric, _, labels = series.partition("{")
    return f'{metric}{{job="{job}", {labels or "}"}'


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_cases(path: Path, tmp_path: Path) -> None:
    """Exactly the expected alerts fire, whatever another service in the same Prometheus does."""
    (tmp_path / "rules.yaml").write_text(RULES)
    # Cases over days are slow already.
    document = with_jobs(yaml.load(path.read_text(), Cases), twins=path.name != "rules_days_test.yaml")
    (tmp_path / path.name).write_text(yaml.safe_dump(document))
    subprocess.run([program("promtool"), "test", "rules", tmp_path / path.name], check=True)


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_alert(alert: dict[str, Any]) -> None:
    """Every alert has cases in which it fires and does not fire, a severity, and a runbook section."""
    expected = cases(alert["alert"])
    assert any(expected)
    assert not all(expected)
    assert alert["labels"]["severity"] in ("page", "ticket")
    assert alert["annotations"]["contact"] == service().contact
    assert alert["annotations"]["runbook_url"] == f"{PREFIX}{alert['alert'].lower()}"
    assert alert["alert"] in SECTIONS


def test_scrape_configuration(tmp_path: Path) -> None:
    """The documented configuration for Prometheus without Kubernetes is valid."""
    (text,) = re.findall(
        r"```yaml\n(rule_files:.*?)```", (ROOT / "docs/operations.md").read_text(), re.DOTALL
    )
    (tmp_path / "rules.yaml").write_text(RULES)
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
    assert list(SECTIONS) == [alert["alert"] for alert in ALERTS]


@pytest.mark.parametrize("section", SECTIONS.values(), ids=SECTIONS)
def test_section_begins_with_a_command(section: str) -> None:
    """Every section of the runbook begins with a command, and then says where the reason is."""
    command = re.match(r"\n```\n([^`]+)\n```\n\n\*\*Reason:\*\* ", section)
    assert command
    assert re.match(r"(kubectl|python|\./scripts/\w+)( |$)", command[1])
    subprocess.run(["bash", "-n"], input=command[1], text=True, check=True)


ADDRESSES = {
    "https://github.com/ada/wine-scorer": "https://github.com/ada/wine-scorer/blob/main/docs/operations.md#",
    "https://ada:secret@github.com/ada/x.git": "https://github.com/ada/x/blob/main/docs/operations.md#",
    "git@github.com:ada/x.git": "https://github.com/ada/x/blob/main/docs/operations.md#",
    "ssh://git@github.com/ada/x": "https://github.com/ada/x/blob/main/docs/operations.md#",
    "https://ada@dev.azure.com/ada/My%20team/_git/x": "https://dev.azure.com/ada/My%20team/_git/x"
    "?path=/docs/operations.md&_a=preview&anchor=",
    "git@ssh.dev.azure.com:v3/ada/team/x": "https://dev.azure.com/ada/team/_git/x"
    "?path=/docs/operations.md&_a=preview&anchor=",
}


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """Return a clone without an origin that has the rules and the script."""
    for path in ("scripts", "monitoring", "model_loader"):
        shutil.copytree(ROOT / path, tmp_path / path)
    for path in ("service.toml", "requirements.txt"):
        shutil.copy2(ROOT / path, tmp_path / path)
    (tmp_path / ".venv").symlink_to(ROOT / ".venv")
    subprocess.run(["git", "init", "--quiet"], cwd=tmp_path, check=True)
    return tmp_path


def printed_links(clone: Path, *args: str) -> list[str]:
    """Run `scripts/rules`, check what it prints, and return the links of the alerts."""
    printed = subprocess.run(["scripts/rules", *args], cwd=clone, check=True, capture_output=True, text=True)
    assert printed.stderr == ""
    (clone / "printed.yaml").write_text(printed.stdout)
    subprocess.run([program("promtool"), "check", "rules", str(clone / "printed.yaml")], check=True)
    rules = [rule for group in yaml.safe_load(printed.stdout)["groups"] for rule in group["rules"]]
    return [rule["annotations"]["runbook_url"] for rule in rules if "alert" in rule]


@pytest.mark.parametrize("origin", ADDRESSES)
def test_links_to_origin(clone: Path, origin: str) -> None:
    """`scripts/rules` prints the rules with links to the runbook in origin, without its password."""
    subprocess.run(["git", "remote", "add", "origin", origin], cwd=clone, check=True)
    expected = [f"{ADDRESSES[origin]}{alert['alert'].lower()}" for alert in ALERTS]
    assert printed_links(clone) == expected


def test_links_to_another_address(clone: Path) -> None:
    """With a prefix, the links begin with it."""
    prefix = "https://wiki.example.com/demo?a=1&b=2#"
    assert printed_links(clone, prefix) == [f"{prefix}{alert['alert'].lower()}" for alert in ALERTS]


@pytest.mark.parametrize("origin", ["https://ada:secret@git.example.com/x", ""])
def test_unknown_origin(clone: Path, origin: str) -> None:
    """An origin whose addresses are unknown is refused, without printing its password."""
    if origin:
        subprocess.run(["git", "remote", "add", "origin", origin], cwd=clone, check=True)
    done = subprocess.run(["scripts/rules"], cwd=clone, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert "give the address of docs/operations.md" in done.stderr
    assert "secret" not in done.stderr


@pytest.mark.parametrize("prefix", ["", "docs/operations.md#", "http://a#", "https://a b#", "https://u:p@a#"])
def test_invalid_prefix(clone: Path, prefix: str) -> None:
    """A prefix that is no https:// address is wrong usage."""
    done = subprocess.run(["scripts/rules", prefix], cwd=clone, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
