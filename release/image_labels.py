"""The labels that `scripts/build` gives an image."""

import json
import re

from release.errors import ReleaseError
from release.release_log import FIELDS
from release.subprocesses import run


def read_labels(image: str) -> tuple[str, str]:
    """Return the model in an image, `NAME/VERSION@sha256:…`, and the commit that the image was built from.

    Pulls the image if the engine does not have it. The digest makes sure that it is the same image.

    Raises:
        ReleaseError: the image cannot be pulled, or lacks the labels.
    """
    inspect = ("docker", "image", "inspect", "--format", "{{json .Config.Labels}}", image)
    try:
        text = run(*inspect)
    except ReleaseError:
        run("docker", "pull", "--quiet", image)
        text = run(*inspect)
    labels = json.loads(text) or {}
    model = "{}/{}@{}".format(*(labels.get(f"scoring.model.{key}") for key in ("name", "version", "digest")))
    commit = labels.get("org.opencontainers.image.revision", "")
    if not re.fullmatch(FIELDS["model"], model) or not re.fullmatch(FIELDS["commit"], commit):
        raise ReleaseError(
            f"{image} has no valid labels for its model and commit: build it with scripts/build"
        )
    return model, commit
