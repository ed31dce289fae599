"""The ONNX model: load it, describe its inputs and outputs, run it."""

import ctypes
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import onnxruntime as ort

from app.errors import InferenceFailed, ModelError
from app.model.file_hashes import FileHashes
from app.model.low_precision import RAW_DATATYPES, from_ort_value, to_ort_value
from app.settings import Settings
from app.tensors.io_spec import InputSpecs
from model_loader.package import (
    Package,
    PackageError,
    TensorSpec,
    bare_package,
    check_features,
    hash_file,
    read_model_io,
    verify_package,
)
from model_loader.package.custom_ops import register_extensions
from model_loader.package.draft import draft_package, is_draft, read_draft
from model_loader.package.load_errors import explain
from model_loader.package.optimized import find_optimized, optimized_files
from model_loader.package.ort_errors import ORT_ERRORS
from model_loader.package.verify import HashFile

# ONNX Runtime writes lines of its own to standard error, without regard to our log. What fails raises an
# exception that has the same message.
LOG_SEVERITY_FATAL = 4
OPTIMIZED_PROVIDERS = ("CPUExecutionProvider",)
ort.set_default_logger_severity(LOG_SEVERITY_FATAL)
# glibc keeps freed memory until it is asked to return it to the system; other C libraries lack the function.
_malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)


