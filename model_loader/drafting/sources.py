"""Where a draft's model comes from: an ONNX file, a model package, or an MLflow model."""

from pathlib import Path

from model_loader.drafting.draft import Source
from model_loader.drafting.mlflow_model import MLMODEL_FILE, read_mlflow_model
from model_loader.drafting.wrong_files import check_model_file
from model_loader.errors import DraftError
from model_loader.package import MANIFEST_FILE, MODEL_FILE
from model_loader.package.json_file import read_json


def read_source(path: Path) -> Source:
    """Return the model at a path, and what is known of it.

    Raises:
        DraftError: it is not a model; the message says what it is and what to do.
        PackageError: the manifest of a package cannot be read.
    """
    if (path / MLMODEL_FILE).is_file():
        source = read_mlflow_model(path)
    elif (path / MODEL_FILE).is_file():
        source = _read_package(path)
    else:
        source = Source(path)
    check_model_file(source.model)
    return source


def _read_package(directory: Path) -> Source:
    """Return the model of a package or a draft, with the features in its manifest."""
    model, manifest = directory / MODEL_FILE, directory / MANIFEST_FILE
    if not manifest.is_file():
        return Source(model)
    document = read_json(manifest)
    if not isinstance(document, dict):
        raise DraftError(f"{manifest}: expected an object, got {type(document).__name__}")
    return Source(model, document.get("features") or None)
