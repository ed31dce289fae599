"""Imports point one way."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# From the outside in: a module imports only from layers below its own.
LAYERS = [
    {"app.server", "app.check", "app.smoke"},
    {"app.worker"},
    {"app.fast_lane"},
    {"app.asgi"},
    {"app.routes"},
    {"app.service", "app.openapi"},
    {"app.openapi_v2"},
    {"app.operations"},
    {"app.metrics", "app.logs", "app.example", "app.tracing"},
    {"app.scoring"},
    {"app.warmup", "app.schemas", "app.swagger"},
    {"app.selftest"},
    {"app.batching"},
    {"app.protocols"},
    {"app.call", "app.npy", "app.drift", "app.records"},
    {"app.served", "app.callers"},
    {"app.model", "app.auth", "app.ids", "app.inflate"},
    {"app.tensors"},
    {"app.signature", "app.settings", "app.transform"},
    {"app.errors", "app.assets", "app.cgroup", "app.large", "model_loader.package"},
]
OF_LOADER = {
    "model_loader.package",
    "model_loader.baked",
    "model_loader.baseline",
    "model_loader.extensions",
    "model_loader.errors",
}


def modules(folder: str) -> list[str]:
    """The names of all modules in a folder."""
    paths = sorted((ROOT / folder).rglob("*.py"))
    return [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in paths]


def imports(name: str) -> set[str]:
    """The modules that a module imports, wherever in it."""
    names = set()
    for node in ast.walk(ast.parse(ROOT.joinpath(*name.split(".")).with_suffix(".py").read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            folder = ROOT.joinpath(*node.module.split("."))
            names |= {
                f"{node.module}.{alias.name}" if (folder / f"{alias.name}.py").exists() else node.module
                for alias in node.names
            }
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return names


def layer(name: str) -> int:
    """The place of a module of ours, by its own name or its folder's."""
    own = name.removesuffix(".__init__")
    (place,) = [
        place for place, names in enumerate(LAYERS) if names & {own, own.rpartition(".")[0]} - {"app"}
    ]
    return place


@pytest.mark.parametrize("name", [name for name in modules("app") if name != "app.__init__"])
def test_service(name: str) -> None:
    """Every module of the service imports only from layers below its own, and of the loader only packages."""
    roots = {imported.split(".")[0] for imported in imports(name)}
    assert not roots & {"training", "examples", "benchmarks", "release", "rehearsal", "tests"}
    for imported in imports(name) - {"app"}:
        if imported.startswith("model_loader"):
            assert imported in OF_LOADER
        elif imported.startswith("app."):
            assert layer(imported) > layer(name), imported


@pytest.mark.parametrize("name", modules("model_loader"))
def test_loader(name: str) -> None:
    """The loader knows nothing of the service, nor of the training workflow."""
    assert not {imported.split(".")[0] for imported in imports(name)} & {
        "app",
        "rehearsal",
        "release",
        "training",
        "examples",
        "tests",
    }


@pytest.mark.parametrize("name", modules("release"))
def test_release(name: str) -> None:
    """What takes an image into production knows the loader, and nothing that runs in the image."""
    assert not {imported.split(".")[0] for imported in imports(name)} & {
        "app",
        "benchmarks",
        "rehearsal",
        "training",
        "tests",
    }


@pytest.mark.parametrize("module", ["app", "app.service", "model_loader.package"])
def test_azure_stays_out(module: str) -> None:
    """Serving imports no Azure package, and `app` alone brings no runtime either."""
    code = f"import sys, {module}; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    names = {name.split(".")[0] for name in loaded.stdout.split()}
    assert not names & {"azure", "msal", "requests", "training"}
    assert ("onnxruntime" in names) == (module == "app.service")


@pytest.mark.parametrize(
    "name", ["app.scoring", "app.large", "app.tensors", "app.signature", *modules("app/protocols")]
)
def test_scoring_knows_no_server(name: str) -> None:
    """What answers a request knows neither Flask nor a server, so that any door can call it."""
    roots = {imported.split(".")[0] for imported in imports(name)}
    assert not roots & {"flask", "werkzeug", "gunicorn"}
