"""Bakes a package: has ONNX Runtime do once, and write down, what every session of the model would do.

https://onnxruntime.ai/docs/performance/model-optimizations/graph-optimizations.html, offline mode; the
options of the session stand in onnxruntime_session_options_config_keys.h.
"""

import re
import shutil
from pathlib import Path
from typing import Any

from model_loader.errors import PackageError
from model_loader.package import MODEL_FILE, Package, encode, hash_file, read_model_io
from model_loader.package.custom_ops import explain, register_extensions
from model_loader.package.optimized import ALIGNMENT, OPTIMIZED_FILE, find_optimized, optimized_path, recipe
from model_loader.store.atomic import exclusive_lock, replace_directory

WEIGHTS_FILE = "weights.bin"
# Weights of at least so many bytes are shared, the first of these that can be; below a page nothing is.
LEAST_BYTES = (2**12, 2**16, 2**20, 2**24)
# How ONNX Runtime 1.31 writes where pre-packed weights lie: `key|offset;length;padding`.
_PREPACKED = re.compile(rb"prepacked_\d+\x12.[^|]{1,300}?((?:\|\d+;\d+;\d+)+)", re.DOTALL)
_OFFSET = re.compile(rb"\|(\d+);")


def optimize(package: Package) -> bool:
    """Writes the optimized model of a package beside it.

    Args:
        package: verified.

    Returns:
        whether there was anything to do.

    Raises:
        PackageError: ONNX Runtime cannot write this model, or not without changing its inputs or outputs.
    """
    # ONNX Runtime takes a while to load.
    import onnxruntime

    from model_loader.package.ort_errors import ORT_ERRORS

    target = optimized_path(package.path.resolve())
    with exclusive_lock(target.parent):
        if _is_optimized(package, onnxruntime.__version__):
            return False
        staging = target.with_name(f".{target.name}")
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir()
        try:
            try:
                before = _write(package.path / MODEL_FILE, staging / MODEL_FILE)
                after = _session(staging / MODEL_FILE)
            except ORT_ERRORS as exc:
                raise PackageError(f"{package} cannot be optimized: {explain(exc)}") from exc
            if read_model_io(after) != read_model_io(before):
                raise PackageError(f"{package} cannot be optimized: its inputs or outputs would change")
            files = {file.name: vars(hash_file(file)) for file in sorted(staging.iterdir())}
            note = recipe(package, onnxruntime.__version__) | {"files": files}
            (staging / OPTIMIZED_FILE).write_bytes(encode(note))
            replace_directory(staging, target)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    return True


def _is_optimized(package: Package, onnxruntime: str) -> bool:
    try:
        return find_optimized(package, onnxruntime) is not None
    except PackageError:
        return False


def _write(model: Path, target: Path) -> Any:
    """Writes the optimised model; returns the session that did.

    Weights of an odd size move those that come after them, and kernels read pre-packed weights only from
    where vectors are aligned: elsewhere they end the process. So the odd ones stay in the model.
    """
    for least_bytes in LEAST_BYTES:
        session = _session(model, target, least_bytes)
        offsets = [
            offset for entry in _PREPACKED.findall(target.read_bytes()) for offset in _OFFSET.findall(entry)
        ]
        if all(int(offset) % ALIGNMENT == 0 for offset in offsets):
            return session
        for file in target.parent.iterdir():
            file.unlink()
    return _session(model, target, LEAST_BYTES[0], prepacked=False)


def _session(
    model: Path, write_to: Path | None = None, least_bytes: int = 0, *, prepacked: bool = True
) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    register_extensions(options)
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    if write_to:
        options.optimized_model_filepath = str(write_to)
        for name, value in (
            ("optimized_model_external_initializers_file_name", WEIGHTS_FILE),
            ("optimized_model_external_initializers_min_size_in_bytes", str(least_bytes)),
            ("save_external_prepacked_constant_initializers", str(int(prepacked))),
        ):
            options.add_session_config_entry(f"session.{name}", value)
    else:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
