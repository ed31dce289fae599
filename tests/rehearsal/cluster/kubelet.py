"""What a kubelet makes of a pod's specification: its volumes, and a `docker run` for each container."""

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.rehearsal.cluster.kinds import Document
from tests.rehearsal.cluster.state import State
from tests.rehearsal.errors import RehearsalError

FILES = "files"  # of a volume that is a ConfigMap: name → content


@dataclass(frozen=True)
class Node:
    """Where pods run.

    Attributes:
        network: the Docker network of the pods.
        directory: gets the files of ConfigMaps.
        env: environment variables that every container gets, as a node's runtime can add them.
    """

    network: str
    directory: Path
    env: Mapping[str, str]


def resolve(state: State, namespace: str, spec: Document) -> Document:
    """Return a pod's specification with the values of the ConfigMaps that it names.

    Raises:
        RehearsalError: a ConfigMap or a key is missing. In a cluster, the pod would wait for it.
    """
    result = copy.deepcopy(spec)

    def data(name: str) -> dict[str, str] | None:
        found: Document | None = state["objects"].get(f"{namespace}/ConfigMap/{name}")
        return None if found is None else dict(found.get("data", {}))

    for container in [*result.get("initContainers", []), *result["containers"]]:
        for variable in container.get("env", []):
            if reference := variable.pop("valueFrom", {}).get("configMapKeyRef"):
                name, key = reference["name"], reference["key"]
                found = (data(name) or {}).get(key)
                if found is None:
                    raise RehearsalError(f"{namespace}: ConfigMap {name} has no key {key}")
                variable["value"] = found
    for volume in result.get("volumes", []):
        if source := volume.get("configMap"):
            files = data(source["name"])
            if files is None and not source.get("optional"):
                raise RehearsalError(f"{namespace} has no ConfigMap {source['name']}")
            volume[FILES] = files or {}
    return result


def port_of(spec: Document) -> int:
    """Return the port that a pod serves, and is scraped at."""
    ports = spec["containers"][0].get("ports", [])
    return int(ports[0]["containerPort"]) if ports else 8080


def probe_path(spec: Document) -> str:
    """Return the path that says whether a pod is ready."""
    probe = spec["containers"][0].get("readinessProbe", {})
    return str(probe.get("httpGet", {}).get("path", "/readyz"))


def containers_of(name: str, spec: Document) -> list[str]:
    """Return the names of a pod's Docker containers in the order of their start; the last is the pod's own.

    Raises:
        RehearsalError: the pod has an init container that is no native sidecar, or several containers.
    """
    sidecars = spec.get("initContainers", [])
    if len(spec["containers"]) != 1 or any(each.get("restartPolicy") != "Always" for each in sidecars):
        raise RehearsalError(f"pod {name}: expected one container, and native sidecars")
    return [*(f"{name}-{each['name']}" for each in sidecars), name]


def shared_volumes(name: str, spec: Document) -> dict[str, str]:
    """Return volume → Docker volume, of those that several containers of a pod mount."""
    mounts = [
        mount["name"]
        for container in [*spec.get("initContainers", []), *spec["containers"]]
        for mount in container.get("volumeMounts", [])
    ]
    return {each: f"{name}-{each}" for each in mounts if mounts.count(each) > 1}


def run_options(node: Node, name: str, spec: Document, *, broken: bool) -> Iterator[list[str]]:
    """Yield the arguments of `docker run` for each container of a pod, as far as Docker has an equivalent.

    Args:
        broken: whether the pod's own container exits at once.
    """
    containers = [*spec.get("initContainers", []), *spec["containers"]]
    for container_name, container in zip(containers_of(name, spec), containers, strict=True):
        env = {**node.env, **{each["name"]: each["value"] for each in container.get("env", [])}}
        if broken and container_name == name:
            env["MODEL_PATH"] = "/nonexistent"
        limits = container["resources"]["limits"]
        yield [
            *("--detach", "--name", container_name, "--network", node.network),
            *("--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"),
            *("--cpus", limits["cpu"], "--memory", limits["memory"].removesuffix("i").lower()),
            *(option for key, value in env.items() for option in ("--env", f"{key}={value}")),
            *_mounts(node, name, spec, container),
            container["image"],
            *container.get("args", []),
        ]


def _mounts(node: Node, name: str, spec: Document, container: Document) -> Iterator[str]:
    shared = shared_volumes(name, spec)
    volumes = {each["name"]: each for each in spec.get("volumes", [])}
    for mount in container.get("volumeMounts", []):
        volume, path = volumes[mount["name"]], mount["mountPath"]
        if FILES in volume:
            directory = node.directory / "config" / name / volume["name"]
            directory.mkdir(parents=True, exist_ok=True)
            for file, text in volume[FILES].items():
                (directory / file).write_text(text)
            yield from ("--volume", f"{directory}:{path}:ro")
        elif mount["name"] in shared:
            yield from ("--volume", f"{shared[mount['name']]}:{path}")
        else:
            yield from ("--tmpfs", path)
