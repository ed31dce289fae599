"""`python -m release.pipeline_outputs NAME VALUE`: set an output variable of a pipeline's step.

Azure Pipelines reads outputs from the log, GitHub Actions from a file. Outside of both, only print it.
"""

import argparse
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from release.errors import ReleaseError

NAME = r"[a-z][a-z_]*"


def set_output(name: str, value: str) -> None:
    """Set an output variable, and print it.

    Raises:
        ReleaseError: the name is no variable's, the value has more than one line, or GitHub's file cannot be
            written.
    """
    if not re.fullmatch(NAME, name):
        raise ReleaseError(f"expected the name of an output variable, {NAME}, got {name!r}")
    # Another line could set another variable.
    if len(value.splitlines()) > 1 or value.endswith(("\r", "\n")):
        raise ReleaseError(f"the output variable {name} must be one line, got {value!r}")
    if os.environ.get("TF_BUILD"):
        print(f"##vso[task.setvariable variable={name};isOutput=true]{value}")
    if path := os.environ.get("GITHUB_OUTPUT"):
        try:
            with Path(path).open("a", encoding="utf-8") as file:
                file.write(f"{name}={value}\n")
        except OSError as exc:
            raise ReleaseError(f"the output variable {name} cannot be written to {path}: {exc}") from exc
    print(f"{name}={value}", flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    parser = argparse.ArgumentParser(
        "pipeline_outputs", description="Set an output variable of a pipeline's step.", allow_abbrev=False
    )
    parser.add_argument("name", metavar="NAME")
    parser.add_argument("value", metavar="VALUE")
    args = parser.parse_args(argv)
    try:
        set_output(args.name, args.value)
    except ReleaseError as exc:
        print(f"pipeline_outputs: {exc}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