class Model:
    """A loaded model.

    Attributes:
        package: the model package, with its digest.
        inputs: name → spec of all inputs, including those with a default that requests may replace.
        outputs: name → spec of all outputs, in the graph's order; see `describe_outputs`.
        batched_inputs: names of the inputs whose first dimension can be a batch: its size is not fixed.
        session: the ONNX Runtime session.
    """

    def __init__(
        self, package: Package, session: "ort.InferenceSession", *, allow_initializer_inputs: bool = False
    ) -> None:
        """
        Args:
            allow_initializer_inputs: whether the weights that the graph lists as inputs are inputs.

        Raises:
            ModelError: the package's features do not fit, or ONNX Runtime cannot return the outputs.
        """
        model_io = read_model_io(session)
        hidden = [spec for spec in model_io.inputs if spec.is_initializer and not allow_initializer_inputs]
        inputs = [spec for spec in model_io.inputs if spec not in hidden]
        self.package = package
        self.inputs: Mapping[str, TensorSpec] = InputSpecs(inputs, (spec.name for spec in hidden))
        self.outputs = {spec.name: spec for spec in model_io.outputs}
        self.batched_inputs = frozenset(spec.name for spec in inputs if _has_free_rows(spec))
        self.session = session
        self._output_names = list(self.outputs)
        self._raw_inputs = [name for name, spec in self.inputs.items() if spec.datatype in RAW_DATATYPES]
        self._has_raw_outputs = any(spec.datatype in RAW_DATATYPES for spec in model_io.outputs)
        if package.manifest.features:
            check_features(package.manifest.features, model_io)
        non_numeric = [spec.name for spec in inputs if spec.datatype == "STRING" or "(" in spec.datatype]
        if self._has_raw_outputs and non_numeric:
            raise ModelError(
                f"{package}: ONNX Runtime returns outputs of {', '.join(sorted(RAW_DATATYPES))} only if all "
                f"inputs are numeric tensors; input '{non_numeric[0]}' is not"
            )

    @property
    def has_batched_outputs(self) -> bool:
        """Whether the first dimension of every output can be a batch: its size is not fixed."""
        return all(_has_free_rows(spec) for spec in self.outputs.values())

    def describe_outputs(self, specs: Iterable[TensorSpec]) -> None:
        """Replace the specs of outputs that the graph declares wrongly, or without a shape."""
        self.outputs |= {spec.name: spec for spec in specs}

    def infer(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Run the model once.

        Args:
            inputs: name → array in the spec's dtype and shape; inputs with a default may be missing.

        Returns:
            output name → array, list or dict, as ONNX Runtime returns it.

        Raises:
            InferenceFailed: ONNX Runtime raised an error.
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
        if not self._has_raw_outputs:
            outputs: Sequence[Any] = self.session.run(self._output_names, feeds)
            return outputs
        values = self.session.run_with_ort_values(
            None, {name: to_ort_value(value, self.inputs[name].datatype) for name, value in feeds.items()}
        )
        return [
            from_ort_value(value, spec.datatype)
            for value, spec in zip(values, self.outputs.values(), strict=True)
        ]


def _has_free_rows(spec: TensorSpec) -> bool:
    """Return whether a tensor has a first dimension without a fixed size, which can be a batch."""
    return "(" not in spec.datatype and spec.shape is not None and not isinstance(spec.shape[0], int)


def open_package(path: Path, hash_file: HashFile = hash_file) -> Package:
    """Verify the package in a directory, or treat a draft or a single ONNX file as a package.

    Args:
        path: of the directory or file.
        hash_file: returns the sha256 and size of a file.

    Raises:
        ModelError: the package does not match its manifest, or the draft cannot be published.
    """
    try:
        if path.is_file():
            return bare_package(path, hash_file)
        if is_draft(path):
            return draft_package(read_draft(path, hash_file))
        return verify_package(path, hash_file)
    except PackageError as exc:
        raise ModelError(str(exc)) from exc


def load(package: Package, settings: Settings) -> Model:
    """Load a package's model as it was published.

    Call it in the process that serves requests: ONNX Runtime's threads do not survive a fork.

    Raises:
        ModelError: ONNX Runtime cannot load the model, or the service cannot serve it.
    """
    return _load(package, package.model_path, settings, is_optimized=False)


def load_optimized(package: Package, settings: Settings, hashes: FileHashes) -> Model | None:
    """Load a package's optimized model, and verify its large files meanwhile.

    Returns:
        None if there is no optimized model, or if PROVIDERS lists other providers.

    Raises:
        ModelError: it was optimized for another machine or package, or its files have changed.
    """
    if package.path.is_file() or settings.providers != OPTIMIZED_PROVIDERS:
        return None
    find = partial(find_optimized, package, ort.__version__)
    try:
        file = find(hashes.small_files(optimized_files(package, ort.__version__)))
        if not file:
            return None
        with ThreadPoolExecutor(1, "verification") as pool:
            verification = pool.submit(find, hashes.hash_file)
            try:
                model = _load(package, file, settings, is_optimized=True)
            finally:
                verification.result()  # a changed file explains what it causes
    except PackageError as exc:
        raise ModelError(str(exc)) from exc
    return model


def _load(package: Package, file: Path, settings: Settings, *, is_optimized: bool) -> Model:
    try:
        model = Model(
            package,
            _create_session(package, file, settings, is_optimized=is_optimized),
            allow_initializer_inputs=settings.allow_initializer_inputs == "on",
        )
    except PackageError as exc:
        raise ModelError(f"{package}: {exc}") from exc
    if _malloc_trim:
        _malloc_trim(0)  # return the memory that only loading needed
    return model


def _create_session(
    package: Package, file: Path, settings: Settings, *, is_optimized: bool
) -> "ort.InferenceSession":
    missing = set(settings.providers) - set(ort.get_available_providers())
    if missing:
        raise ModelError(
            f"PROVIDERS names {', '.join(sorted(missing))}; this ONNX Runtime has "
            f"{', '.join(ort.get_available_providers())}"
        )
    options = ort.SessionOptions()
    register_extensions(options, file)
    options.intra_op_num_threads = settings.intra_op_num_threads
    options.inter_op_num_threads = 1
    options.log_severity_level = LOG_SEVERITY_FATAL
    if is_optimized:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        return ort.InferenceSession(str(file), options, providers=list(settings.providers), enable_fallback=0)
    except ORT_ERRORS as exc:
        raise ModelError(f"{package}: ONNX Runtime cannot load {file.name}: {explain(exc)}") from exc
