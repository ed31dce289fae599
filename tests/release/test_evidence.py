"""`python -m release evidence`: what registry and cluster know of an image."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.release.conftest import docker, release
from tests.release.environment import ReleaseEnvironment


def evidence(*options: str) -> dict[str, Any]:
    """Return what the command prints."""
    done = release("evidence", *options)
    assert (done.code, done.err) == (0, "")
    return dict(json.loads(done.out))


def test_image(environment: ReleaseEnvironment) -> None:
    """The labels and the id of an image, and every pod in production."""
    _, image, _ = environment.images
    Path("scripts/verify_image").unlink()
    found = evidence("--image", image.reference)
    id_ = docker("image", "inspect", "--format", "{{.Id}}", image.reference)
    assert found["image"] == {"model": image.model, "commit": image.commit, "id": id_}
    assert [pod["name"] for pod in found["pods"]["pods"]] == [f"demo-{number}" for number in range(3)]
    assert {pod["image"] for pod in found["pods"]["pods"]} == {image.digest}
    assert "run the command at the top of the clone" in found["signature"]["error"]


def test_not_asked(environment: ReleaseEnvironment) -> None:
    """A registry and a cluster that are unavailable have an error each."""
    environment.update_cluster(fail="get")
    found = evidence("--image", f"127.0.0.1:1/demo@sha256:{1:064x}")
    assert found["image"]["error"].startswith("docker pull failed")
    assert found["pods"]["error"].startswith("kubectl get failed")
    assert [*evidence()] == ["pods"]


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("", "verified"),
        ("Error: signature verification failed: no signature is associated with x", "problem"),
        ("Error: signature verification failed for all the signatures associated with x", "problem"),
        ("Error: failed to resolve x: connection refused", "error"),
    ],
)
def test_signature(environment: ReleaseEnvironment, message: str, expected: str) -> None:
    """An image without a valid signature is a problem; a registry that cannot be reached is an error."""
    Path("images.crt").write_text("certificate")
    notation = environment.path / "programs/notation"
    notation.write_text(f'#!/bin/sh\n[ -z "{message}" ] || {{ echo "{message}" >&2; exit 1; }}\n')
    notation.chmod(0o755)
    signature = evidence("--image", environment.images[1].reference)["signature"]
    assert [*signature] == [expected]
    assert message in str(signature[expected])
