"""Large tensors of numbers, from JSON to NumPy without a Python object for each.

What is read here is read as orjson and `np.array` would have read it, bit for bit; what is not surely so,
errors included, is left to them. simdjson gives an array's numbers and flattens its brackets, so the shape is
proven from the bytes. It reads a piece at a time, since for a whole document it takes 15 times its size.

https://www.rfc-editor.org/rfc/rfc8259, sections 2 to 6: the documents that are recognised.
"""

import math
import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import simdjson

Array: TypeAlias = npt.NDArray[Any]
Dtype: TypeAlias = np.dtype[Any]
Bytes: TypeAlias = npt.NDArray[np.uint8]
Words: TypeAlias = npt.NDArray[np.uint64]

# From here on it is the faster way.
LARGE_BYTES = 16 * 1024

# Small enough that what is made of them stays a fraction of a large body, and in the processor's caches.
_PIECE_BYTES = 128 * 1024
_WINDOW_BYTES = 256 * 1024  # a multiple of 64
# What simdjson gives an array's numbers as.
_KINDS = {"i": np.int64, "d": np.float64}
_MAX_DIMENSIONS = 64
_COMMA, _OPEN = b",["

# Names are printable ASCII without escapes.
_BEGIN = re.compile(rb'[ \t\n\r]*\{[ \t\n\r]*"(inputs|instances)"[ \t\n\r]*:[ \t\n\r]*(\{[ \t\n\r]*)?')
_NAME = re.compile(rb'"([ !#-\[\]-~]*)"[ \t\n\r]*:[ \t\n\r]*(?=\[)')
_NEXT = re.compile(rb"[ \t\n\r]*,[ \t\n\r]*")
_END = re.compile(rb"[ \t\n\r]*\}[ \t\n\r]*")


def loads(body: bytes, dtypes: Mapping[str, Dtype], single: str | None) -> dict[str, Any] | None:
    """A document whose tensors are all numbers, these as arrays in the model's types.

    Args:
        body: a request of `POST /score`.
        dtypes: of the model's inputs.
        single: the input that a bare value is for.

    Returns:
        `{"inputs": {name: array, …}}`, `{"inputs": array}` or `{"instances": array}`; None where the body is
        anything else, or where reading it that way might make a difference.
    """
    begin = _BEGIN.match(body)
    if not begin:
        return None
    values: dict[str, Array] | Array
    try:
        if begin[2]:
            values, end = _members(body, begin.end(), dtypes)
        else:
            values, end = _value(body, begin.end(), dtypes[single or ""])
    except (KeyError, TypeError, ValueError, RuntimeError):  # simdjson's errors have no class of its own
        return None
    return {begin[1].decode(): values} if _END.fullmatch(body, end) else None


def _members(body: bytes, at: int, dtypes: Mapping[str, Dtype]) -> tuple[dict[str, Array], int]:
    """The members of the object that `inputs` is, and where it ends."""
    values: dict[str, Array] = {}
    while match := _NAME.match(body, at):
        name = match[1].decode()
        # The way that reads all JSON is more careful where such a word is in the body.
        if name in values or "true" in name or "false" in name:
            raise ValueError
        values[name], at = _value(body, match.end(), dtypes[name])
        if following := _NEXT.match(body, at):
            at = following.end()
        elif closing := _END.match(body, at):
            return values, closing.end()
    raise ValueError


def _value(body: bytes, start: int, dtype: Dtype) -> tuple[Array, int]:
    """The array that begins at `start`, and where it ends, which is before any string."""
    string = body.find(b'"', start)
    end = body.rfind(b"]", start, len(body) if string < 0 else string) + 1
    if body[start : start + 1] != b"[" or not end or dtype.kind not in "iuf":
        raise ValueError
    shape, cuts = _structure(body, start, end)
    # One point tells that there is a float, and so that all become floats, as with `np.array`.
    kind = "d" if dtype.kind == "f" and body.find(b".", start, end) >= 0 else "i"
    numbers = np.empty(math.prod(shape), dtype)
    with np.errstate(over="ignore"):
        _fill(numbers, kind, body, cuts)
    if dtype.kind == "f" and not np.isfinite(numbers).all():
        raise ValueError  # out of the type's range
    return numbers.reshape(shape), end


