"""What an export returns, and errors that all exports share."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from textwrap import shorten
from typing import Any

from numpy.typing import NDArray

from model_loader.errors import DraftError

# Top-level packages of the models that are exported.
FRAMEWORKS = ("xgboost", "lightgbm", "catboost", "sklearn", "torch")
# What converters raise for a model or an option that they do not support; none has an exception of its own.
CONVERTER_ERRORS = (
    AssertionError,
    AttributeError,
    IndexError,
    KeyError,
    NameError,
    NotImplementedError,
    RuntimeError,
    TypeError,
    ValueError,
)


@dataclass(frozen=True)
class Export:
    """A model that has been written as `model.onnx`, and what its framework calculated.

    Attributes:
        inputs: name of the graph's input → the rows of x, in the input's datatype.
        outputs: name of the graph's output → the framework's output for these rows, in the output's shape.
            Numbers of x were cast to float32 before, as the graph takes them, except for trees that
            compare in float64: those of LightGBM and HistGradientBoosting.
        features: column names of the graph's single input `[batch, columns]`, or None.
        classes: the classes of a classifier, or None.
    """

    inputs: dict[str, NDArray[Any]]
    outputs: dict[str, NDArray[Any]]
    features: tuple[str, ...] | None = None
    classes: tuple[Any, ...] | None = None


Exporter = Callable[[Any, Any, Path], Export]


def framework_of(model: object) -> str | None:
    """Return the framework of a model's class, which may be derived from one of the framework's classes."""
    packages = (base.__module__.partition(".")[0] for base in type(model).__mro__)
    return next((package for package in packages if package in FRAMEWORKS), None)


def import_converter(module: str, package: str, model: object) -> Any:
    """Import the module of a converter.

    Raises:
        DraftError: `package` is not installed; the message says how to install it.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as exc:
        raise DraftError(
            f"the export of a {type(model).__name__} needs {package}, which is not installed "
            f"({exc}): pip install {package}"
        ) from exc


def cannot_convert(package: str, model: object, error: Exception) -> DraftError:
    """Return the error of a model that a converter does not support."""
    converter = package
    with suppress(PackageNotFoundError):
        converter = f"{package} {version(package)}"
    reason = shorten(f"{type(error).__name__}: {error.__cause__ or error}", 300, placeholder=" …")
    # The converters of LightGBM and CatBoost have no such labels, and their messages do not say so.
    is_boolean = [str(label) for label in getattr(model, "classes_", ())] == ["False", "True"]
    advice = "; fit it with the classes 0 and 1 in place of False and True" if is_boolean else ""
    return DraftError(f"{converter} cannot convert the {type(model).__name__}: {reason}{advice}")
