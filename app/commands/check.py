"""`python -m app.commands.check`: verify the model at MODEL_PATH as the start of the service does.

The exit code is 1 if the service would refuse to start with it.
"""

import argparse
import os
import sys
from collections.abc import Sequence

from app.errors import StartupError
from app.model.self_test import load_and_verify
from app.model.warm_up import sample_inputs
from app.observability.bin_counter import BinCounter
from app.settings import Settings
from app.transform import OwnTransform
from model_loader.package import SAMPLES_FILE
from model_loader.package.version_option import add_version_option


def main(argv: Sequence[str] = ()) -> int:
    """Load the model as a worker does, run its self-test, and return the exit code."""
    parser = argparse.ArgumentParser(
        "python -m app.commands.check",
        description="Verify the model at MODEL_PATH as the start of the service does.",
        allow_abbrev=False,
    )
    add_version_option(parser)
    parser.parse_args(argv)
    try:
        verified = load_and_verify(Settings.from_environ(os.environ).resolved(), OwnTransform)
        model = verified.model
        BinCounter(model.model).check_baseline(model.model, sample_inputs(model, verified.samples))
    except StartupError as exc:
        print(f"check: {exc}", file=sys.stderr)
        return 1
    package, samples = model.package, verified.samples
    suffix = ", optimized" if verified.is_optimized else ""
    if verified.fallback_reason:
        print(f"check: served as published, not optimized: {verified.fallback_reason}", file=sys.stderr)
    if samples:
        print(f"{package} passes its {len(samples)} samples{suffix}")
    else:
        print(f"{package} has no {SAMPLES_FILE}: its outputs are not verified")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
