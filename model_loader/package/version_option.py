"""The option `--version` of every command line."""

import argparse
from collections.abc import Sequence
from typing import Any

from model_loader.errors import ServiceFileError
from model_loader.package.service_file import TEMPLATE_VERSION, service


class _Version(argparse.Action):
    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,  # noqa: ARG002
        values: str | Sequence[Any] | None,  # noqa: ARG002
        option_string: str | None = None,  # noqa: ARG002
    ) -> None:
        """Print the version, and exit with 0; with 1 if `service.toml` is invalid."""
        try:
            text = f"{service().name}, template {TEMPLATE_VERSION}"
        except ServiceFileError as exc:
            parser.exit(1, f"{parser.prog}: {exc}\n")
        print(text)
        parser.exit(0)


def add_version_option(parser: argparse.ArgumentParser) -> None:
    """Add `--version`, which prints the service's name and the template's version."""
    text = "print the service's name and the template's version"
    parser.add_argument("--version", action=_Version, nargs=0, help=text)
