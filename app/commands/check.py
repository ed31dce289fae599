"""`python -m app.commands.check`: run the self-test of the model at MODEL_PATH; exit code 1 if it fails."""

import os
import sys

from app.errors import StartupError
from app.model.self_test import load_and_verify
from app.settings import Settings
from model_loader.package import SAMPLES_FILE


def main() -> int:
    """Loads the model as a worker does, and runs the self-test."""
    try:
        proven = load_and_verify(Settings.from_environ(os.environ).resolved())
    except StartupError as exc:
        print(f"check: {exc}", file=sys.stderr)
        return 1
    package, samples = proven.model.package, proven.samples
    form = ", optimized" if proven.is_optimized else ""
    if proven.fallback_reason:
        print(f"check: served as published: {proven.fallback_reason}", file=sys.stderr)
    if samples:
        print(f"{package} answers its {len(samples)} samples{form}")
    else:
        print(f"{package} has no {SAMPLES_FILE}: nothing proves its answers")
    return 0


if __name__ == "__main__":
    sys.exit(main())
