"""The encoding of ONNX files: the image has no package that reads them.

https://github.com/onnx/onnx/blob/main/onnx/onnx.proto
https://protobuf.dev/programming-guides/encoding/
"""

import mmap
from collections.abc import Iterator
from pathlib import Path

# Wire type → size of the value in bytes.
FIXED = {1: 8, 5: 4}
# Message → number of a field with messages, and their kind; `domain` is what is searched for.
OPSET_IMPORTS = {
    "model": {8: "opset", 25: "function"},
    "function": {9: "opset"},
    "opset": {1: "domain"},
}


def opset_domains(model: Path) -> set[bytes]:
    """Return the domains of the operators that a model imports; the graph is not read.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is not an ONNX model.
    """
    with model.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return set(_domains(data, "model", 0, len(data)))


def _domains(data: mmap.mmap, kind: str, start: int, end: int) -> Iterator[bytes]:
    if kind == "domain":
        yield data[start:end]
        return
    for number, first, last in fields(data, start, end):
        if found := OPSET_IMPORTS[kind].get(number):
            yield from _domains(data, found, first, last)


def fields(data: mmap.mmap, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Yield the number, start and end of each field with a length, and skip the other ones.

    Args:
        data: the file.
        start, end: of a message in it.

    Raises:
        ValueError: the bytes are not a message.
    """
    position = start
    while position < end:
        tag, position = _varint(data, position, end)
        wire_type = tag & 7
        if wire_type == 0:
            _, position = _varint(data, position, end)
        elif wire_type == 2:
            length, position = _varint(data, position, end)
            if length > end - position:
                raise ValueError(f"a field of {length} bytes at byte {position} is cut off")
            yield tag >> 3, position, position + length
            position += length
        elif wire_type in FIXED and position + FIXED[wire_type] <= end:
            position += FIXED[wire_type]
        else:
            raise ValueError(f"a field at byte {position} cannot be parsed")


def _varint(data: mmap.mmap, position: int, end: int) -> tuple[int, int]:
    """Return a number of up to ten bytes, and the position after it."""
    value = 0
    for index in range(min(10, end - position)):
        byte = data[position + index]
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return value, position + index + 1
    raise ValueError(f"a number at byte {position} is cut off")
