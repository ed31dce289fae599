"""The pods satisfy the restricted Pod Security Standard."""

from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tests.deploy.conftest import Manifest, pod


def violations(spec: Manifest) -> Iterator[str]:
    """Yield the controls of the restricted Pod Security Standard that a pod's specification violates.

    https://kubernetes.io/docs/concepts/security/pod-security-standards/
    """
    inside = spec["containers"] + spec.get("initContainers", []) + spec.get("ephemeralContainers", [])
    whole = spec.get("securityContext", {})
    contexts = [item.get("securityContext", {}) for item in inside]
    # Controls of the Pod Security Standard "baseline".
    if any(spec.get(field) for field in ("hostNetwork", "hostPID", "hostIPC")):
        yield "host namespaces"
    if any(context.get("privileged") for context in contexts):
        yield "privileged"
    if any(context.get("windowsOptions") for context in [whole, *contexts]):
        yield "host process"
    if any("hostPort" in port for item in inside for port in item.get("ports", [])):
        yield "host ports"
    hooks = [
        item.get(probe, {})
        for item in inside
        for probe in ("livenessProbe", "readinessProbe", "startupProbe")
    ]
    hooks += [hook for item in inside for hook in item.get("lifecycle", {}).values()]
    if any("host" in hook.get(kind, {}) for hook in hooks for kind in ("httpGet", "tcpSocket")):
        yield "host probes"
    for field in ("appArmorProfile", "seLinuxOptions", "procMount", "sysctls"):
        if any(field in context for context in [whole, *contexts]):
            yield field
    # Controls of the standard "restricted".
    kinds = {
        "configMap",
        "csi",
        "downwardAPI",
        "emptyDir",
        "ephemeral",
        "persistentVolumeClaim",
        "projected",
        "secret",
    }
    if {field for volume in spec.get("volumes", []) for field in volume} - {"name"} - kinds:
        yield "volume types"
    if any(context.get("allowPrivilegeEscalation") is not False for context in contexts):
        yield "privilege escalation"
    if not all(context.get("runAsNonRoot", whole.get("runAsNonRoot")) is True for context in contexts):
        yield "non-root"
    if 0 in [context.get("runAsUser") for context in [whole, *contexts]]:
        yield "non-root user"
    profiles = [context.get("seccompProfile", whole.get("seccompProfile", {})) for context in contexts]
    if not all(profile.get("type") in {"RuntimeDefault", "Localhost"} for profile in profiles):
        yield "seccomp"
    capabilities = [context.get("capabilities", {}) for context in contexts]
    if not all("ALL" in item.get("drop", []) and "add" not in item for item in capabilities):
        yield "capabilities"


def test_restricted(overlay: dict[str, Manifest]) -> None:
    """The pods violate no control of the restricted Pod Security Standard."""
    assert list(violations(pod(overlay)["spec"])) == []


@pytest.mark.parametrize(
    ("path", "value", "control"),
    [
        ("hostPID", True, "host namespaces"),
        ("containers.0.securityContext.privileged", True, "privileged"),
        ("securityContext.windowsOptions", {"hostProcess": True}, "host process"),
        ("containers.0.ports.0.hostPort", 8080, "host ports"),
        ("containers.0.livenessProbe.httpGet.host", "10.0.0.1", "host probes"),
        ("securityContext.sysctls", [], "sysctls"),
        ("volumes.0.hostPath", {"path": "/"}, "volume types"),
        ("containers.0.securityContext.allowPrivilegeEscalation", True, "privilege escalation"),
        ("securityContext.runAsNonRoot", False, "non-root"),
        ("securityContext.runAsUser", 0, "non-root user"),
        ("securityContext.seccompProfile.type", "Unconfined", "seccomp"),
        ("containers.0.securityContext.capabilities.add", ["SYS_ADMIN"], "capabilities"),
    ],
)
def test_violation(production: dict[str, Manifest], path: str, value: object, control: str) -> None:
    """A pod that violates a control is reported with it."""
    spec = yaml.safe_load(yaml.safe_dump(pod(production)["spec"]))
    *parents, last = path.split(".")
    target: Any = spec
    for key in parents:
        target = target[int(key) if key.isdecimal() else key]
    target[last] = value
    assert list(violations(spec)) == [control]
