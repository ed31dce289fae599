"""The bill of materials of an image: CycloneDX, written by scripts/sbom, kept in the artifact of the release.

https://cyclonedx.org/docs/1.6/json/
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from monitor.lineage.links import Link, Problem, absent, checked, compare, unavailable
from monitor.lineage.published import Published

MODEL_TYPE = "machine-learning-model"
DEFAULT_FILES = (Path("build/release/sbom.cdx.json"), Path("build/sbom.cdx.json"))
ADVICE = "give --sbom FILE: sbom.cdx.json in the artifact of the run that released it"


def bill_link(published: Published, image: str | None, path: Path | None, image_id: str | None) -> Link:
    """Return the link of the bill of materials: its model and its files compared with the manifest.

    Args:
        image: what the bill is of; None: there is none.
        path: None: the one of the last build in this clone, if it has this model.
        image_id: of the image, as the engine has it; None: unknown.
    """
    is_given = path is not None
    if path is None:
        if image is None:
            return absent("SBOM", "there is no image")
        of_model = [each for each in DEFAULT_FILES if _names(each, published)]
        if not of_model:
            return unavailable("SBOM", ADVICE)
        path = of_model[0]
    try:
        document = json.loads(path.read_bytes())
        models = {each["bom-ref"]: each for each in document["components"] if each["type"] == MODEL_TYPE}
        version = document["metadata"]["component"]["version"]
        reference = f"{published.path}@{published.digest}"
        listed = dict(_files(models.get(reference, {}), reference))
    except OSError as exc:
        return unavailable("SBOM", f"{path}: {exc.strerror}")
    except (ValueError, LookupError, TypeError) as exc:
        return checked("SBOM", "", {}, [Problem(str(path), "a bill of materials of CycloneDX", repr(exc))])
    count = sum(each["type"] == "library" for each in document["components"])
    facts = {"file": str(path), "image_id": version, "libraries": count}
    problems = compare(f"{path}: model", reference, ", ".join(models) or "none")
    if reference in models:
        files = {name: entry.sha256 for name, entry in published.manifest.files.items()}
        for name in sorted(files.keys() | listed.keys()):
            problems += compare(f"{path}: {name}", files.get(name, "no file"), listed.get(name, "no file"))
    if image_id and image_id != version and not is_given:
        return unavailable("SBOM", f"{path} is of another image of this model: {ADVICE}")
    if image_id:
        problems += compare(f"{path}: image", image_id, version)
    return checked("SBOM", f"{path}: {count} libraries, and the model", facts, problems)


def _names(path: Path, published: Published) -> bool:
    """Return whether a file names the digest of a version."""
    try:
        return published.digest in path.read_text()
    except (OSError, UnicodeDecodeError):
        return False


def _files(model: Mapping[str, Any], reference: str) -> Iterator[tuple[str, str]]:
    """Yield name and sha256 of the files of a model."""
    for each in model.get("components", ()):
        name = str(each["bom-ref"]).removeprefix(f"{reference}/")
        yield name, str(each["hashes"][0]["content"])
