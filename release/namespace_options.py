"""The options that choose a namespace: by its name, or by its stage, whose namespace is in `service.toml`."""

import argparse
import re

from model_loader.package.service_file import STAGES
from release.kubernetes import namespace_of
from release.record_release import PRODUCTION


def add_namespace_options(parser: argparse.ArgumentParser) -> None:
    """Add `--stage` and `--namespace`; both set `namespace`."""
    group = parser.add_mutually_exclusive_group()
    group.add_argument(
        "--stage",
        type=_namespace_of_stage,
        dest="namespace",
        default=PRODUCTION,  # argparse converts it as well
        metavar="STAGE",
        help=f"{' or '.join(STAGES)}; default: {PRODUCTION}",
    )
    group.add_argument("--namespace", type=_namespace, metavar="NAME", help="a namespace instead of a stage")


def _namespace_of_stage(text: str) -> str:
    if text not in STAGES:
        raise argparse.ArgumentTypeError(f"expected {' or '.join(STAGES)}, got {text!r}")
    return namespace_of(text)


def _namespace(text: str) -> str:
    if not re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", text):
        raise argparse.ArgumentTypeError(f"expected a namespace, got {text!r}")
    return text
