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

from app.tensors.datatypes import MAX_DIMENSIONS, Array

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
# A tensor with more nested arrays is not supported: finding the shape takes 100 bytes for each of them.
_MAX_ARRAYS = 1_500_000
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
            values, end = _parse_value(body, begin.end(), dtypes[single or ""])
    except (KeyError, TypeError, ValueError, RuntimeError):  # simdjson has no exception class of its own
        return None
    return {begin[1].decode(): values} if _END.fullmatch(body, end) else None


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
        values[name], at = _parse_value(body, match.end(), dtypes[name])
        if following := _NEXT.match(body, at):
            at = following.end()
        elif closing := _END.match(body, at):
            return values, closing.end()
    raise ValueError


def _parse_value(body: Body, start: int, dtype: Dtype) -> tuple[Array, int]:
    """Parse the array at `start`; return it and the position after it. It ends before the next string.

    Raises:
        TypeError, ValueError, RuntimeError: it is not a supported tensor.
    """
    string = body.find(b'"', start)
    end = body.rfind(b"]", start, len(body) if string < 0 else string) + 1
    if body[start : start + 1] != b"[" or not end or dtype.kind not in "iuf":
        raise ValueError
    shape, cuts = _parse_structure(body, start, end)
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
    text = np.frombuffer(body, np.uint8, end - start, start)
    commas, bracket_mask = _pack_masks(text)
    if np.bitwise_count(bracket_mask).sum() > 2 * _MAX_ARRAYS:
        raise ValueError
    positions = _set_bits(bracket_mask)
    brackets = text[positions]
    is_open = brackets == _OPEN
    depths = np.cumsum(np.where(is_open, 1, -1))
    comma_counts = np.cumsum(np.bitwise_count(commas), dtype=np.int64)

    size = int(comma_counts[-1]) + 1
    counts = [*np.bincount(depths[is_open])[1:].tolist(), size]  # arrays at each depth, then numbers
    shape = tuple(inner // outer for outer, inner in pairwise(counts))
    # Without this bound, a body of a million brackets would keep `expected` busy for minutes.
    if len(shape) > MAX_DIMENSIONS or math.prod(shape) != size:
        raise ValueError
    expected = b"[]"
    for length in reversed(shape[:-1]):
        expected = b"[%b]" % (expected * length)
    if brackets.tobytes() != expected:
        raise ValueError
    rows = np.flatnonzero(is_open[:-1] & ~is_open[1:])
    for bracket, first in ((rows, 0), (rows + 1, shape[-1] - 1)):
        word, bit = np.divmod(positions[bracket].astype(np.uint64), np.uint64(64))
        index = comma_counts[word] - np.bitwise_count(commas[word] >> bit)
        if not np.array_equal(index, np.arange(first, size, shape[-1])[: len(rows)]):
            raise ValueError

    cuts = [(start, 0)]
    while (cut := body.find(b",", cuts[-1][0] + _PIECE_BYTES, end)) >= 0:
        cuts.append((cut, int(depths[np.searchsorted(positions, cut - start) - 1])))
    return shape, [*cuts, (end, 0)]


def _pack_masks(text: Bytes) -> tuple[Words, Words]:
    """Return two bit masks of a text: its commas, and its brackets (or the letters `Y` and `_`).

    Each byte of the text is one bit, the first one the lowest bit of the first word.
    """
    size = -(-len(text) // 64)
    commas, brackets = np.zeros((2, size * 8), np.uint8)
    for at in range(0, len(text), _WINDOW_BYTES):
        window = text[at : at + _WINDOW_BYTES]
        target = slice(at // 8, at // 8 + -(-len(window) // 8))
        commas[target] = np.packbits(window == _COMMA, bitorder="little")
        brackets[target] = np.packbits((window | 6) == (_OPEN | 6), bitorder="little")
    return commas.view(np.uint64), brackets.view(np.uint64)


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
