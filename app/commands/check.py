"""`python -m app.commands.check`: verify the model at MODEL_PATH as the start of the service does.

The exit code is 1 if the service would refuse to start with it.
"""

import os
import sys

from app.errors import StartupError
from app.model.self_test import load_and_verify
from app.model.warm_up import sample_inputs
from app.observability.bin_counter import BinCounter
from app.settings import Settings
from model_loader.package import SAMPLES_FILE


def main() -> int:
    """Load the model as a worker does, run its self-test, and return the exit code."""
    try:
        verified = load_and_verify(Settings.from_environ(os.environ).resolved())
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
    sys.exit(main())
