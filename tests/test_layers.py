"""Imports point one way, by package; private names of dependencies stand only in the files listed here."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# Top-level package → what it may import of the others; nothing imports `release`, `training` or `benchmarks`.
MAY_IMPORT = {
    "app": ("model_loader.package",),
    "model_loader": (),
    "release": ("model_loader",),
    "training": ("model_loader",),
    "examples": ("app", "model_loader"),
    "benchmarks": ("app", "training"),
}
# Within `app`, outermost first: a package imports only those after it. `app/__init__.py` has `create_app`.
ORDER = ("serving", "__init__", "routes", "service openapi commands", "scoring", "protocols observability",
         "model", "tensors", "transform", "settings", "errors cpu_quota")  # fmt: skip
# Library → the packages of `app` that may import it.
ONLY_IN = {
    "asyncio": {"serving"},
    "gunicorn": {"serving"},
    "a2wsgi": {"serving"},
    "flask": {"__init__", "routes", "serving", "observability"},
    "werkzeug": {"routes"},
    "onnxruntime": {"model"},
}
# Of namedtuples, and documented.
PUBLIC = {"_fields", "_asdict", "_replace"}
# File → why it uses a private name of a dependency.
PRIVATE_NAMES = {
    "app/serving/fast_http.py": "gunicorn's ASGI protocol has no public base class",
    "app/serving/worker.py": "gunicorn's ASGI worker has no public hook around accepting connections",
    "app/observability/histograms.py": "prometheus_client observes one value at a time",
}


def nodes(path: Path) -> list[ast.AST]:
    return list(ast.walk(ast.parse(path.read_text())))


def imports(path: Path) -> set[str]:
    """Full names of what a file imports, wherever in it."""
    direct = {alias.name for node in nodes(path) if isinstance(node, ast.Import) for alias in node.names}
    named = (node for node in nodes(path) if isinstance(node, ast.ImportFrom))
    return direct | {f"{node.module}.{alias.name}" for node in named for alias in node.names}


def depth(name: str) -> int:
    """The index in ORDER of a part of `app`."""
    part = "__init__" if name == "create_app" else name
    return next(index for index, parts in enumerate(ORDER) if part in parts.split())


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_packages(package: str) -> None:
    """A top-level package imports only what the table allows."""
    others = {*MAY_IMPORT, "tests", "scripts"} - {package}
    for path in (ROOT / package).rglob("*.py"):
        found = {name for name in imports(path) if name.split(".")[0] in others}
        assert all(f"{name}.".startswith(MAY_IMPORT[package]) for name in found), (path, found)


def test_service() -> None:
    """Within `app` imports point inward, and libraries are imported only where they belong."""
    for path in (ROOT / "app").rglob("*.py"):
        own = path.relative_to(ROOT / "app").with_suffix("").parts[0]
        for root, _, rest in (name.partition(".") for name in imports(path)):
            assert own in ONLY_IN.get(root, {own}), f"{path} imports {root}"
            target = rest.split(".")[0]
            assert root != "app" or target == own or depth(target) > depth(own), f"{path} imports {rest}"


def test_private_names() -> None:
    """A name with a leading underscore is used where it is defined, or in a listed file."""
    for path in (path for package in MAY_IMPORT for path in (ROOT / package).rglob("*.py")):
        if "peers" in path.parts:  # peers import what is in environments of their own
            continue
        used = {n.attr for n in nodes(path) if isinstance(n, ast.Attribute) and n.attr[0] == "_"}
        used |= {name.rpartition(".")[2] for name in imports(path) if "._" in name and "__" not in name}
        own = {n.attr for n in nodes(path) if isinstance(n, ast.Attribute) and isinstance(n.ctx, ast.Store)}
        own |= {n.name for n in nodes(path) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)}
        foreign = {name for name in used - own if not name.endswith("__") and name not in PUBLIC}
        assert bool(foreign) == (str(path.relative_to(ROOT)) in PRIVATE_NAMES), (path, foreign)


@pytest.mark.parametrize("module", ["app", "app.service", "model_loader.package"])
def test_azure_stays_out(module: str) -> None:
    """Serving imports no Azure package, and `app` alone does not import ONNX Runtime."""
    code = f"import sys, {module}; print(*sys.modules)"
    printed = subprocess.check_output([sys.executable, "-c", code], cwd=ROOT, text=True)
    names = {name.split(".")[0] for name in printed.split()}
    assert not names & {"azure", "msal", "requests", "training"}
    assert ("onnxruntime" in names) == (module == "app.service")
