"""What a release happens in: a store, an origin with a clone, a registry's images, and a cluster."""

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model_loader.registry.ledger import read_ledger
from model_loader.store import open_store

KUBECTL = Path(__file__).with_name("kubectl.py")


@dataclass(frozen=True)
class Image:
    """An image in the registry, with what its labels say.

    Attributes:
        reference: by digest.
        model: `NAME/VERSION@sha256:…`.
    """

    reference: str
    commit: str
    model: str

    @property
    def digest(self) -> str:
        """Of the image."""
        return self.reference.rpartition("@")[2]


@dataclass(frozen=True)
class Scene:
    """All of it, in the directory `path`.

    Attributes:
        images: of tiny/1, tiny/2 and tiny/3.
    """

    path: Path
    images: list[Image]

    def git(self, *args: str, where: str = "origin.git") -> str:
        """What git prints about the origin."""
        return subprocess.check_output(["git", "-C", str(self.path / where), *args], text=True).strip()

    def lock(self) -> str:
        """The model in the origin's `model.lock`."""
        lock = json.loads(self.git("show", "main:model.lock"))
        return f"{lock['name']}/{lock['version']}@{lock['digest']}"

    def lines(self) -> list[dict[str, Any]]:
        """The origin's `releases.jsonl`."""
        return [json.loads(line) for line in self.git("show", "main:releases.jsonl").splitlines()]

    def ledger(self, stage: str = "production") -> str:
        """The model that a stage holds."""
        entry = read_ledger(open_store(f"file:{self.path}/store"), "tiny").current(stage)
        return f"tiny/{entry.version}@{entry.digest}"

    def state(self) -> Any:
        """The stand-in's cluster."""
        return json.loads((self.path / "cluster.json").read_text())

    def change(self, **changes: Any) -> None:
        """Changes the cluster."""
        (self.path / "cluster.json").write_text(json.dumps(self.state() | changes))

    def carry(self, *images: Image, deployment: str = "scorebox") -> None:
        """Makes the pods of a Deployment carry these images, one each."""
        pods = [pod for pod in self.state()["pods"] if pod["metadata"]["deployment"] != deployment]
        pods += [self.pod(f"{deployment}-{number}", image, deployment) for number, image in enumerate(images)]
        self.change(pods=pods)

    def pod(self, name: str, image: Image, deployment: str = "scorebox") -> dict[str, Any]:
        """A ready pod."""
        model, _, digest = image.model.partition("@sha256:")
        labels = dict(zip(("name", "version"), model.split("/"), strict=True))
        return {
            "metadata": {
                "name": name,
                "deployment": deployment,
                "labels": {f"scorebox.dev/model-{key}": value for key, value in labels.items()},
                "annotations": {"scorebox.dev/model-digest-sha256": digest},
            },
            "spec": {"containers": [{"name": "scorebox", "image": image.reference}]},
            "status": {
                "phase": "Running",
                "conditions": [{"type": "Ready", "status": "True"}],
                "containerStatuses": [{"name": "scorebox", "imageID": image.reference}],
            },
        }

    def carried(self) -> list[str]:
        """The digests of the images that the pods carry."""
        statuses = [pod["status"]["containerStatuses"][0] for pod in self.state()["pods"]]
        return [status["imageID"].rpartition("@")[2] for status in statuses]
