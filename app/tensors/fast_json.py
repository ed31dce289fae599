"""Large tensors of numbers, from JSON to NumPy without a Python object for each number.

The results equal those of orjson and `np.array` bit for bit. A document for which that is not certain, or
which has an error, is left to them. simdjson returns an array's numbers without its brackets, so the shape is
derived from the bytes. The array is parsed in pieces: for a whole document, simdjson needs many times the
document's size in memory.

https://www.rfc-editor.org/rfc/rfc8259, sections 2 to 6: the grammar of the supported documents.
"""

import math
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import simdjson

from app.errors import InvalidRequest
from app.tensors import json_document
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
# A member of a tensor of the Open Inference Protocol.
_DATA = b'"data"'
_VALUE = re.compile(rb"[ \t\n\r]*:[ \t\n\r]*(?=\[)")
_MAX_TENSORS = 1000  # a document with more is not supported
# Stands for an array in a document; no request can contain it by chance or by intention.
_PLACEHOLDER = f"{secrets.token_hex(16)}-%d"


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


@dataclass(frozen=True, slots=True)
class NumberText:
    """An array of numbers that has not been parsed, by its position in a document."""

    body: Body
    begin: int

    def parse(self, dtype: Dtype, max_size: int) -> Array:
        """Return the array in a type.

        Raises:
            InvalidRequest: it is larger, not JSON, or not certain to equal what orjson and `np.array` return.
        """
        try:
            return _parse_value(self.body, self.begin, dtype, max_size)[0]
        except (TypeError, ValueError, RuntimeError) as exc:  # simdjson has no exception class of its own
            raise InvalidRequest("the data are not an array of numbers") from exc


def load_tensors(body: Body, max_values: int) -> dict[str, Any] | None:
    """Parse a request of the Open Inference Protocol, but for the arrays of numbers in `data`.

    Args:
        max_values: see `app.tensors.json_document`; of the rest of the document.

    Returns:
        the document, with a `NumberText` for each such array; None if orjson has to read all of it.

    Raises:
        BodyTooLarge: the rest of the document has too many values.
    """
    found: dict[str, NumberText] = {}
    parts: list[bytes | memoryview] = []
    view, copied, at = memoryview(body), 0, body.find(_DATA)
    while at >= 0 and len(found) <= _MAX_TENSORS:
        value = _VALUE.match(body, at + len(_DATA))
        end = _end_of_numbers(body, value.end()) if value and body[at - 1 : at] != b"\\" else 0
        if value and end:
            name = _PLACEHOLDER % len(found)
            found[name] = NumberText(body, value.end())
            parts += [view[copied : value.end()], b'"%b"' % name.encode()]
            copied = end
        at = body.find(_DATA, max(end, at + len(_DATA)))
    if not 0 < len(found) <= _MAX_TENSORS:
        return None
    try:
        document = json_document.loads(b"".join((*parts, view[copied:])), max_values)
    except InvalidRequest:
        return None
    if not isinstance(document, dict) or not isinstance(document.get("inputs"), list):
        return None
    for tensor in document["inputs"]:
        data = tensor.get("data") if isinstance(tensor, dict) else None
        if isinstance(data, str) and data in found:
            tensor["data"] = found.pop(data)
    return None if found else document  # an array elsewhere would not be checked


def _end_of_numbers(body: Body, start: int) -> int:
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
        values[name], at = _parse_value(body, match.end(), dtypes[name])
        if following := _NEXT.match(body, at):
            at = following.end()
        elif closing := _END.match(body, at):
            return values, closing.end()
    raise ValueError


def _parse_value(body: Body, start: int, dtype: Dtype, max_size: int = MAX_ELEMENTS) -> tuple[Array, int]:
    """Parse the array at `start`; return it and the position after it.

    Raises:
        TypeError, ValueError, RuntimeError: it is not a supported tensor, or larger than `max_size`.
    """
    end = _end_of_numbers(body, start)
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
