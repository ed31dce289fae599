"""What importing the service does not import."""

import subprocess
import sys

import pytest

from tests.app.conftest import ROOT


@pytest.mark.parametrize("module", ["app", "app.service", "model_loader.package"])
def test_azure_stays_out(module: str) -> None:
    """Serving imports no Azure package, and `app` alone does not import ONNX Runtime."""
    code = f"import sys, {module}; print(*sys.modules)"
    printed = subprocess.check_output([sys.executable, "-c", code], cwd=ROOT, text=True)
    names = {name.split(".")[0] for name in printed.split()}
    assert not names & {"azure", "msal", "requests", "training"}
    assert ("onnxruntime" in names) == (module == "app.service")
