"""`python -m app.check`: whether the model at MODEL_PATH answers its own samples. Exit code 1 if not."""

import os
import sys

from app import selftest
from app.errors import StartupError
from app.model import load
from app.settings import Settings
from model_loader.package import SAMPLES_FILE


def main() -> int:
    """Loads the model as a worker does, and runs the self-test."""
    try:
        model = load(Settings.from_environ(os.environ).resolved())
        samples = selftest.read_samples(model.package)
        selftest.run(model, samples)
    except StartupError as exc:
        print(f"check: {exc}", file=sys.stderr)
        return 1
    if samples:
        print(f"{model.package} answers its {len(samples)} samples")
    else:
        print(f"{model.package} has no {SAMPLES_FILE}: nothing proves its answers")
    return 0


if __name__ == "__main__":
    sys.exit(main())
