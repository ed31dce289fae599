"""`service.toml`: the names that a team gives its service, and the template's version.

It is read here, and nowhere else. The image has the file as well.
"""

import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from model_loader.errors import ServiceFileError

__all__ = [
    "STAGES",
    "TEMPLATE_VERSION",
    "Namespaces",
    "ServiceFile",
    "ServiceFileError",
    "read_service_file",
    "service",
]

TEMPLATE_VERSION = "1.0.0"
SERVICE_FILE = Path(__file__).parents[2] / "service.toml"

# YAML reads these words as something else than text.
_NO_YAML_WORD = r"(?!(yes|no|on|off|y|n|true|false|null)\Z)"
# Names of Kubernetes objects and Azure identities begin with it, and have at most 63 characters. A service
# `x-monitor` would have the metrics job of the monitor of the service `x`.
NAME = re.compile(_NO_YAML_WORD + r"[a-z][a-z0-9-]{1,18}[a-z0-9](?<!-monitor)(?<!-canary)(?<!-control)")
# The cluster's own namespaces would get the limits of the service's.
NAMESPACE = re.compile(_NO_YAML_WORD + r"(?!kube-|default\Z)[a-z]([a-z0-9-]{0,61}[a-z0-9])?")
_DNS_LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
DOMAIN = re.compile(rf"(?=.{{1,253}}\Z){_DNS_LABEL}(\.{_DNS_LABEL})+")
REGISTRY = re.compile(rf"{_DNS_LABEL}(\.{_DNS_LABEL})*(:[0-9]{{1,5}})?(/[a-z0-9]+([._-]+[a-z0-9]+)*)*")
PART = re.compile(r"[a-z][a-z0-9_]*")
# Without the characters that mean something in YAML, JSON, a shell or Prometheus's templates.
TEXT = re.compile(r"(?! )[^\x00-\x1f\x7f-\x9f\u2028\u2029\"'\\`$<>{}]{1,200}(?<! )")
# Kubernetes keeps these for its own labels.
RESERVED_DOMAIN = re.compile(r"(.*\.)?(kubernetes|k8s)\.io")
STAGES = ("staging", "production")


@dataclass(frozen=True)
class Namespaces:
    """The Kubernetes namespaces that the service is deployed to."""

    staging: str
    production: str


@dataclass(frozen=True)
class ServiceFile:
    """What `service.toml` says.

    Attributes:
        name: of Kubernetes objects, image, metrics job, identities and connections.
        organization: vendor in the image's labels.
        label_domain: prefix of the Kubernetes labels and annotations that a release sets.
        registry: of the images: a host, with an optional port and path.
        port: that the service listens on in its container.
        contact: who gets the alerts: an address, a channel, a team.
        removed: parts that were taken out of the clone.
    """

    name: str
    organization: str
    label_domain: str
    registry: str
    port: int
    contact: str
    namespaces: Namespaces
    removed: tuple[str, ...] = ()


@cache
def service() -> ServiceFile:
    """Return what the clone's `service.toml` says; it is read once.

    Raises:
        ServiceFileError: see `read_service_file`.
    """
    return read_service_file()


def read_service_file(path: Path = SERVICE_FILE) -> ServiceFile:
    """Read a service file.

    Raises:
        ServiceFileError: the file cannot be read, lacks a key, or has an unknown key or an invalid value.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as exc:
        raise ServiceFileError(f"cannot read {path}: {exc.strerror}") from exc
    except ValueError as exc:
        raise ServiceFileError(f"{path} is not TOML: {exc}") from exc
    return _parse(document, path)


def _parse(document: Mapping[str, Any], path: Path) -> ServiceFile:
    values = {"removed": [], **_flat(document)}
    for key in [*values, *RULES]:
        if key not in RULES:
            raise ServiceFileError(f"{path}: unknown key {key!r:.80}; the keys are {', '.join(RULES)}")
        expected, is_valid = RULES[key]
        if key not in values:
            raise ServiceFileError(f"{path}: the key {key} is missing: expected {expected}")
        if not is_valid(values[key]):
            raise ServiceFileError(f"{path}: {key}: expected {expected}, got {values[key]!r:.200}")
    found = Namespaces(*(values.pop(f"namespaces.{stage}") for stage in STAGES))
    if found.staging == found.production:
        raise ServiceFileError(
            f"{path}: namespaces: expected two different names, got {found.staging!r} twice"
        )
    return ServiceFile(**{**values, "namespaces": found, "removed": tuple(values["removed"])})


def _flat(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return key → value, with the table's keys as in `namespaces.staging`."""
    values: dict[str, Any] = {}
    for key, value in document.items():
        if key == "namespaces" and isinstance(value, dict):
            values |= {f"{key}.{name}": item for name, item in value.items()}
        else:
            # A quoted key with a dot is not the table's.
            values[f'"{key}"' if "." in key else key] = value
    return values


def _matches(pattern: re.Pattern[str]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, str) and pattern.fullmatch(value) is not None


def _is_label_domain(value: Any) -> bool:
    return _matches(DOMAIN)(value) and not RESERVED_DOMAIN.fullmatch(value)


def _is_port(value: Any) -> bool:
    """Return whether a process that is not root may listen on it."""
    return isinstance(value, int) and not isinstance(value, bool) and 1024 <= value <= 65535


def _is_parts(value: Any) -> bool:
    return isinstance(value, list) and all(map(_matches(PART), value)) and len(set(value)) == len(value)


_NAME_RULE = (
    "3 to 20 lower-case letters, digits and hyphens, first a letter, last no hyphen, no word of YAML, "
    "not …-monitor, …-canary or …-control"
)
_NAMESPACE_RULE = (
    "a Kubernetes namespace of the service's own: lower-case letters, digits and hyphens, first a letter"
)
_TEXT_RULE = "1 to 200 characters in one line, without quotes and \\ ` $ < > { }"
# Key → what is expected, and whether a value is valid. A key that is added needs a default in `_parse`, as
# `removed` has: updates leave the service.toml of teams as it is.
RULES: Mapping[str, tuple[str, Callable[[Any], bool]]] = {
    "name": (
        _NAME_RULE,
        _matches(NAME),
    ),
    "organization": (_TEXT_RULE, _matches(TEXT)),
    "label_domain": ("a domain name that is not Kubernetes's own, such as example.com", _is_label_domain),
    "registry": ("a registry's host without https://, such as example.azurecr.io", _matches(REGISTRY)),
    "port": ("a port from 1024 to 65535", _is_port),
    "contact": (_TEXT_RULE, _matches(TEXT)),
    "removed": ("a list of different names of parts", _is_parts),
    **{f"namespaces.{stage}": (_NAMESPACE_RULE, _matches(NAMESPACE)) for stage in STAGES},
}
