"""Large tensors of numbers, from JSON to NumPy without a Python object for each number.

The results equal those of orjson and `np.array` bit for bit. A document for which that is not certain, or
which has an error, is left to them. simdjson returns an array's numbers without its brackets, so the shape is
derived from the bytes. The array is parsed in pieces: for a whole document, simdjson needs many times the
document's size in memory.

https://www.rfc-editor.org/rfc/rfc8259, sections 2 to 6: the grammar of the supported documents.
"""

import math
import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import simdjson

from app.tensors.datatypes import MAX_DIMENSIONS, MAX_ELEMENTS, Array

Dtype: TypeAlias = np.dtype[Any]
Bytes: TypeAlias = npt.NDArray[np.uint8]
Body: TypeAlias = bytes | bytearray
Words: TypeAlias = npt.NDArray[np.uint64]

# From this size on, a body is read faster by this module than by orjson and `np.array`.
LARGE_BYTES = 16 * 1024

# Small enough for the intermediate results to fit into the processor's caches, and to be a fraction of
# a large body.
_PIECE_BYTES = 128 * 1024
_WINDOW_BYTES = 256 * 1024  # a multiple of 64
# A tensor with more nested arrays is not supported: finding the shape takes 40 bytes for each of them.
_MAX_ARRAYS = 4_000_000
# simdjson's names of the types in which it returns numbers.
_KINDS = {"i": np.int64, "d": np.float64}
_COMMA, _OPEN = b",["

# Only names of printable ASCII without escapes are supported.
_BEGIN = re.compile(rb'[ \t\n\r]*\{[ \t\n\r]*"(inputs|instances)"[ \t\n\r]*:[ \t\n\r]*(\{[ \t\n\r]*)?')
_NAME = re.compile(rb'"([ !#-\[\]-~]*)"[ \t\n\r]*:[ \t\n\r]*(?=\[)')
_NEXT = re.compile(rb"[ \t\n\r]*,[ \t\n\r]*")
_END = re.compile(rb"[ \t\n\r]*\}[ \t\n\r]*")


def loads(body: Body, dtypes: Mapping[str, Dtype], single: str | None) -> dict[str, Any] | None:
    """Parse a document that contains only numeric tensors into arrays of the model's types.

    Args:
        body: the body of a `POST /score` request.
        dtypes: input name → dtype.
        single: the input that a value without a name is for; None if there are several inputs.

    Returns:
        `{"inputs": {name: array, …}}`, `{"inputs": array}` or `{"instances": array}`. None if the body is
        anything else, or if orjson and `np.array` might return something different.
    """
    begin = _BEGIN.match(body)
    if not begin:
        return None
    values: dict[str, Array] | Array
    try:
        if begin[2]:
            values, end = _parse_members(body, begin.end(), dtypes)
        else:
            values, end = parse_value(body, begin.end(), dtypes[single or ""])
    except (KeyError, TypeError, ValueError, RuntimeError):  # simdjson has no exception class of its own
        return None
    return {begin[1].decode(): values} if _END.fullmatch(body, end) else None


def end_of_numbers(body: Body, start: int) -> int:
    """Return the position after the array at `start`, which ends before the next string or brace (else 0)."""
    string = body.find(b'"', start)
    limit = len(body) if string < 0 else string
    brace = body.find(b"}", start, limit)
    return body.rfind(b"]", start, limit if brace < 0 else brace) + 1


def _parse_members(body: Body, at: int, dtypes: Mapping[str, Dtype]) -> tuple[dict[str, Array], int]:
    """Parse the members of the `inputs` object; return them and the position after the object.

    Raises:
        KeyError, TypeError, ValueError, RuntimeError: a member is not a supported tensor.
    """
    values: dict[str, Array] = {}
    while match := _NAME.match(body, at):
        name = match[1].decode()
        # `app.protocols.score` does not treat a body that contains these words as all numeric.
        if name in values or "true" in name or "false" in name:
            raise ValueError
        values[name], at = parse_value(body, match.end(), dtypes[name])
        if following := _NEXT.match(body, at):
            at = following.end()
        elif closing := _END.match(body, at):
            return values, closing.end()
    raise ValueError


def parse_value(body: Body, start: int, dtype: Dtype, max_size: int = MAX_ELEMENTS) -> tuple[Array, int]:
    """Parse the array at `start`; return it and the position after it.

    Raises:
        TypeError, ValueError, RuntimeError: it is not a supported tensor, or larger than `max_size`.
    """
    end = end_of_numbers(body, start)
    if body[start : start + 1] != b"[" or not end or dtype.kind not in "iuf":
        raise ValueError
    shape, cuts = _parse_structure(body, start, end)
    if math.prod(shape) > max_size:
        raise ValueError
    # A decimal point means that there is a float; then all numbers are read as floats, as `np.array` does.
    kind = "d" if dtype.kind == "f" and body.find(b".", start, end) >= 0 else "i"
    numbers = np.empty(math.prod(shape), dtype)
    with np.errstate(over="ignore"):
        _fill(numbers, kind, body, cuts)
    if dtype.kind == "f" and not np.isfinite(numbers).all():
        raise ValueError  # out of the type's range
    return numbers.reshape(shape), end


