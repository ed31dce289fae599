"""Configuration of the servers that the rehearsal starts: nginx, registry, Prometheus, Alertmanager."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from model_loader.package.service_file import service
from scripts.monitoring_files import RUNBOOK, rules
from scripts.names import named_text

ROOT = Path(__file__).parents[2]
RETRAINING = "/retraining"  # path of the webhook
RULE_GROUP, RULE_INTERVAL = "demo-data", "5s"

NGINX = """\
worker_processes 1;
daemon off;
pid {directory}/nginx.pid;
error_log {directory}/nginx.log;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  # A worker of another user than the rehearsal's cannot write to its directory.
  client_body_buffer_size 1m;
  proxy_max_temp_file_size 0;
  client_body_temp_path {directory}/nginx-body;
  proxy_temp_path {directory}/nginx-proxy;
  fastcgi_temp_path {directory}/nginx-fastcgi;
  uwsgi_temp_path {directory}/nginx-uwsgi;
  scgi_temp_path {directory}/nginx-scgi;
  include {directory}/pods.conf;
  server {{
    listen 127.0.0.1:{nginx};
    location / {{
      proxy_pass http://pods;
      proxy_next_upstream off;  # a Service does not retry either
      proxy_read_timeout 8s;  # before the client's own timeout, so that a response names the pod
      add_header x-pod $pod always;
    }}
  }}
  server {{
    listen {gateway}:{proxy};
    client_max_body_size 0;
    proxy_request_buffering off;
    location / {{
      proxy_pass http://{azurite};
      proxy_http_version 1.1;
      proxy_set_header Host $http_host;
    }}
  }}
}}
"""
REGISTRY = """\
version: 0.1
storage: {{filesystem: {{rootdirectory: {directory}/registry}}}}
http: {{addr: "127.0.0.1:{registry}"}}
log: {{level: error}}
"""


def write_configs(directory: Path, ports: Mapping[str, int], gateway: str, azurite: str) -> None:
    """Write the servers' configuration files into the directory.

    Args:
        ports: of `nginx`, `proxy`, `registry`, `prometheus`, `alertmanager` and `hooks`.
        gateway: the machine's address on the network of the containers.
        azurite: URL of the storage emulator, which containers reach through the proxy.
    """
    values = {**ports, "directory": directory, "gateway": gateway, "azurite": urlsplit(azurite).netloc}
    (directory / "nginx.yml").write_text(NGINX.format(**values))
    (directory / "registry.yml").write_text(REGISTRY.format(**values))
    (directory / "rules.yml").write_text(json.dumps({"groups": [_rule_group()]}))
    (directory / "prometheus.yml").write_text(json.dumps(_prometheus(directory, ports["alertmanager"])))
    (directory / "alertmanager.yml").write_text(json.dumps(_alertmanager(ports["hooks"])))


def _rule_group() -> dict[str, Any]:
    """Return the rules on data from production; all of them, of hours and days, would take a CPU."""
    groups = yaml.safe_load(rules(service(), RUNBOOK))["groups"]
    (group,) = (each for each in groups if each["name"] == RULE_GROUP)
    return {**group, "interval": RULE_INTERVAL}


def _prometheus(directory: Path, alertmanager: int) -> dict[str, Any]:
    pods = {"files": [f"{directory}/targets.json"], "refresh_interval": "1s"}
    return {
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s"},
        "rule_files": [f"{directory}/rules.yml"],
        "alerting": {
            "alertmanagers": [{"static_configs": [{"targets": [f"127.0.0.1:{alertmanager}"]}]}],
        },
        "scrape_configs": [{"job_name": "demo", "file_sd_configs": [pods]}],
    }


def _alertmanager(hooks: int) -> dict[str, Any]:
    """Return monitoring/alertmanager.yml with shorter times, and the webhook of the rehearsal."""
    config: dict[str, Any] = yaml.safe_load(named_text(ROOT / "monitoring/alertmanager.yml"))
    (route,) = (each for each in config["route"]["routes"] if each["receiver"] == "training")
    route |= {"group_wait": "1s", "group_interval": "10s", "repeat_interval": "20s"}
    (receiver,) = (each for each in config["receivers"] if each["name"] == "training")
    (webhook,) = receiver["webhook_configs"]
    webhook["url"] = f"http://127.0.0.1:{hooks}{RETRAINING}"
    return config
