"""The model: loaded, described, run."""

import ctypes
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import onnxruntime as ort
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from app.errors import InferenceFailed, ModelError
from app.model.low_precision import RAW_DATATYPES, from_ort_value, to_ort_value
from app.settings import Settings
from model_loader.package import (
    ModelIO,
    Package,
    PackageError,
    TensorSpec,
    bare_package,
    read_model_io,
    verify_package,
)
from model_loader.package.custom_ops import explain, register_extensions
from model_loader.package.optimized import find_optimized

# ONNX Runtime's own exceptions have no common base but Exception; the others are what pybind raises.
ORT_ERRORS: tuple[type[Exception], ...] = (
    *(
        error
        for error in vars(ort_errors).values()
        if isinstance(error, type) and issubclass(error, Exception)
    ),
    RuntimeError,
    ValueError,
    TypeError,
)
OPTIMIZED_PROVIDERS = ("CPUExecutionProvider",)
# Of glibc; other C libraries give memory back by themselves.
_malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)


class Model:
    """A loaded model.

    Attributes:
        package: where it came from, and its digest.
        inputs: name → spec of all inputs, those with a default included.
        outputs: name → spec of all outputs, in the graph's order.
        batched: input name → whether its first dimension is the batch, so that requests can be put together.
        session: ONNX Runtime's.
    """

    def __init__(self, package: Package, session: "ort.InferenceSession") -> None:
        signature = read_model_io(session)
        self.package = package
        self.inputs: Mapping[str, TensorSpec] = {spec.name: spec for spec in signature.inputs}
        self.outputs: Mapping[str, TensorSpec] = {spec.name: spec for spec in signature.outputs}
        self.batched = {spec.name: _has_rows(spec) for spec in signature.inputs}
        self.session = session
        self._output_names = list(self.outputs)
        self._raw_inputs = [name for name, spec in self.inputs.items() if spec.datatype in RAW_DATATYPES]
        self._raw_outputs = any(spec.datatype in RAW_DATATYPES for spec in signature.outputs)
        _check_features(package, signature)
        others = [spec.name for spec in signature.inputs if spec.datatype == "STRING" or "(" in spec.datatype]
        if self._raw_outputs and others:
            raise ModelError(
                f"{package}: ONNX Runtime gives outputs of {', '.join(sorted(RAW_DATATYPES))} only to models "
                f"whose inputs are tensors of numbers; input '{others[0]}' is not"
            )

    @property
    def gives_rows(self) -> bool:
        """Whether every output has the batch as its first dimension, as far as the graph tells."""
        return all(_has_rows(spec) for spec in self.outputs.values())

    def infer(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Runs the model once.

        Args:
            inputs: name → array in the spec's dtype and shape; inputs with a default may be left out.

        Returns:
            output name → array, list or dict, as ONNX Runtime gives it.

        Raises:
            InferenceFailed: the model itself failed.
        """
        try:
            return dict(zip(self.outputs, self._run(inputs), strict=True))
        except ORT_ERRORS as exc:
            raise InferenceFailed(f"the model failed: {str(exc).splitlines()[0][:300]}") from exc

    def _run(self, inputs: Mapping[str, Any]) -> Sequence[Any]:
        feeds = dict(inputs)
        for name in self._raw_inputs:
            if name in feeds:
                feeds[name] = to_ort_value(feeds[name], self.inputs[name].datatype)
        if not self._raw_outputs:
            # `session.run` would look again whether the inputs are there.
            outputs: Sequence[Any] = self.session._sess.run(self._output_names, feeds, None)
            return outputs
        values = self.session.run_with_ort_values(
            None, {name: to_ort_value(value, self.inputs[name].datatype) for name, value in feeds.items()}
        )
        return [
            from_ort_value(value, spec.datatype)
            for value, spec in zip(values, self.outputs.values(), strict=True)
        ]


def _has_rows(spec: TensorSpec) -> bool:
    """Whether the first dimension is free, as that of a batch is."""
    return "(" not in spec.datatype and spec.shape is not None and not isinstance(spec.shape[0], int)


def _check_features(package: Package, signature: ModelIO) -> None:
    """Column names are for one input of two dimensions, as wide as there are names."""
    features = package.manifest.features
    required = [spec for spec in signature.inputs if not spec.optional]
    match required:
        case [TensorSpec(shape=(_, int(width)))] if features and width != len(features):
            raise ModelError(f"{package}: {len(features)} features for an input of {width} columns")
        case [TensorSpec(shape=(_, _))]:
            return
    if features:
        raise ModelError(f"{package}: features name the columns of a single two-dimensional input")


def open_package(path: Path) -> Package:
    """Verifies the package in a directory, or takes a lone ONNX file for one.

    Raises:
        ModelError: the package is not what its manifest says.
    """
    try:
        return bare_package(path) if path.is_file() else verify_package(path)
    except PackageError as exc:
        raise ModelError(str(exc)) from exc


def load(package: Package, settings: Settings) -> Model:
    """Makes a session of a package's model.

    Must be called in the process that serves: ONNX Runtime's threads do not survive a fork.

    Raises:
        ModelError: ONNX Runtime cannot load the model, or it cannot be served.
    """
    return _model(package, package.model_path, settings, is_optimized=False)


def load_optimized(package: Package, settings: Settings) -> Model | None:
    """Make a session of a package's optimized model; None without one, or for other providers.

    Raises:
        ModelError: it was optimized for another machine, or is not what was optimized.
    """
    if package.path.is_file() or settings.providers != OPTIMIZED_PROVIDERS:
        return None
    try:
        file = find_optimized(package, ort.__version__)
    except PackageError as exc:
        raise ModelError(str(exc)) from exc
    return _model(package, file, settings, is_optimized=True) if file else None


def _model(package: Package, file: Path, settings: Settings, *, is_optimized: bool) -> Model:
    try:
        model = Model(package, _session(package, file, settings, is_optimized=is_optimized))
    except PackageError as exc:
        raise ModelError(str(exc)) from exc
    if _malloc_trim:
        _malloc_trim(0)  # what making the session used, as much as half of the weights
    return model


def _session(
    package: Package, file: Path, settings: Settings, *, is_optimized: bool
) -> "ort.InferenceSession":
    missing = set(settings.providers) - set(ort.get_available_providers())
    if missing:
        raise ModelError(
            f"PROVIDERS names {', '.join(sorted(missing))}; this ONNX Runtime has "
            f"{', '.join(ort.get_available_providers())}"
        )
    options = ort.SessionOptions()
    register_extensions(options)
    options.intra_op_num_threads = settings.intra_op_num_threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    if is_optimized:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        return ort.InferenceSession(str(file), options, providers=list(settings.providers), enable_fallback=0)
    except ORT_ERRORS as exc:
        raise ModelError(f"{package}: ONNX Runtime cannot load {file.name}: {explain(exc)}") from exc