def _parse_structure(body: Body, start: int, end: int) -> tuple[tuple[int, ...], list[tuple[int, int]]]:
    """Derive the shape of a JSON array from its brackets and commas, and find commas at which to cut it.

    Checks that the brackets match the shape, in order, and that each innermost pair contains as many commas
    as the last dimension requires. simdjson later checks that every element is a number.

    Returns:
        the shape; the positions of the array's ends and of the commas between pieces, in order, each with the
        depth of brackets there.

    Raises:
        ValueError: the array is ragged, or has too many dimensions or nested arrays.
    """
    brackets, commas_before, counts, cuts = _scan(body, start, end)
    shape = tuple(inner // outer for outer, inner in pairwise(counts))
    # Without this bound, a body of a million brackets would keep `expected` busy for minutes.
    if len(shape) > MAX_DIMENSIONS or math.prod(shape) != counts[-1]:
        raise ValueError
    expected = b"[]"
    for length in reversed(shape[:-1]):
        expected = b"[%b]" % (expected * length)
    if not np.array_equal(brackets, np.frombuffer(expected, np.uint8)):
        raise ValueError
    rows = np.flatnonzero((brackets[:-1] == _OPEN) & (brackets[1:] != _OPEN))
    for bracket, first in ((rows, 0), (rows + 1, shape[-1] - 1)):
        index = np.arange(first, counts[-1], shape[-1], dtype=np.int32)[: len(rows)]
        if not np.array_equal(commas_before[bracket], index):
            raise ValueError
    return shape, cuts


def _scan(
    body: Body, start: int, end: int
) -> tuple[Bytes, npt.NDArray[np.int32], list[int], list[tuple[int, int]]]:
    """Find the brackets of a JSON array, in windows of the text to bound the memory.

    Returns:
        the brackets in order; the number of commas before each of them; the numbers of arrays at each depth,
        and last of all elements; the cuts, see `_parse_structure`.

    Raises:
        ValueError: a bracket is closed that is not open, or there are too many.
    """
    brackets, commas_before = [], []
    at_depth = np.zeros(MAX_DIMENSIONS + 1, np.int64)
    found = seen = depth = 0
    cuts, cut = [(start, 0)], body.find(b",", start + _PIECE_BYTES, end)
    for at in range(start, end, _WINDOW_BYTES):
        text = np.frombuffer(body, np.uint8, min(_WINDOW_BYTES, end - at), at)
        commas, positions = _pack(text == _COMMA), _set_bits(_pack((text | 6) == (_OPEN | 6)))
        brackets.append(text[positions])
        found += len(positions)
        if found > 2 * _MAX_ARRAYS:
            raise ValueError
        word, bit = np.divmod(positions.astype(np.uint64), np.uint64(64))
        counts = seen + np.cumsum(np.bitwise_count(commas), dtype=np.int32)
        commas_before.append(counts[word] - np.bitwise_count(commas[word] >> bit))
        seen = int(counts[-1])

        is_open = brackets[-1] == _OPEN
        depths = np.cumsum(np.where(is_open, 1, -1)) + depth
        in_window = np.bincount(depths[is_open], minlength=len(at_depth))
        at_depth += in_window  # fails if an array is nested deeper
        while 0 <= cut < at + len(text):
            before = int(np.searchsorted(positions, cut - at))
            cuts.append((cut, int(depths[before - 1]) if before else depth))
            cut = body.find(b",", cut + _PIECE_BYTES, end)
        depth = int(depths[-1]) if len(depths) else depth
    numbers = [*at_depth[1:][at_depth[1:] > 0].tolist(), seen + 1]
    return np.concatenate(brackets), np.concatenate(commas_before), numbers, [*cuts, (end, 0)]


def _pack(mask: npt.NDArray[np.bool_]) -> Words:
    """Return a mask with one bit for each byte, the first one the lowest bit of the first word."""
    packed = np.zeros(-(-len(mask) // 64) * 8, np.uint8)
    packed[: -(-len(mask) // 8)] = np.packbits(mask, bitorder="little")
    return packed.view(np.uint64)


def _set_bits(bits: Words) -> npt.NDArray[np.int64]:
    """Return the positions of the bits that are set.

    Few are, so skipping the words without any is faster than unpacking all of them.
    """
    words = np.flatnonzero(bits != 0)
    within = np.flatnonzero(np.unpackbits(bits[words].view(np.uint8), bitorder="little").view(np.bool_))
    return np.asarray(words[within >> 6] * 64 + (within & 63))


def _fill(numbers: Array, kind: str, body: Body, cuts: Sequence[tuple[int, int]]) -> None:
    """Parse the pieces between the cuts into `numbers`.

    Each piece gets the brackets that it lacks, so that simdjson can check it. simdjson cannot notice that a
    number is missing next to a cut; the check of the total count does.

    Args:
        numbers: the array to fill.
        kind: `i` if all numbers must be integers, `d` if floats are allowed.
        body: the document.
        cuts: see `_parse_structure`.

    Raises:
        TypeError: an element is not a number of the kind.
        ValueError, RuntimeError: the array is not JSON, a number is missing, or one is out of range.
    """
    parser: Any = simdjson.Parser()
    limits = np.iinfo(numbers.dtype) if numbers.dtype.kind != "f" else None
    view, filled = memoryview(body), 0
    for (start, depth), (end, closes) in pairwise(cuts):
        piece = b"".join((b"[" * depth, view[start + (depth > 0) : end], b"]" * closes))
        part = np.frombuffer(parser.parse(piece).as_buffer(of_type=kind), _KINDS[kind])
        target = numbers[filled : filled + len(part)]
        filled += len(part)
        # To float64 first, as with Python's integers and floats; so both paths round in the same way.
        target[:] = part.astype(np.float64) if numbers.dtype.kind == "f" else part
        if limits and not limits.min <= part.min() <= part.max() <= limits.max:
            raise ValueError
    if filled != len(numbers):
        raise ValueError