def _structure(body: bytes, start: int, end: int) -> tuple[tuple[int, ...], list[tuple[int, int]]]:
    """The shape that the brackets and commas of an array have, given that it is one of JSON.

    Proven is that the brackets are those of the shape, in its order, and that each innermost pair has as many
    commas. What stands between is for simdjson to read, and must be a number at each place.

    Returns:
        the shape; commas to cut at, each with the depth of brackets there, between the array's ends.

    Raises:
        ValueError: they have none.
    """
    text = np.frombuffer(body, np.uint8, end - start, start)
    commas, either = _packed(text)
    places = _places(either)
    brackets = text[places]
    is_open = brackets == _OPEN
    depths = np.cumsum(np.where(is_open, 1, -1))
    before = np.cumsum(np.bitwise_count(commas), dtype=np.int64)

    size = int(before[-1]) + 1
    counts = [*np.bincount(depths[is_open])[1:].tolist(), size]  # of arrays at each depth, then of numbers
    shape = tuple(inner // outer for outer, inner in pairwise(counts))
    # NumPy has no more dimensions; and `expected` for a million of them would take minutes.
    if len(shape) > _MAX_DIMENSIONS or math.prod(shape) != size:
        raise ValueError
    expected = b"[]"
    for length in reversed(shape[:-1]):
        expected = b"[%b]" % (expected * length)
    if brackets.tobytes() != expected:
        raise ValueError
    rows = np.flatnonzero(is_open[:-1] & ~is_open[1:])
    for bracket, first in ((rows, 0), (rows + 1, shape[-1] - 1)):
        word, bit = np.divmod(places[bracket].astype(np.uint64), np.uint64(64))
        index = before[word] - np.bitwise_count(commas[word] >> bit)
        if not np.array_equal(index, np.arange(first, size, shape[-1])[: len(rows)]):
            raise ValueError

    cuts = [(start, 0)]
    while (cut := body.find(b",", cuts[-1][0] + _PIECE_BYTES, end)) >= 0:
        cuts.append((cut, int(depths[np.searchsorted(places, cut - start) - 1])))
    return shape, [*cuts, (end, 0)]


def _packed(text: Bytes) -> tuple[Words, Words]:
    """Which bytes are commas, and which brackets or one of two letters; a bit each, the first the lowest."""
    size = -(-len(text) // 64)
    commas, brackets = np.zeros((2, size * 8), np.uint8)
    for at in range(0, len(text), _WINDOW_BYTES):
        window = text[at : at + _WINDOW_BYTES]
        place = slice(at // 8, at // 8 + -(-len(window) // 8))
        commas[place] = np.packbits(window == _COMMA, bitorder="little")
        brackets[place] = np.packbits((window | 6) == (_OPEN | 6), bitorder="little")
    return commas.view(np.uint64), brackets.view(np.uint64)


def _places(bits: Words) -> npt.NDArray[np.int64]:
    """Where the bits are that are set, few of them; word by word, which is faster than byte by byte."""
    words = np.flatnonzero(bits != 0)
    within = np.flatnonzero(np.unpackbits(bits[words].view(np.uint8), bitorder="little").view(np.bool_))
    return np.asarray(words[within >> 6] * 64 + (within & 63))


def _fill(numbers: Array, kind: str, body: bytes, cuts: Sequence[tuple[int, int]]) -> None:
    """Fills `numbers` with those between the cuts.

    A piece gets the brackets that it lacks, so that simdjson checks it all. What it would pass where a piece
    begins or ends, a number missing beside the comma, shows in how many there are.

    Raises:
        TypeError: there is anything but numbers of the kind: `i` for integers, `d` for all.
        ValueError, RuntimeError: it is no JSON, there are not so many numbers, one is out of range.
    """
    parser: Any = simdjson.Parser()
    limits = np.iinfo(numbers.dtype) if numbers.dtype.kind != "f" else None
    view, filled = memoryview(body), 0
    for (start, depth), (end, closes) in pairwise(cuts):
        piece = b"".join((b"[" * depth, view[start + (depth > 0) : end], b"]" * closes))
        part = np.frombuffer(parser.parse(piece).as_buffer(of_type=kind), _KINDS[kind])
        place = numbers[filled : filled + len(part)]
        filled += len(part)
        # As Python's integers become floats: by way of the 64 bits that both have.
        place[:] = part.astype(np.float64) if numbers.dtype.kind == "f" else part
        if limits and not limits.min <= part.min() <= part.max() <= limits.max:
            raise ValueError
    if filled != len(numbers):
        raise ValueError
