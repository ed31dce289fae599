"""Frameworks that models are exported from. They are large, and `scripts/test` installs them in CI only."""

import os
from importlib import import_module
from typing import Any

import pytest


def framework(name: str) -> Any:
    """Import a framework. Without it, skip the test, or fail it in CI."""
    if os.environ.get("CI") == "true":
        return import_module(name)
    return pytest.importorskip(name, reason=f"{name} is missing: CI=true ./scripts/test installs it")
