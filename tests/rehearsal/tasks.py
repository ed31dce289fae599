"""Replacements of the pipelines' tasks and actions, by the names that the pipelines use.

https://learn.microsoft.com/azure/devops/pipelines/tasks/reference
"""

import subprocess
import urllib.error
import urllib.request
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Mapping
from pathlib import Path

from tests.rehearsal.errors import RehearsalError, StepFailed
from tests.rehearsal.parts import DOWNLOADS_FAIL
from tests.rehearsal.runner import Agent

# It may return text, which counts as printed.
Task = Callable[[Agent, Mapping[str, str]], str | None]


def tasks() -> dict[str, Task]:
    """Return task name → replacement."""
    return {
        "Docker@2": docker,
        "DownloadSecureFile@1": download_secure_file,
        "KubeloginInstaller@0": kubelogin,
        "Notation@0": notation,
        "PublishTestResults@2": publish_test_results,
        "azure/login": login,
        "azure/use-kubelogin": kubelogin,
        "notaryproject/notation-action/setup": install_notation,
        "notaryproject/notation-action/sign": sign,
    }


def docker(agent: Agent, inputs: Mapping[str, str]) -> None:
    """Accept `login`; the rehearsal's registry needs no credentials."""
    if inputs["command"] != "login":
        raise RehearsalError(f"Docker@2: the command '{inputs['command']}' is not supported")


def download_secure_file(agent: Agent, inputs: Mapping[str, str]) -> str:
    """Return the output variable with the path of the models' signing key, the only secure file.

    Raises:
        StepFailed: the library has no such file.
    """
    if inputs["secureFile"] != "demo-model.key":
        raise StepFailed(f"the library has no secure file {inputs['secureFile']}")
    path = Path(agent.env["REHEARSAL_CLUSTER"]) / "model.key"
    return f"##vso[task.setvariable variable=secureFilePath;isOutput=true]{path}"


def kubelogin(agent: Agent, inputs: Mapping[str, str]) -> None:
    """Install nothing; a replacement of that name is on PATH. Fail if a scenario lets downloads fail."""
    _download(agent, "kubelogin")


def install_notation(agent: Agent, inputs: Mapping[str, str]) -> None:
    """Install nothing; a replacement of that name is on PATH. Fail if a scenario lets downloads fail."""
    _download(agent, "notation")


def login(agent: Agent, inputs: Mapping[str, str]) -> None:
    """Let the later steps of the job use an identity; its name is the client id."""
    agent.env["REHEARSAL_IDENTITY"] = inputs["client-id"]


def notation(agent: Agent, inputs: Mapping[str, str]) -> None:
    """Run Notation@0's `install` or `sign`."""
    if inputs["command"] == "install":
        install_notation(agent, inputs)
    else:
        sign(agent, {"target_artifact_reference": inputs["artifactRefs"]})


def sign(agent: Agent, inputs: Mapping[str, str]) -> None:
    """Note that an image is signed, which the replacement of `notation` looks for, if the registry has it."""
    image = inputs["target_artifact_reference"]
    repository, _, digest = image.partition("@")
    host, _, name = repository.partition("/")
    accept = "application/vnd.docker.distribution.manifest.v2+json"
    request = urllib.request.Request(
        f"http://{host}/v2/{name}/manifests/{digest}", headers={"accept": accept}
    )
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=5):
            pass
    except urllib.error.URLError as exc:
        raise StepFailed(f"{image}: cannot be signed, not in the registry: {exc}") from exc
    with Path(agent.env["REHEARSAL_SIGNED"]).open("a") as file:
        file.write(f"{image}\n")


def _download(agent: Agent, name: str) -> None:
    if (Path(agent.env["REHEARSAL_CLUSTER"]) / DOWNLOADS_FAIL).exists():
        raise StepFailed(f"cannot download {name}")


def publish_test_results(agent: Agent, inputs: Mapping[str, str]) -> None:
    """Parse the results that would be published."""
    path = agent.sources / inputs["testResultsFiles"]
    if not path.exists():
        raise StepFailed(f"{inputs['testResultsFiles']} does not exist")
    ElementTree.parse(path)


def engine_version() -> str:
    """Return the Docker engine's version.

    Raises:
        RehearsalError: no Docker engine is running.
    """
    done = subprocess.run(
        ["docker", "version", "--format", "{{.Server.Version}}"],
        check=False,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise RehearsalError(f"no Docker engine is running: {done.stderr.strip()}")
    return done.stdout.strip()
