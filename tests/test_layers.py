"""Imports point one way, by package; private names of dependencies stand only in the files listed here."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# Top-level package → what it may import of the others.
MAY_IMPORT = {
    "app": ("model_loader.package.",),
    "model_loader": (),
    "monitor": ("model_loader.", "app.commands."),
    "release": ("model_loader.",),
    "training": ("model_loader.",),
    "examples": ("app.", "model_loader."),
    "benchmarks": ("monitor.", "app.", "model_loader.", "release."),
}
# Within `app`, outermost first: a package imports only those after it. `app/__init__.py` has `create_app`.
ORDER = ("serving", "__init__ create_app", "routes", "service openapi commands", "scoring",
         "protocols observability", "transform", "model", "tensors", "settings",
         "prometheus_values", "errors cgroup memory")  # fmt: skip
# Library → the packages of `app` that may import it.
ONLY_IN = {
    **{name: {"serving"} for name in ("a2wsgi", "asyncio", "gunicorn", "httptools", "uvicorn", "uvloop")},
    "flask": {"__init__", "routes", "serving", "observability"},
    "werkzeug": {"routes"},
    "onnxruntime": {"model"},
}
# File → why it uses a private name of a dependency.
PRIVATE_NAMES = {
    "app/observability/histograms.py": "prometheus_client observes one value at a time",
    "app/observability/shared_values.py": "prometheus_client writes to files without claiming their space",
}
PUBLIC = {"_fields", "_asdict", "_replace", "_exit"}  # of namedtuples and `os`, and documented


def parsed(*packages: str) -> list[tuple[str, list[ast.AST], set[str]]]:
    """Return path, nodes and full names of imports of every module; peers have environments of their own."""
    files = []
    for path in (path for package in packages for path in (ROOT / package).rglob("*.py")):
        nodes = list(ast.walk(ast.parse(path.read_text())))
        names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
        named = (node for node in nodes if isinstance(node, ast.ImportFrom))
        names |= {f"{node.module}.{alias.name}" for node in named for alias in node.names}
        if "peers" not in path.parts:
            files.append((path.relative_to(ROOT).as_posix(), nodes, names))
    return files


@pytest.mark.parametrize("package", [name for name in MAY_IMPORT if (ROOT / name).exists()])
def test_packages(package: str) -> None:
    """A top-level package imports only what the table allows."""
    for path, _, names in parsed(package):
        others = {name for name in names if name.split(".")[0] in {*MAY_IMPORT, "tests"} - {package}}
        assert all(f"{name}.".startswith(MAY_IMPORT[package]) for name in others), (path, others)


def test_service() -> None:
    """Within `app` imports point inward, and libraries are imported only where they belong."""
    depth = {part: index for index, parts in enumerate(ORDER) for part in parts.split()}
    for path, _, names in parsed("app"):
        own = path.split("/")[1].removesuffix(".py")
        for root, _, rest in (name.partition(".") for name in names):
            assert own in ONLY_IN.get(root, {own}), (path, root)
            target = rest.split(".")[0]
            assert root != "app" or target == own or depth[target] > depth[own], (path, rest)


def test_private_names() -> None:
    """A name with a leading underscore is used where it is defined, or in a listed file."""
    for path, nodes, names in parsed(*MAY_IMPORT):
        attributes = [node for node in nodes if isinstance(node, ast.Attribute)]
        used = {node.attr for node in attributes} | {name.rpartition(".")[2] for name in names}
        own = {node.attr for node in attributes if isinstance(node.ctx, ast.Store)} | PUBLIC
        own |= {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
        foreign = {name for name in used - own if name.startswith("_") and not name.endswith("__")}
        assert bool(foreign) == (path in PRIVATE_NAMES), (path, foreign)
