"""External data of a model: the files next to an ONNX file that have its weights.

https://github.com/onnx/onnx/blob/main/docs/ExternalData.md
https://github.com/onnx/onnx/blob/main/onnx/onnx.proto

The image has no package that reads ONNX files, so this module reads as much of their encoding as it takes to
find the locations: every tensor in every graph, sub-graph and function.
"""

import mmap
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from model_loader.errors import PackageError
from model_loader.package.onnx_file import fields

# Message → number of a field with messages, and their kind.
MESSAGES = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse tensor"},
    "node": {5: "attribute"},
    "attribute": {
        5: "tensor",
        6: "graph",
        10: "tensor",
        11: "graph",
        22: "sparse tensor",
        23: "sparse tensor",
    },
    "sparse tensor": {1: "tensor", 2: "tensor"},
    "tensor": {13: "entry"},
}
KEY = b"location"
# The limit of protobuf's own parsers.
MAX_DEPTH = 100
CHUNK_BYTES = 1024 * 1024


def external_files(model: Path) -> list[str]:
    """Return the paths of a model's external data files, relative to its directory, sorted.

    The file is mapped and not read into memory. A location counts even if its tensor says that its data is in
    the model: parsers merge repeated fields, so that the last word about it can be elsewhere.

    Raises:
        PackageError: the file cannot be read, or is not an ONNX model.
    """
    try:
        with model.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return sorted(set(_locations(data, "model", 0, len(data), 0)))
    except OSError as exc:
        raise PackageError(f"cannot read the model {model}: {exc.strerror}") from exc
    except ValueError as exc:  # also of mmap, for an empty file
        raise PackageError(f"{model} is not an ONNX model: {exc}") from exc


def _locations(data: mmap.mmap, kind: str, start: int, end: int, depth: int) -> Iterator[str]:
    """Yield every location in a message."""
    if depth > MAX_DEPTH:
        raise ValueError(f"its messages are nested more than {MAX_DEPTH} deep")
    if kind == "entry":
        entry = {number: data[first:last] for number, first, last in fields(data, start, end)}
        if entry.get(1) == KEY:
            # ONNX Runtime takes `./weights.bin` for `weights.bin`.
            yield str(PurePosixPath(entry.get(2, b"").decode()))
    # Most messages have no location and need not be parsed; some have millions of fields.
    elif kind == "graph" or _contains_key(data, start, end):
        children = MESSAGES[kind]
        for number, first, last in fields(data, start, end):
            if number in children:
                yield from _locations(data, children[number], first, last, depth + 1)


def _contains_key(data: mmap.mmap, start: int, end: int) -> bool:
    return any(
        KEY in data[position : min(position + CHUNK_BYTES + len(KEY), end)]
        for position in range(start, end, CHUNK_BYTES)
    )
