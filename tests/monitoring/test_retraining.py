"""Which alerts reach the training pipeline, with Alertmanager's own programs."""

import json
import queue
import subprocess
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import yaml

from scripts.names import named_text
from tests.monitoring.conftest import ROOT, RULES, free_port, program, running
from tests.monitoring.test_drift import webhook as webhook

CONFIG = named_text(ROOT / "monitoring/alertmanager.yml")
ABOUT = ("alertname=ScoringQuality", "name=wine", "job=demo-monitor")
PRODUCTION = "namespace=demo-production"


def amtool(*arguments: str | Path) -> str:
    """Run amtool and return its output."""
    done = subprocess.run([program("amtool"), *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """The file with the service's names."""
    path = tmp_path / "config.yml"
    path.write_text(CONFIG)
    return path


def test_check_config(config: Path) -> None:
    """Alertmanager accepts the file."""
    assert "SUCCESS" in amtool("check-config", config)


@pytest.mark.parametrize(
    ("labels", "receivers"),
    [
        ((*ABOUT, PRODUCTION, "retrain=yes"), "training,people"),
        ((*ABOUT, "namespace=demo-staging", "retrain=yes"), "people"),
        (("alertname=ScoringDrift", "name=wine", "job=demo", PRODUCTION), "people"),
        (("alertname=ScoringQuality", "job=other", PRODUCTION, "retrain=yes"), "people"),
    ],
    ids=["production", "staging", "without the label", "another service"],
)
def test_routes(config: Path, labels: tuple[str, ...], receivers: str) -> None:
    """Alerts of production with the label reach the pipeline; every alert reaches people."""
    assert amtool("config", "routes", "test", f"--config.file={config}", *labels).strip() == receivers


def test_labels() -> None:
    """The alerts on the quality of a model ask for a training; data and service do not."""
    rules = [rule for group in yaml.safe_load(RULES)["groups"] for rule in group["rules"]]
    asking = {rule["alert"] for rule in rules if rule.get("labels", {}).get("retrain") == "yes"}
    assert asking == {"ScoringQuality", "ScoringCalibration"}


def test_storm(webhook: "tuple[int, queue.Queue[Any]]", tmp_path: Path) -> None:
    """Ten alerts about a model call the webhook once."""
    port, received = webhook
    config = yaml.safe_load(CONFIG)
    config["route"]["routes"][0] |= {"group_wait": "1s"}
    (training,) = (each for each in config["receivers"] if each["name"] == "training")
    training["webhook_configs"][0]["url"] = f"http://127.0.0.1:{port}/"
    (tmp_path / "alertmanager.yml").write_text(json.dumps(config))
    own = free_port()
    command = [
        program("prometheus-alertmanager", "alertmanager"), f"--config.file={tmp_path}/alertmanager.yml",
        f"--storage.path={tmp_path}/data", f"--web.listen-address=127.0.0.1:{own}",
        "--cluster.listen-address=",
    ]  # fmt: skip
    labels = {"job": "demo-monitor", "name": "wine", "namespace": "demo-production", "retrain": "yes"}
    metrics = [
        "accuracy",
        "precision",
        "recall",
        "macro_f1",
        "log_loss",
        "brier",
        "mae",
        "rmse",
        "bias",
        "r2",
    ]
    alerts = [{"labels": labels | {"alertname": "ScoringQuality", "metric": metric}} for metric in metrics]
    request = urllib.request.Request(
        f"http://127.0.0.1:{own}/api/v2/alerts",
        json.dumps(alerts).encode(),
        {"content-type": "application/json"},
    )
    with running(command, own, tmp_path / "log"):
        urllib.request.urlopen(request, timeout=10).close()
        first = received.get(timeout=20)
        with pytest.raises(queue.Empty):
            received.get(timeout=3)
    assert first["labels"]["alertname"] == "ScoringQuality"
