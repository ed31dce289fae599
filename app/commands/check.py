"""`python -m app.commands.check`: run the self-test of the model at MODEL_PATH; exit code 1 if it fails."""

import os
import sys

from app.errors import StartupError
from app.model.self_test import load_and_verify
from app.settings import Settings
from model_loader.package import SAMPLES_FILE


def main() -> int:
    """Load the model as a worker does, run its self-test, and return the exit code."""
    try:
        verified = load_and_verify(Settings.from_environ(os.environ).resolved())
    except StartupError as exc:
        print(f"check: {exc}", file=sys.stderr)
        return 1
    package, samples = verified.model.package, verified.samples
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
