"""The optimized model: a package's graph as ONNX Runtime saved it, with weights that can be memory-mapped.

`model.optimized/` lies beside `model/`, so the package stays what was published. `optimized.json` records
the digest, the version of ONNX Runtime and the CPU features it was made for: the layout of pre-packed weights
depends on them.
"""

import json
import platform
import re
from pathlib import Path
from typing import Any

from model_loader.errors import PackageError
from model_loader.package.manifest import MODEL_FILE
from model_loader.package.verify import Package, hash_file

OPTIMIZED_FILE = "optimized.json"
# Of pre-packed weights, in bytes: that of the widest vectors.
ALIGNMENT = 64
# What ONNX Runtime chooses its kernels by, see its core/common/cpuid_info.cc.
_FEATURES = re.compile(r"sse|ssse|avx|amx|fma|f16c|asimd|bf16|i8mm|sve|sme|neon|fphp")


def optimized_path(package: Path) -> Path:
    """Where the optimized model of the package in a directory is: `model` → `model.optimized`."""
    return package.with_name(f"{package.name}.optimized")


def recipe(package: Package, onnxruntime: str) -> dict[str, Any]:
    """What the optimized model depends on.

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
    """The instruction sets of this CPU; none where the system does not tell.

    Args:
        cpuinfo: https://docs.kernel.org/arch/x86/cpuinfo.html
    """
    try:
        text = cpuinfo.read_text()
    except OSError:
        return []
    line = re.search(r"^(?:flags|Features)\s*:(.*)$", text, re.MULTILINE)
    return sorted({name for name in line[1].split() if _FEATURES.match(name)}) if line else []


def find_optimized(package: Package, onnxruntime: str) -> Path | None:
    """The ONNX file of the package's optimized model; None where it was not baked.

    Args:
        onnxruntime: the version of ONNX Runtime that would load it.

    Raises:
        PackageError: there is one, but not of this package, for this ONNX Runtime and this CPU, or not whole.
    """
    directory = optimized_path(package.path)
    if not directory.is_dir():
        return None
    try:
        note = json.loads((directory / OPTIMIZED_FILE).read_bytes())
        made, files = {name: note[name] for name in recipe(package, onnxruntime)}, dict(note["files"])
    except (OSError, ValueError, LookupError, TypeError) as exc:
        raise PackageError(f"{directory} is not an optimized model: {OPTIMIZED_FILE} cannot be used") from exc
    for name, wanted in recipe(package, onnxruntime).items():
        if made[name] != wanted:
            raise PackageError(
                f"{directory} was optimized for {name} {_short(made[name])}, not {_short(wanted)}"
            )
    for name, entry in files.items():
        file = directory / name
        if not file.is_file() or vars(hash_file(file)) != entry:
            raise PackageError(f"{directory}: {name} is not what was optimized")
    return directory / MODEL_FILE


def _short(value: Any) -> str:
    return " ".join(value) if isinstance(value, list) else str(value)
