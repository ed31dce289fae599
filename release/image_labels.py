"""What an image says of itself: the labels that `scripts/build` gave it."""

import json
import re

from release.errors import ReleaseError
from release.release_log import FIELDS
from release.subprocesses import run


def read_labels(image: str) -> tuple[str, str]:
    """The model in an image, `NAME/VERSION@sha256:…`, and the commit that it was built of.

    Pulls the image where the engine does not have it; by digest it is the same wherever it comes from.

    Raises:
        ReleaseError: it cannot be had, or has no such labels.
    """
    inspect = ("docker", "image", "inspect", "--format", "{{json .Config.Labels}}", image)
    try:
        text = run(*inspect)
    except ReleaseError:
        run("docker", "pull", "--quiet", image)
        text = run(*inspect)
    labels = json.loads(text) or {}
    model = "{}/{}@{}".format(*(labels.get(f"scorebox.model.{key}") for key in ("name", "version", "digest")))
    commit = labels.get("org.opencontainers.image.revision", "")
    if not re.fullmatch(FIELDS["model"], model) or not re.fullmatch(FIELDS["commit"], commit):
        raise ReleaseError(f"{image} does not say which model and commit it is: scripts/build labels it so")
    return model, commit
