"""Checks of a draft: everything that publishing, building an image and starting the service will ask."""

import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from model_loader.drafting.wrong_files import other_format
from model_loader.errors import PackageError
from model_loader.package import (
    BASELINE_FILE,
    SAMPLES_FILE,
    SCHEMA_FILE,
    ModelIO,
    check_features,
    read_json,
    read_model_io,
)
from model_loader.package.baseline import parse_baseline
from model_loader.package.custom_ops import register_extensions
from model_loader.package.draft import Draft, read_draft
from model_loader.package.load_errors import explain
from model_loader.package.samples import ONNXRUNTIME, parse_samples
from model_loader.package.schema import check_schema, parse_schema

ROOT = Path(__file__).parents[2]
# What a process needs of the environment. Settings of the service and credentials are not among it.
ENVIRONMENT = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "HOME", "LANG", "LC_ALL", "TMPDIR")

# Five times the time that deploy/ gives a pod to start, because a check may share its machine with others.
TIMEOUT_S = 300


@dataclass(frozen=True)
class CheckedDraft:
    """A draft that agrees with its model.

    Attributes:
        model_io: the inputs and outputs of its model.
        warnings: what the checks cannot prove.
    """

    draft: Draft
    model_io: ModelIO
    warnings: tuple[str, ...]


def check(path: Path) -> CheckedDraft:
    """Check the draft in a directory, or a single ONNX file, and run its samples as the service does.

    Raises:
        PackageError: it cannot be published; the message names the file and what is wrong with it.
    """
    checked = check_files(read_draft(path))
    run_self_test(path)
    return checked


def check_files(draft: Draft) -> CheckedDraft:
    """Load a draft's model, and check the other files against its inputs and outputs.

    Raises:
        PackageError: ONNX Runtime cannot load the model, or a file is of another model.
    """
    model_io = _load_model_io(draft.model)
    features = draft.fields.get("features")
    if features:
        check_features(features, model_io)
    if BASELINE_FILE in draft.files:
        inputs = {spec.name for spec in model_io.inputs} | set(features or ())
        parse_baseline(read_json(draft.path(BASELINE_FILE)), inputs, {spec.name for spec in model_io.outputs})
    if SCHEMA_FILE in draft.files:
        schema = parse_schema(read_json(draft.path(SCHEMA_FILE)), str(draft.path(SCHEMA_FILE)))
        # With a transform, names are those of its inputs and outputs, which only the service knows.
        if not draft.fields.get("transformed"):
            check_schema(schema, model_io.inputs, model_io.outputs, features)
    return CheckedDraft(draft, model_io, _check_samples(draft))


def run_self_test(path: Path) -> None:
    """Run the service's self-test of a draft, in a process of its own and in the default settings.

    Raises:
        PackageError: the service would refuse to start with it; the message is the service's.
    """
    environment = {name: os.environ[name] for name in ENVIRONMENT if name in os.environ}
    try:
        done = subprocess.run(
            [sys.executable, "-m", "app.commands.check"],
            cwd=ROOT,
            env=environment | {"MODEL_PATH": str(path.resolve())},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=TIMEOUT_S,
        )
    except subprocess.TimeoutExpired as exc:
        raise PackageError(
            f"{path}: the model did not answer its samples within {TIMEOUT_S} s: it loops without end, or is "
            "too slow to be served"
        ) from exc
    if done.returncode < 0:
        raise PackageError(
            f"{path}: the process that ran the model was ended by {signal.Signals(-done.returncode).name}"
        )
    if done.returncode:
        # The last line is the message, also of an exception that nobody expected.
        *_, message = ["no message", *done.stderr.strip().splitlines()]
        raise PackageError(f"{path}: {message.removeprefix('check: ')}")


def _check_samples(draft: Draft) -> tuple[str, ...]:
    """Return what the samples do not prove."""
    if SAMPLES_FILE not in draft.files:
        return (f"there is no {SAMPLES_FILE}: nothing proves that the model answers correctly",)
    path = draft.path(SAMPLES_FILE)
    samples = parse_samples(path.read_bytes(), str(path))
    if not samples:
        raise PackageError(f"{path}: expected a list of at least one sample")
    made = sum(sample.source == ONNXRUNTIME for sample in samples)
    if not made:
        return ()
    return (
        f"{SAMPLES_FILE}: the outputs of {made} of {len(samples)} samples are ONNX Runtime's own: they prove "
        "nothing of the export; let the training framework calculate them",
    )


def _load_model_io(path: Path) -> ModelIO:
    # ONNX Runtime takes a while to load, and only publishing needs it.
    import onnxruntime

    from model_loader.package.ort_errors import ORT_ERRORS

    options = onnxruntime.SessionOptions()
    register_extensions(options, path)
    options.log_severity_level = 4
    # The model is not run, so its weights need not be loaded or optimized.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.add_session_config_entry("session.disable_prepacking", "1")
    try:
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except ORT_ERRORS as exc:
        if found := other_format(path):
            raise PackageError(f"{path} is not an ONNX model, but {found}") from exc
        raise PackageError(f"ONNX Runtime cannot load {path}: {explain(exc)}") from exc
    return read_model_io(session)
