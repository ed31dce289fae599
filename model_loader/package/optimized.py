"""The optimized model: a package's graph, optimized and saved by ONNX Runtime, with memory-mapped weights.

It is in `model.optimized/`, next to `model/`, so the package stays as it was published. `optimized.json`
records the digest, the version of ONNX Runtime and the CPU features that it was made for: the layout of
pre-packed weights depends on them.
"""

import json
import platform
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from model_loader.errors import PackageError
from model_loader.package.manifest_fields import MODEL_FILE, FileEntry
from model_loader.package.verify import HashFile, Package, hash_file

OPTIMIZED_FILE = "optimized.json"
# Alignment of pre-packed weights in bytes, required by the widest vector instructions.
ALIGNMENT = 64
# Instruction sets by which ONNX Runtime selects its kernels, see its core/common/cpuid_info.cc.
_FEATURES = re.compile(r"sse|ssse|avx|amx|fma|f16c|asimd|bf16|i8mm|sve|sme|neon|fphp")


def optimized_path(package: Path) -> Path:
    """Return the directory of a package's optimized model: `model` → `model.optimized`."""
    return package.with_name(f"{package.name}.optimized")


def dependencies(package: Package, onnxruntime: str) -> dict[str, Any]:
    """Return what an optimized model depends on, as recorded in `optimized.json`.

    Args:
        onnxruntime: the version of ONNX Runtime.
    """
    return {
        "digest": package.digest,
        "onnxruntime": onnxruntime,
        "machine": platform.machine(),
        "cpu_features": cpu_features(Path("/proc/cpuinfo")),
        "alignment": ALIGNMENT,
    }


def cpu_features(cpuinfo: Path) -> list[str]:
    """Return the instruction sets of this CPU, sorted; empty if the file is missing.

    Args:
        cpuinfo: https://docs.kernel.org/arch/x86/cpuinfo.html
    """
    try:
        text = cpuinfo.read_text()
    except OSError:
        return []
    line = re.search(r"^(?:flags|Features)\s*:(.*)$", text, re.MULTILINE)
    return sorted({name for name in line[1].split() if _FEATURES.match(name)}) if line else []


def optimized_files(package: Package, onnxruntime: str) -> Mapping[Path, FileEntry]:
    """Return the files of the package's optimized model, unverified; none if there is no such model.

    Args:
        package: the package.
        onnxruntime: the version of ONNX Runtime that will load it.

    Raises:
        PackageError: it was made for another package, ONNX Runtime or CPU.
    """
    directory = optimized_path(package.path)
    if not directory.is_dir():
        return {}
    try:
        document = json.loads((directory / OPTIMIZED_FILE).read_bytes())
        made_for = {name: document[name] for name in dependencies(package, onnxruntime)}
        files = {directory / name: FileEntry(**entry) for name, entry in dict(document["files"]).items()}
    except (OSError, ValueError, LookupError, TypeError) as exc:
        raise PackageError(
            f"{directory} is not an optimized model: {OPTIMIZED_FILE} is missing or invalid"
        ) from exc
    for name, expected in dependencies(package, onnxruntime).items():
        if made_for[name] != expected:
            raise PackageError(
                f"{directory} was optimized for {name} {_text(made_for[name])}, not {_text(expected)}"
            )
    return files


def find_optimized(package: Package, onnxruntime: str, hash_file: HashFile = hash_file) -> Path | None:
    """Return the ONNX file of the package's optimized model, or None if there is none.

    Args:
        package: the package.
        onnxruntime: the version of ONNX Runtime that will load it.
        hash_file: returns the sha256 and size of a file.

    Raises:
        PackageError: it was made for another package, ONNX Runtime or CPU, or its files were changed.
    """
    files = optimized_files(package, onnxruntime)
    for file, entry in files.items():
        try:
            is_same = file.is_file() and hash_file(file) == entry
        except OSError as exc:
            raise PackageError(f"{file.parent}: cannot read {file.name}: {exc.strerror}") from exc
        if not is_same:
            raise PackageError(f"{file.parent}: {file.name} is not what was optimized")
    return optimized_path(package.path) / MODEL_FILE if files else None


def _text(value: Any) -> str:
    return " ".join(value) if isinstance(value, list) else str(value)
