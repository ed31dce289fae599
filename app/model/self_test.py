"""The self-test: compare the model's outputs with those of the training framework."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from app.errors import InvalidRequest, ModelError, RequestError
from app.model.example_inputs import find_example
from app.model.file_hashes import FileHashes
from app.model.observed_outputs import observed_outputs
from app.model.onnx_model import load, load_optimized, open_package
from app.model.samples import matches, read_samples
from app.model.served_model import ServedModel
from app.model.transform import Transform
from app.model.warm_up import example_inputs, sample_inputs
from app.settings import Settings
from app.tensors.from_json import from_json, inputs_from_json
from app.tensors.to_json import to_json
from model_loader.package import SCHEMA_FILE, FileEntry, Package, PackageError, read_package
from model_loader.package.samples import Sample
from model_loader.package.schema import check_schema, read_schema


def verify(model: ServedModel, samples: Sequence[Sample]) -> None:
    """Describe the outputs as the model returns them, find an example, and run the self-test.

    Raises:
        ModelError: see `run`.
    """
    try:
        if not samples:
            model.example = find_example(model)
        requests = sample_inputs(model, samples) or example_inputs(model)
        model.model.describe_outputs(observed_outputs(model.model, requests))
    except RequestError:
        pass  # a sample that does not fit: the self-test says which one
    run(model, samples)


def run(model: ServedModel, samples: Sequence[Sample]) -> None:
    """Run the model on every sample and compare its outputs; this also warms it up.

    Raises:
        ModelError: an output differs by more than the sample's tolerance, or the model fails on a sample. The
            message names the sample and the output, with the expected and the actual value.
    """
    for index, sample in enumerate(samples):
        try:
            outputs = model.infer(inputs_from_json(sample.inputs, model.inputs))
            for name, expected in sample.outputs.items():
                if difference := _difference(model, name, outputs, expected, sample):
                    raise ModelError(f"{model.package}: sample {index}: {difference}")
        except RequestError as exc:
            problem = f"does not fit the {_owner(model)}" if isinstance(exc, InvalidRequest) else "failed"
            raise ModelError(f"{model.package}: sample {index} {problem}: {exc}") from exc


def _owner(model: ServedModel) -> str:
    """Return whose inputs a request must fit."""
    return "transform's inputs (app/transform.py)" if model.has_own_inputs else "model"


@dataclass(frozen=True)
class VerifiedModel:
    """A model that passed its self-test.

    Attributes:
        samples: the samples of the self-test.
        is_optimized: whether this is the optimized model.
        fallback_reason: why the optimized model is not used; None if it is used, or if there is none.
    """

    model: ServedModel
    samples: tuple[Sample, ...]
    is_optimized: bool
    fallback_reason: str | None = None


def load_and_verify(
    settings: Settings, transform: type[Transform], run_directory: Path | None = None
) -> VerifiedModel:
    """Load the model, verify its files meanwhile, and run its self-test.

    Uses the optimized model if there is one and it passes, otherwise the model as it was published. The large
    files are verified while the model is loaded, all others before.

    Args:
        settings: resolved settings.
        transform: the pre- and post-processing.
        run_directory: that all workers share, so that they hash each file once; None: there is one process.

    Raises:
        ModelError: the package does not match its manifest, or its model cannot be loaded or fails the
            self-test.
    """
    path, hashes = settings.model_path, FileHashes(run_directory)
    listed = _listed_files(path)
    package = open_package(path, hashes.small_files(listed))
    if not listed:  # a single file, all of which has been hashed
        return _load_and_test(package, settings, transform, hashes)
    with ThreadPoolExecutor(1, "verification") as pool:
        verification = pool.submit(open_package, path, hashes.hash_file)
        try:
            return _load_and_test(package, settings, transform, hashes)
        finally:
            verification.result()  # a changed file explains what it causes


def _load_and_test(
    package: Package, settings: Settings, transform: type[Transform], hashes: FileHashes
) -> VerifiedModel:
    samples = read_samples(package)
    fallback_reason = None
    try:
        if found := load_optimized(package, settings, hashes):
            optimized = ServedModel(found, transform)
            _check_schema(optimized)
            verify(optimized, samples)
            return VerifiedModel(optimized, samples, is_optimized=True)
    except ModelError as exc:
        fallback_reason = str(exc)
    model = ServedModel(load(package, settings), transform)
    _check_schema(model)
    verify(model, samples)
    return VerifiedModel(model, samples, is_optimized=False, fallback_reason=fallback_reason)


def _listed_files(path: Path) -> Mapping[Path, FileEntry]:
    """Return the files in a package's manifest; none if the model is a single file."""
    try:
        return {path / name: entry for name, entry in read_package(path).manifest.files.items()}
    except PackageError:
        return {}


def _check_schema(model: ServedModel) -> None:
    """Check that the package's schema, if any, is of this model.

    Raises:
        ModelError: it is not.
    """
    source = f"{model.package}: {SCHEMA_FILE}"
    if model.has_own_inputs or model.has_own_outputs:
        source += ", compared with the transform (app/transform.py)"
    try:
        if schema := read_schema(model.package):
            inputs, outputs = list(model.inputs.values()), list(model.outputs.values())
            check_schema(schema, inputs, outputs, model.features, source)
    except PackageError as exc:
        raise ModelError(str(exc)) from exc


def _difference(
    model: ServedModel, name: str, outputs: Mapping[str, Any], expected: Any, sample: Sample
) -> str | None:
    """Return how an output differs from the expected one, or None if it does not."""
    if name not in model.outputs:
        owner = "transform (app/transform.py)" if model.has_own_outputs else "model"
        return f"the {owner} has no output '{name}'; it has {', '.join(model.outputs)}"
    try:
        expected_output = from_json(expected, model.outputs[name])
    except InvalidRequest as exc:
        # The same check as of a request, whose message names an input.
        return f"output{str(exc).removeprefix('input')}"
    actual = outputs[name]
    if matches(actual, expected_output, sample.rtol, sample.atol):
        return None
    if isinstance(actual, np.ndarray) and np.shape(expected_output) != actual.shape:
        return (
            f"output '{name}': the sample has the shape {list(np.shape(expected_output))}, the model returns "
            f"{list(actual.shape)}"
        )
    got = orjson.dumps(to_json(actual), option=orjson.OPT_SERIALIZE_NUMPY).decode()
    return (
        f"output '{name}': expected {_shorten(str(expected))}, got {_shorten(got)} "
        f"(rtol {sample.rtol}, atol {sample.atol})"
    )


def _shorten(text: str) -> str:
    return text if len(text) <= 300 else f"{text[:300]}…"
