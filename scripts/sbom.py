"""Print the bill of materials of an image, from a list of Python packages on stdin and the model's manifest.

https://cyclonedx.org/docs/1.6/json/
"""

import sys
from pathlib import Path

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import HashAlgorithm, HashType
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

from model_loader.package import read_package
from model_loader.package.service_file import service


def library(line: str) -> Component:
    """Return the component of one installed distribution.

    Args:
        line: name, version and licence, separated by tabs.
    """
    name, version, licence = line.rstrip("\n").split("\t")
    return Component(
        type=ComponentType.LIBRARY,
        name=name,
        version=version,
        bom_ref=f"{name}=={version}",
        purl=PackageURL("pypi", name=name.lower().replace("_", "-"), version=version),
        licenses=[LicenseFactory().make_from_string(licence)] if licence else [],
    )


def model(path: Path) -> Component:
    """Return the component of the model in a directory, with its digest and one component per file."""
    package = read_package(path)
    sha256 = HashAlgorithm.SHA_256
    return Component(
        type=ComponentType.MACHINE_LEARNING_MODEL,
        name=package.manifest.name,
        version=str(package.manifest.version),
        bom_ref=str(package),
        hashes=[HashType(alg=sha256, content=package.digest.removeprefix("sha256:"))],
        components=[
            Component(
                type=ComponentType.FILE,
                name=name,
                bom_ref=f"{package}/{name}",
                hashes=[HashType(alg=sha256, content=entry.sha256)],
            )
            for name, entry in package.manifest.files.items()
        ],
    )


def main() -> None:
    """Print the bill of materials. Arguments: the image's ID and the directory of the manifest."""
    image, directory = sys.argv[1:]
    components = [library(line) for line in sorted(sys.stdin)]
    components.append(model(Path(directory)))
    bom = Bom(components=components)
    bom.metadata.component = Component(type=ComponentType.CONTAINER, name=service().name, version=image)
    bom.register_dependency(bom.metadata.component, components)
    print(JsonV1Dot6(bom).output_as_string(indent=2))


if __name__ == "__main__":
    main()
