"""`service.toml`: every value is read and checked; a wrong one is named with what was expected and found."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from model_loader.errors import ServiceFileError
from model_loader.package.service_file import Namespaces, ServiceFile, read_service_file, service

VALID = """\
name = "fraud"
organization = "Contoso"
label_domain = "ml.contoso.com"
registry = "contoso.azurecr.io"
port = 8081
contact = "#fraud-on-call"

[namespaces]
staging = "fraud-test"
production = "fraud"
"""
FRAUD = ServiceFile(
    "fraud",
    "Contoso",
    "ml.contoso.com",
    "contoso.azurecr.io",
    8081,
    "#fraud-on-call",
    Namespaces("fraud-test", "fraud"),
)


def written(directory: Path, text: str) -> Path:
    """Return a service file with a text."""
    path = directory / "service.toml"
    path.write_text(text)
    return path


def test_read(tmp_path: Path) -> None:
    """Every key is read; `removed` may be absent."""
    assert read_service_file(written(tmp_path, VALID)) == FRAUD
    removed = 'removed = ["tracing", "score_file"]\n' + VALID
    assert read_service_file(written(tmp_path, removed)) == replace(FRAUD, removed=("tracing", "score_file"))


def test_clone() -> None:
    """The clone's own file is valid, and read once."""
    assert service() is service()
    assert service() == read_service_file()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("name", "a-1"),
        ("name", "a" * 20),
        ("registry", "localhost:5000"),
        ("registry", "ghcr.io/contoso/ml_models"),
        ("contact", "mailto:ml@contoso.com, +49 (0) 30 1234"),
        ("organization", "Müller & Söhne"),
        ("port", 65535),
    ],
)
def test_valid(tmp_path: Path, key: str, value: str | int) -> None:
    """Unusual values are accepted."""
    line = f"{key} = {json.dumps(value, ensure_ascii=False)}"
    text = re.sub(rf"^{key} = .*$", line, VALID, flags=re.MULTILINE)
    assert getattr(read_service_file(written(tmp_path, text)), key) == value


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('name = "Fraud"', "name: expected 3 to 20 lower-case letters, .*, got 'Fraud'"),
        ('name = "ab"', "name: expected .*, got 'ab'"),
        (f'name = "{"a" * 21}"', "name: expected .*, got 'aaa"),
        ('name = "1st"', "name: expected .*, got '1st'"),
        ('name = "fraud-"', "name: expected .*, got 'fraud-'"),
        ('name = "fraud\\n"', r"name: expected .*, got 'fraud\\n'"),
        ("name = 3", "name: expected .*, got 3"),
        ('name = ["a"]', r"name: expected .*, got \['a'\]"),
        ('name = "null"', "name: expected .*, got 'null'"),
        ('name = "fraud-monitor"', "name: expected .*, got 'fraud-monitor'"),
        ('organization = ""', "organization: expected 1 to 200 characters .*, got ''"),
        ('label_domain = "com"', "label_domain: expected a domain name .*, got 'com'"),
        ('label_domain = "k8s.io"', "label_domain: expected a domain name that is not Kubernetes's own"),
        ('label_domain = "a.kubernetes.io"', "label_domain: expected a domain name that is not Kubernetes"),
        (f'label_domain = "{"a." * 126}bc"', "label_domain: expected"),
        ('registry = "https://contoso.azurecr.io"', "registry: expected a registry's host without https://"),
        ('registry = "contoso.azurecr.io/"', "registry: expected .*, got 'contoso.azurecr.io/'"),
        ("port = 80", "port: expected a port from 1024 to 65535, got 80"),
        ("port = 65536", "port: expected .*, got 65536"),
        ("port = true", "port: expected .*, got True"),
        ('port = "8080"', "port: expected .*, got '8080'"),
        ('contact = "a\\nb"', r"contact: expected .*, got 'a\\nb'"),
        ('contact = "{{ $value }}"', "contact: expected .*, got '{{ "),
        ("contact = '\"'", "contact: expected .*, got"),
        (f'contact = "{"a" * 201}"', "contact: expected"),
        (
            'staging = "fraud_test"',
            "namespaces.staging: expected a Kubernetes namespace .*, got 'fraud_test'",
        ),
        ('staging = "fraud"', "namespaces: expected two different names, got 'fraud' twice"),
        ('staging = "kube-system"', "namespaces.staging: expected .*, got 'kube-system'"),
        ('staging = "1e3"', "namespaces.staging: expected .*, got '1e3'"),
        ("production = 1", "namespaces.production: expected .*, got 1"),
    ],
)
def test_invalid(tmp_path: Path, line: str, message: str) -> None:
    """An invalid value is refused with its key, what was expected and what was found."""
    key = line.partition(" ")[0]
    text = re.sub(rf"^{key} = .*$", lambda _: line, VALID, count=1, flags=re.MULTILINE)
    with pytest.raises(ServiceFileError, match=message):
        read_service_file(written(tmp_path, text))


@pytest.mark.parametrize(
    "key", ["name", "organization", "label_domain", "registry", "port", "contact", "staging", "production"]
)
def test_missing(tmp_path: Path, key: str) -> None:
    """A missing key is named, with what is expected."""
    text = re.sub(rf"^{key} = .*\n", "", VALID, flags=re.MULTILINE)
    with pytest.raises(ServiceFileError, match=rf"the key (namespaces\.)?{key} is missing: expected "):
        read_service_file(written(tmp_path, text))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('title = "Fraud"\n' + VALID, "unknown key 'title'; the keys are name, organization, "),
        (
            VALID + 'test = "fraud-test-2"\n',
            "unknown key 'namespaces.test'; the keys are .*namespaces.staging",
        ),
        ('"namespaces.staging" = "a"\n' + VALID, "unknown key '\"namespaces.staging\"'"),
        ("namespaces = 3\n" + VALID.partition("[")[0], "unknown key 'namespaces'; the keys are"),
        ('removed = ["a", "a"]\n' + VALID, "removed: expected a list of different names of parts, got"),
        ("removed = [1]\n" + VALID, r"removed: expected .*, got \[1\]"),
        ('removed = "a"\n' + VALID, "removed: expected .*, got 'a'"),
        ("name", "service.toml is not TOML: "),
        (VALID + VALID, "service.toml is not TOML: "),
    ],
)
def test_wrong_document(tmp_path: Path, text: str, message: str) -> None:
    """An unknown key, a wrong table and a file that is not TOML are refused."""
    with pytest.raises(ServiceFileError, match=message):
        read_service_file(written(tmp_path, text))


def test_unreadable(tmp_path: Path) -> None:
    """A file that is missing, or not text, is refused with its path."""
    with pytest.raises(ServiceFileError, match=r"cannot read .*service.toml: No such file or directory"):
        read_service_file(tmp_path / "service.toml")
    (tmp_path / "service.toml").write_bytes(b"\xff")
    with pytest.raises(ServiceFileError, match=r"service.toml is not TOML: "):
        read_service_file(tmp_path / "service.toml")
