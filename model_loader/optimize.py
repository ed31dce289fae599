"""Optimization of packages: ONNX Runtime optimizes the graph once and saves it, instead of at every start.

https://onnxruntime.ai/docs/performance/model-optimizations/graph-optimizations.html, offline mode. The
session options are in onnxruntime_session_options_config_keys.h.
"""

import re
import shutil
from pathlib import Path
from typing import Any

from model_loader.errors import PackageError
from model_loader.package import MODEL_FILE, Package, encode, hash_file, read_model_io
from model_loader.package.custom_ops import register_extensions
from model_loader.package.load_errors import explain
from model_loader.package.optimized import (
    ALIGNMENT,
    OPTIMIZED_FILE,
    dependencies,
    find_optimized,
    optimized_path,
)
from model_loader.store.atomic import exclusive_lock, replace_directory

WEIGHTS_FILE = "weights.bin"
# ONNX Runtime packs the weights at each start, and compares them with the saved ones: loading 2 GiB of them
# takes twice as long, and 4 GiB more are hashed. Larger packages are optimized on request only.
MAX_BYTES = 2**29
# Only weights of at least this size are saved in WEIGHTS_FILE. The values are tried in this order until all
# weights are aligned. The first is the size of a page: smaller weights cannot be shared.
LEAST_BYTES = (2**12, 2**16, 2**20, 2**24)
# ONNX Runtime reads the location of pre-packed weights from entries whose key begins with the marker, see
# core/framework/tensor_external_data_info.cc. ONNX Runtime 1.31 writes them as `key|offset;length;padding`.
_MARKER = b"prepacked"
_ENTRY = re.compile(rb"prepacked_\d+\x12.[^|]{1,300}?((?:\|\d+;\d+;\d+)+)", re.DOTALL)
_OFFSET = re.compile(rb"\|(\d+);")


def optimize(package: Package, *, large: bool = False) -> bool:
    """Write the optimized model of a package next to it.

    Args:
        package: verified.
        large: whether to optimize a package of more than `MAX_BYTES`, too.

    Returns:
        Whether it was written; False if it exists and is up to date.

    Raises:
        PackageError: the package is too large, or ONNX Runtime cannot save this model, changes its inputs or
            outputs, or saves it in an unknown format.
    """
    # ONNX Runtime takes a while to load.
    import onnxruntime

    from model_loader.package.ort_errors import ORT_ERRORS

    errors: tuple[type[Exception], ...] = (PackageError, *ORT_ERRORS)
    target = optimized_path(package.path.resolve())
    with exclusive_lock(target.parent):
        if _is_optimized(package, onnxruntime.__version__):
            return False
        size = sum(entry.bytes for entry in package.manifest.files.values())
        if size > MAX_BYTES and not large:
            shutil.rmtree(target, ignore_errors=True)  # it is of another package or ONNX Runtime
            raise PackageError(
                f"{package} is not optimized: with {size / 2**30:.1f} GiB it would start more slowly than as "
                "published; --large optimizes it anyway, for workers that share one copy of the weights"
            )
        staging = target.with_name(f".{target.name}")
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir()
        try:
            try:
                before = read_model_io(_save(package.path / MODEL_FILE, staging / MODEL_FILE))
                after = read_model_io(_session(staging / MODEL_FILE))
            except errors as exc:
                raise PackageError(f"{package} cannot be optimized: {explain(exc)}") from exc
            if after != before:
                raise PackageError(f"{package} cannot be optimized: its inputs or outputs would change")
            files = {file.name: vars(hash_file(file)) for file in sorted(staging.iterdir())}
            document = dependencies(package, onnxruntime.__version__) | {"files": files}
            (staging / OPTIMIZED_FILE).write_bytes(encode(document))
            replace_directory(staging, target)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    return True


def prepacked_offsets(content: bytes) -> list[int]:
    """Return the offsets of pre-packed weights in bytes.

    Args:
        content: of a model that was saved by ONNX Runtime.

    Raises:
        PackageError: not every location can be read, because ONNX Runtime saved the model in another format.
    """
    entries = _ENTRY.findall(content)
    markers = content.count(_MARKER)
    if markers != len(entries):
        raise PackageError(
            "this version of ONNX Runtime saves pre-packed weights in an unknown format: expected "
            f"{markers} locations, one for each '{_MARKER.decode()}' in the file, found {len(entries)}"
        )
    return [int(offset) for entry in entries for offset in _OFFSET.findall(entry)]


def _is_optimized(package: Package, onnxruntime: str) -> bool:
    try:
        return find_optimized(package, onnxruntime) is not None
    except PackageError:
        return False


def _save(model: Path, target: Path) -> Any:
    """Save the optimized model, and return the session that saved it.

    Weights of an odd size shift all that follow in the file. Kernels read pre-packed weights with aligned
    vector instructions, which crash the process at other addresses. So weights of an odd size are left in the
    model.
    """
    for least_bytes in LEAST_BYTES:
        session = _session(model, target, least_bytes)
        if all(offset % ALIGNMENT == 0 for offset in prepacked_offsets(target.read_bytes())):
            return session
        for file in target.parent.iterdir():
            file.unlink()
    return _session(model, target, LEAST_BYTES[0], prepacked=False)


def _session(
    model: Path, save_to: Path | None = None, least_bytes: int = 0, *, prepacked: bool = True
) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    register_extensions(options, model)
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    if save_to:
        options.optimized_model_filepath = str(save_to)
        for name, value in (
            ("optimized_model_external_initializers_file_name", WEIGHTS_FILE),
            ("optimized_model_external_initializers_min_size_in_bytes", str(least_bytes)),
            ("save_external_prepacked_constant_initializers", str(int(prepacked))),
        ):
            options.add_session_config_entry(f"session.{name}", value)
    else:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
