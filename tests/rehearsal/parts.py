"""The services of the rehearsal (Azurite, registry, Prometheus, …), and its own `kubectl` and `az`."""

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
from tests.rehearsal.cluster.cluster import Cluster
from tests.rehearsal.cluster.routing import NO_POD
from tests.rehearsal.errors import RehearsalError
from tests.rehearsal.server_configs import write_configs

ROOT = Path(__file__).parents[2]
START_TIMEOUT_S = 180.0  # long, because the first start installs Azurite
TRAINING_WINDOW = "2m"  # instead of four weeks
MODELS, CAPTURED = "models", "captured"  # containers

KUBECTL = """\
#!/usr/bin/env bash
PYTHONPATH={root} exec {python} -P -m tests.rehearsal.kubectl "$@"
"""
# A file in the cluster's directory: while it exists, downloads fail, and requests to other services.
DOWNLOADS_FAIL = "downloads-fail"
AZ = """\
#!/usr/bin/env bash
case "$1 $2" in
  "acr login" | "account get-access-token")
    [[ ! -e $REHEARSAL_CLUSTER/{downloads_fail} ]] || {{ echo "az $1 $2: timed out" >&2; exit 1; }} ;;&
  "aks get-credentials") while [[ $1 != --file ]]; do shift; done; : >"$2" ;;
  "acr login") ;;
  "account get-access-token") echo rehearsal ;;
  *) echo "the rehearsal's az does not support: $*" >&2; exit 2 ;;
esac
"""
NOTATION = """\
#!/usr/bin/env bash
[[ $# == 2 && $1 == verify ]] || { echo "the rehearsal's notation does not support: $*" >&2; exit 2; }
grep --quiet --line-regexp --fixed-strings -- "$2" "$REHEARSAL_SIGNED" ||
  { echo "$2 is not signed" >&2; exit 1; }
"""


@dataclass(frozen=True)
class Parts:
    """The running services.

    Attributes:
        service: URL of the scoring service, for clients.
        store: URL of the model store.
        azurite: URL of the storage emulator's account.
        captured: URL of the capture store.
        registry: host and port of the image registry.
        prometheus: URL of Prometheus.
        hooks: port of the loopback interface at which Alertmanager expects the webhook; see events.py.
        origin: the bare repository that pipelines check out and push to.
        env: environment variables of the pipeline's steps.
    """

    directory: Path
    cluster: Cluster
    service: str
    store: str
    azurite: str
    captured: str
    registry: str
    prometheus: str
    hooks: int
    origin: Path
    env: dict[str, str]

    @property
    def downloads_fail(self) -> Path:
        """A file that lets downloads fail while it exists."""
        return self.directory / DOWNLOADS_FAIL


@contextmanager
def running(directory: Path) -> Iterator[Parts]:
    """Start all services; at the end, stop them and remove all pods and the network."""
    network = f"demo-rehearsal-{os.getpid()}"
    names = ("nginx", "proxy", "registry", "prometheus", "alertmanager", "hooks")
    ports = dict(zip(names, _free_ports(len(names)), strict=True))
    with ExitStack() as stack:
        _docker("network", "create", network)
        stack.callback(_docker, "network", "rm", network)
        gateway = _docker("network", "inspect", "--format", "{{(index .IPAM.Config 0).Gateway}}", network)
        (directory / "targets.json").write_text("[]")
        (directory / "pods.conf").write_text(NO_POD)
        azurite = _azurite(stack, directory)
        for name in (MODELS, CAPTURED):
            with ContainerClient(azurite, name, credential=_credential()) as container:
                container.create_container()
        write_configs(directory, ports, gateway, azurite)
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
        _start(
            stack,
            directory,
            "prometheus-alertmanager",
            f"--config.file={directory}/alertmanager.yml",
            f"--storage.path={directory}/alertmanager",
            f"--web.listen-address=127.0.0.1:{ports['alertmanager']}",
            "--cluster.listen-address=",
        )
        for name in ("nginx", "registry", "prometheus", "alertmanager"):
            _wait(ports[name])
        _wait_for(directory / "nginx.pid")
        # Azurite is at 127.0.0.1, also for the containers: nginx is their proxy.
        proxy = {"HTTP_PROXY": f"http://{gateway}:{ports['proxy']}"}
        cluster = Cluster(directory, network, proxy)
        stack.enter_context(cluster.running(ROOT / "deploy/azure/cluster.yaml"))
        yield Parts(
            directory=directory,
            cluster=cluster,
            service=f"http://127.0.0.1:{ports['nginx']}",
            store=f"{azurite}/{MODELS}",
            azurite=azurite,
            captured=f"{azurite}/{CAPTURED}",
            registry=f"127.0.0.1:{ports['registry']}",
            prometheus=f"http://127.0.0.1:{ports['prometheus']}",
            hooks=ports["hooks"],
            origin=directory / "origin.git",
            env=_environment(directory, azurite, f"127.0.0.1:{ports['registry']}"),
        )


def _environment(directory: Path, azurite: str, registry: str) -> dict[str, str]:
    programs = directory / "bin"
    programs.mkdir()
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        raise RehearsalError("kubectl is not installed; the rehearsal uses `kubectl kustomize`")
    texts = {
        "kubectl": KUBECTL.format(root=ROOT, python=sys.executable),
        "az": AZ.format(downloads_fail=DOWNLOADS_FAIL),
        "kubelogin": "#!/usr/bin/env bash\n",
        "notation": NOTATION,
    }
    for name, text in texts.items():
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    return {
        "PATH": f"{programs}:{os.environ['PATH']}",
        "AZURITE_BLOB_URL": azurite,
        "REGISTRY": registry,  # in place of the one in service.toml
        "REHEARSAL_CLUSTER": str(directory),
        "REHEARSAL_KUBECTL": kubectl,
        "REHEARSAL_SIGNED": str(directory / "signed"),
        "REHEARSAL_IDENTITY": "nobody",  # steps that log in set it to their identity
        "MODEL_PUBLISHER": "rehearsal",
        "TRAINING_WINDOW": TRAINING_WINDOW,
        "MYPY_CACHE_DIR": str(ROOT / ".mypy_cache"),
        "XDG_CACHE_HOME": str(directory / "cache"),  # of captured rows
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


def _docker(*args: str) -> str:
    done = subprocess.run(["docker", *args], check=False, capture_output=True, text=True)
    if done.returncode:
        raise RehearsalError(f"docker {' '.join(args)}: {done.stderr.strip()}")
    return done.stdout.strip()


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
