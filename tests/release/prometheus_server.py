"""A real Prometheus, with Debian's program."""

import json
import shutil
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.e2e.conftest import missing


def target(address: str, path: str, namespace: str, track: str) -> dict[str, Any]:
    """Return the scrape configuration of one pod, with the labels that the PodMonitor sets."""
    labels = {"namespace": namespace, "track": track, "pod": f"{namespace}-{track}-{path.rpartition('/')[2]}"}
    return {"targets": [address], "labels": {"__metrics_path__": path, **labels}}


@contextmanager
def running_prometheus(
    directory: Path, targets: Sequence[dict[str, Any]], *, scrape_interval_ms: int
) -> Iterator[tuple[str, "subprocess.Popen[bytes]"]]:
    """Run a Prometheus on loopback; yield its URL and its process."""
    if not shutil.which("prometheus"):
        missing("prometheus is not installed (Debian: apt install prometheus)")
    interval = f"{scrape_interval_ms}ms"
    config = {
        "global": {"scrape_interval": interval, "scrape_timeout": interval},
        "scrape_configs": [{"job_name": "demo", "static_configs": targets}],
    }
    (directory / "prometheus.yml").write_text(json.dumps(config))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(
            [
                "prometheus",
                f"--config.file={directory}/prometheus.yml",
                f"--storage.tsdb.path={directory}/data",
                f"--web.listen-address={address}",
            ],
            stdout=log,
            stderr=log,
        )
        try:
            yield f"http://{address}", process
        finally:
            process.terminate()
            process.wait(timeout=30)
