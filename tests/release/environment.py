"""The environment of a release: a store, an origin with a clone, images in a registry, and a cluster."""

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model_loader.registry.ledger import read_ledger
from model_loader.store import open_store


@dataclass(frozen=True)
class Image:
    """An image in the registry, with the contents of its labels.

    Attributes:
        reference: by digest, `REPOSITORY@sha256:…`.
        commit: the commit that it was built from.
        model: `NAME/VERSION@sha256:…`.
    """

    reference: str
    commit: str
    model: str

    @property
    def digest(self) -> str:
        """Digest of the image."""
        return self.reference.rpartition("@")[2]


@dataclass(frozen=True)
class ReleaseEnvironment:
    """Access to an environment in the directory `path`.

    Attributes:
        images: of tiny/1, tiny/2 and tiny/3.
    """

    path: Path
    images: list[Image]

    def git(self, *args: str, where: str = "origin.git") -> str:
        """Run git in a repository and return its output."""
        return subprocess.check_output(["git", "-C", str(self.path / where), *args], text=True).strip()

    def locked_model(self) -> str:
        """Return the model in the origin's `model.lock`."""
        lock = json.loads(self.git("show", "main:model.lock"))
        return f"{lock['name']}/{lock['version']}@{lock['digest']}"

    def release_log(self) -> list[dict[str, Any]]:
        """Return the lines of the origin's `releases.jsonl`."""
        return [json.loads(line) for line in self.git("show", "main:releases.jsonl").splitlines()]

    def ledger_model(self, stage: str = "production") -> str:
        """Return the current model of a stage in the ledger."""
        entry = read_ledger(open_store(f"file:{self.path}/store"), "tiny").current(stage)
        return f"tiny/{entry.version}@{entry.digest}"

    def cluster_state(self) -> Any:
        """Return the state of the simulated cluster."""
        return json.loads((self.path / "cluster.json").read_text())

    def update_cluster(self, **changes: Any) -> None:
        """Replace parts of the cluster's state."""
        (self.path / "cluster.json").write_text(json.dumps(self.cluster_state() | changes))

    def run_images(self, *images: Image, deployment: str = "demo") -> None:
        """Replace the pods of a Deployment by one pod per image."""
        pods = [pod for pod in self.cluster_state()["pods"] if pod["metadata"]["deployment"] != deployment]
        pods += [self.pod(f"{deployment}-{number}", image, deployment) for number, image in enumerate(images)]
        self.update_cluster(pods=pods)

    def deployment(self) -> dict[str, Any] | None:
        """Return the Deployment of the stable pods in production."""
        found: dict[str, Any] | None = self.cluster_state()["objects"].get("deployment/demo-production/demo")
        return found

    def pod(self, name: str, image: Image, deployment: str = "demo") -> dict[str, Any]:
        """Return a ready pod."""
        model, _, digest = image.model.partition("@sha256:")
        labels = dict(zip(("name", "version"), model.split("/"), strict=True))
        return {
            "metadata": {
                "name": name,
                "deployment": deployment,
                "labels": {f"example.com/model-{key}": value for key, value in labels.items()},
                "annotations": {"example.com/model-digest-sha256": digest},
            },
            "spec": {"containers": [{"name": "demo", "image": image.reference}]},
            "status": {
                "phase": "Running",
                "conditions": [{"type": "Ready", "status": "True"}],
                "containerStatuses": [{"name": "demo", "imageID": image.reference}],
            },
        }

    def running_digests(self) -> list[str]:
        """Return the digest of the image that each pod runs."""
        statuses = [pod["status"]["containerStatuses"][0] for pod in self.cluster_state()["pods"]]
        return [status["imageID"].rpartition("@")[2] for status in statuses]
