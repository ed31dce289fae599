"""Clones with other names, and the files that the scripts of `deploy` need."""

import shutil
from pathlib import Path

from tests.deploy.conftest import ROOT, copy_for_render

# No value is that of the template.
WINE = """\
name = "wine-scorer"
organization = "Contoso"
label_domain = "ml.contoso.com"
registry = "contoso.azurecr.io/ml"
port = 9090
contact = "#wine-on-call"

[namespaces]
staging = "wine-test"
production = "wine"
"""


def write_clone(root: Path, service: str) -> None:
    """Write the files that scripts need into a directory, with the text of a service file."""
    copy_for_render(root)
    for name in ("model.lock", *(path.name for path in ROOT.glob("azure-pipelines*.yml"))):
        shutil.copy2(ROOT / name, root / name)
    shutil.copytree(ROOT / "monitoring", root / "monitoring")
    (root / "service.toml").write_text(service)
