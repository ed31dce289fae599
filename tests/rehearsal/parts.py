"""The services of the rehearsal (Azurite, registry, Prometheus, nginx), and its own `kubectl` and `az`."""

import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from azure.storage.blob import ContainerClient

from model_loader.store.blob_store import EMULATOR_ACCOUNT, EMULATOR_KEY
from tests.rehearsal.cluster import Cluster
from tests.rehearsal.errors import RehearsalError

ROOT = Path(__file__).parents[2]
START_TIMEOUT_S = 180.0  # long, because the first start installs Azurite

NGINX = """\
worker_processes 1;
daemon off;
pid {directory}/nginx.pid;
error_log {directory}/nginx.log;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  client_body_temp_path {directory}/nginx-body;
  proxy_temp_path {directory}/nginx-proxy;
  fastcgi_temp_path {directory}/nginx-fastcgi;
  uwsgi_temp_path {directory}/nginx-uwsgi;
  scgi_temp_path {directory}/nginx-scgi;
  include {directory}/pods.conf;
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://pods;
      proxy_next_upstream off;  # a Service does not retry either
      add_header x-pod $pod always;
    }}
  }}
}}
"""
PROMETHEUS = """\
global: {{scrape_interval: 1s, scrape_timeout: 1s}}
scrape_configs:
  - job_name: scorebox
    file_sd_configs: [{{files: ["{directory}/targets.json"], refresh_interval: 1s}}]
"""
REGISTRY = """\
version: 0.1
storage: {{filesystem: {{rootdirectory: {directory}/registry}}}}
http: {{addr: "127.0.0.1:{port}"}}
log: {{level: error}}
"""
KUBECTL = """\
#!/usr/bin/env bash
PYTHONPATH={root} exec {python} -P -m tests.rehearsal.kubectl "$@"
"""
AZ = """\
#!/usr/bin/env bash
case "$1 $2" in
  "aks get-credentials") while [[ $1 != --file ]]; do shift; done; : >"$2" ;;
  "acr login") ;;
  "account get-access-token") echo rehearsal ;;
  *) echo "the rehearsal's az does not support: $*" >&2; exit 2 ;;
esac
"""


@dataclass(frozen=True)
class Parts:
    """The running services.

    Attributes:
        service: URL of the scoring service, for clients.
        store: URL of the model store.
        azurite: URL of the storage emulator's account.
        registry: host and port of the image registry.
        prometheus: URL of Prometheus.
        origin: the bare repository that pipelines check out and push to.
        env: environment variables of the pipeline's steps.
    """

    directory: Path
    cluster: Cluster
    service: str
    store: str
    azurite: str
    registry: str
    prometheus: str
    origin: Path
    env: dict[str, str]


@contextmanager
def running(directory: Path) -> Iterator[Parts]:
    """Start all services; at the end, stop them and remove all pods and the network."""
    network = f"scorebox-rehearsal-{os.getpid()}"
    ports = dict(zip(("nginx", "registry", "prometheus"), _free_ports(3), strict=True))
    cluster = Cluster(directory, network)
    with ExitStack() as stack:
        _docker("network", "create", network)
        stack.callback(_docker, "network", "rm", network)
        stack.callback(cluster.stop)
        (directory / "targets.json").write_text("[]")
        (directory / "pods.conf").write_text(
            "upstream pods { server 127.0.0.1:9 down; }\nmap $upstream_addr $pod {}\n"
        )
        for name, text in (("nginx", NGINX), ("registry", REGISTRY), ("prometheus", PROMETHEUS)):
            text = text.format(directory=directory, port=ports[name])
            (directory / f"{name}.yml").write_text(text)
        _start(stack, directory, "nginx", "-e", f"{directory}/nginx.log", "-c", f"{directory}/nginx.yml")
        _start(stack, directory, "docker-registry", "serve", f"{directory}/registry.yml")
        _start(
            stack,
            directory,
            "prometheus",
            f"--config.file={directory}/prometheus.yml",
            f"--storage.tsdb.path={directory}/prometheus",
            f"--web.listen-address=127.0.0.1:{ports['prometheus']}",
        )
        azurite = _azurite(stack, directory)
        container = ContainerClient(azurite, "models", credential=_credential())
        with container:
            container.create_container()
        for port in ports.values():
            _wait(port)
        _wait_for(directory / "nginx.pid")
        yield Parts(
            directory=directory,
            cluster=cluster,
            service=f"http://127.0.0.1:{ports['nginx']}",
            store=f"{azurite}/models",
            azurite=azurite,
            registry=f"127.0.0.1:{ports['registry']}",
            prometheus=f"http://127.0.0.1:{ports['prometheus']}",
            origin=directory / "origin.git",
            env=_environment(directory, network, azurite),
        )


def _environment(directory: Path, network: str, azurite: str) -> dict[str, str]:
    programs = directory / "bin"
    programs.mkdir()
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        raise RehearsalError("kubectl is not installed; the rehearsal uses `kubectl kustomize`")
    texts = {
        "kubectl": KUBECTL.format(root=ROOT, python=sys.executable),
        "az": AZ,
        "kubelogin": "#!/usr/bin/env bash\n",
    }
    for name, text in texts.items():
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    return {
        "PATH": f"{programs}:{os.environ['PATH']}",
        "AZURITE_BLOB_URL": azurite,
        "REHEARSAL_CLUSTER": str(directory),
        "REHEARSAL_NETWORK": network,
        "REHEARSAL_KUBECTL": kubectl,
        "MODEL_PUBLISHER": "rehearsal",
        "MYPY_CACHE_DIR": str(ROOT / ".mypy_cache"),
        "RUFF_CACHE_DIR": str(ROOT / ".ruff_cache"),
        "TF_BUILD": "True",
        "no_proxy": "127.0.0.1",
    }


def _credential() -> dict[str, str]:
    return {"account_name": EMULATOR_ACCOUNT, "account_key": EMULATOR_KEY}


def _azurite(stack: ExitStack, directory: Path) -> str:
    """Start the storage emulator; return the URL of its account."""
    log = _start(stack, directory, str(ROOT / "scripts/azurite"))
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        if found := re.search(r"successfully listens on (\S+)", log.read_text()):
            return f"{found[1]}/{EMULATOR_ACCOUNT}"
        time.sleep(0.1)
    raise RehearsalError(f"Azurite did not start within {START_TIMEOUT_S:.0f} s: {log.read_text()}")


def _start(stack: ExitStack, directory: Path, *command: str) -> Path:
    """Start a process that ends with the stack; return the path of its log."""
    log = directory / f"{Path(command[0]).name}.out"
    with log.open("w") as file:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT)
    stack.callback(process.wait)
    stack.callback(process.terminate)
    return log


def _docker(*args: str) -> None:
    done = subprocess.run(["docker", *args], check=False, capture_output=True, text=True)
    if done.returncode:
        raise RehearsalError(f"docker {' '.join(args)}: {done.stderr.strip()}")


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def _wait(port: int) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise RehearsalError(f"nothing listens on port {port} after {START_TIMEOUT_S:.0f} s")


def _wait_for(path: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while not path.exists() or not path.read_text().strip():
        if time.monotonic() > deadline:
            raise RehearsalError(f"{path.name} is missing or empty after {START_TIMEOUT_S:.0f} s")
        time.sleep(0.1)
