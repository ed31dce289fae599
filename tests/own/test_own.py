"""This clone's own model, transform, gate, names and image. Your own tests belong beside this file."""

import subprocess
from pathlib import Path
from uuid import uuid4

import pytest

from model_loader.package import Package
from model_loader.package.samples import Sample
from model_loader.package.service_file import read_service_file
from model_loader.registry.metrics_gate import check, read_limits
from tests.asgi_client import AsgiClient
from tests.e2e.images import docker

ROOT = Path(__file__).parents[2]


def samples(client: AsgiClient) -> tuple[Sample, ...]:
    """Return the samples that the service verified its model with, of which there must be some."""
    found: tuple[Sample, ...] = client.application.extensions["service"].samples
    assert found, "the package has no samples.json: nothing verifies its answers; see docs/models.md"
    return found


def test_names() -> None:
    """`service.toml` has everything that is named after the service."""
    assert read_service_file(ROOT / "service.toml").name


def test_samples(client: AsgiClient) -> None:
    """The service answers every sample as the training framework did, through the transform.

    The start has compared the outputs' values; here the request is a client's.
    """
    outputs = client.application.extensions["service"].model.outputs
    for sample in samples(client):
        reply = client.post("/score", json={"inputs": sample.inputs})
        assert reply.status_code == 200, reply.get_json()
        assert reply.get_json()["outputs"].keys() == outputs.keys()


def test_schema(client: AsgiClient) -> None:
    """No sample violates `schema.json`, if the package has one."""
    service = client.application.extensions["service"]
    for sample in samples(client):
        assert client.post("/score", json={"inputs": sample.inputs}).status_code == 200
    service.metrics.flush()
    violations = [
        f"{each.labels}: {each.value:g}"
        for family in service.metrics.registry.collect()
        for each in family.samples
        if each.name == "model_schema_violations_total" and each.value
    ]
    assert not violations, f"samples violate {service.model.package}'s schema.json: {violations}"


def test_gate(package: Package) -> None:
    """The model's metrics pass the limits in `gate.toml`."""
    if not (ROOT / "gate.toml").exists():
        pytest.skip("there is no gate.toml, so that any model goes into an image; see docs/models.md")
    checks = check(read_limits(ROOT / "gate.toml"), package.manifest.metrics or {}, {})
    failed = [
        f"{each.metric}: {each.rule} {each.limit}, got {each.value}" for each in checks if not each.passed
    ]
    assert not failed, f"{package} does not pass gate.toml: {failed}"


def test_image(package: Package, base_image: None) -> None:
    """The image is built, starts, and answers the model's samples."""
    tag = f"{read_service_file(ROOT / 'service.toml').name}-own-{uuid4().hex[:8]}:test"
    try:
        done = subprocess.run(
            [ROOT / "scripts/build", "--locked", "--tag", tag], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert f"built {tag}: " in done.stdout
    finally:
        docker("rmi", "--force", tag)
