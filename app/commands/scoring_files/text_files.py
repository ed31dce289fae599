"""CSV and JSON Lines, read a request of rows at a time.

https://www.rfc-editor.org/rfc/rfc4180, https://jsonlines.org
"""

import csv
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import IO, Any, AnyStr, NamedTuple

import orjson

from app.commands.scoring_files.errors import ScoringError
from app.errors import InvalidRequest, RequestError
from app.model.served_model import ServedModel
from app.observability.logging import to_utf8
from app.protocols import csv_table, score
from app.tensors import json_document

# Bytes of text in a request, whatever its number of rows, so that wide rows stay bounded in memory.
BATCH_BYTES = 4 * 2**20
MAX_LINE = 32 * 2**20


class Unreadable(NamedTuple):
    """A row that is not what the format says, as text."""

    text: str
    error: RequestError


class Batch(NamedTuple):
    """Rows that are scored together.

    Attributes:
        rows: as `decode` of their source takes them, or Unreadable.
        position: bytes of the file up to here, about.
    """

    rows: list[Any]
    position: int


class CsvSource:
    """A CSV file with a header line."""

    def __init__(self, path: Path, model: ServedModel, max_values: int) -> None:
        """
        Raises:
            ScoringError: its columns do not fit the model.
        """
        self.size = path.stat().st_size
        self._path, self._model, self._max_values = path, model, max_values
        with _opened(path) as file:
            self._header = next(_records(_lines(path, file)), "")
        header = _encoded(self._header)
        try:
            csv_table.check_header(header, model.inputs, model.features)
        except RequestError as exc:
            raise ScoringError(f"{path}: {exc}") from exc

    def batches(self, batch_rows: int, skip: int) -> Iterator[Batch]:
        """Yield the rows after the first `skip`."""
        with _opened(self._path) as file:
            records = _records(_lines(self._path, file))
            next(records, None)
            yield from _grouped(records, batch_rows, skip)

    def decode(self, rows: Sequence[str]) -> Mapping[str, Any]:
        """Return the inputs of rows, as of a request with the header line and them.

        Raises:
            InvalidRequest: they do not fit the model.
        """
        newline = "" if self._header.endswith(("\n", "\r")) else "\n"
        body = _encoded("".join((self._header, newline, *rows)))
        model = self._model
        inputs, count = csv_table.read(body, "text/csv", model.inputs, model.features, self._max_values)
        if count != len(rows):
            raise InvalidRequest(f"expected {len(rows)} rows, got {count}")
        return inputs

    def preview(self, row: str) -> str:
        """Return a row as text."""
        return _readable(row)


class JsonLinesSource:
    """A file with a JSON value a line: an object of columns, or what `instances` of a request has."""

    def __init__(self, path: Path, model: ServedModel, max_values: int) -> None:
        self.size = path.stat().st_size
        self._path, self._model, self._max_values = path, model, max_values

    def batches(self, batch_rows: int, skip: int) -> Iterator[Batch]:
        """Yield the rows after the first `skip`."""
        with self._path.open("rb") as file:
            lines = (line for line in _lines(self._path, file) if not line.isspace())
            for batch in _grouped(lines, batch_rows, skip):
                yield Batch([*map(self._parse, batch.rows)], batch.position)

    def _parse(self, line: bytes) -> Any:
        try:
            if len(line) <= self._max_values:
                return orjson.loads(line)
        except orjson.JSONDecodeError:
            pass  # the error is that of a request
        try:
            return json_document.loads(line, self._max_values)
        except RequestError as exc:
            return Unreadable(_readable(line.decode(errors="surrogateescape")), exc)

    def decode(self, rows: Sequence[Any]) -> Mapping[str, Any]:
        """Return the inputs of rows, as of a request with them.

        Raises:
            InvalidRequest: they do not fit the model.
        """
        return score.decode_rows(rows, self._model.inputs, self._model.features)

    def preview(self, row: Any) -> Any:
        """Return a row as JSON."""
        return row


def _opened(path: Path) -> IO[str]:
    """Open a file whose line ends stay as they are; bytes that are not UTF-8 become lone surrogates."""
    return path.open(encoding="utf-8", errors="surrogateescape", newline="")


def _encoded(text: str) -> bytes:
    return text.encode(errors="surrogateescape")


def _readable(line: str) -> str:
    return to_utf8(line.rstrip("\r\n")).decode()


def _lines(path: Path, file: IO[AnyStr]) -> Iterator[AnyStr]:
    while line := file.readline(MAX_LINE):
        if len(line) == MAX_LINE:
            raise ScoringError(f"{path}: expected lines of less than {MAX_LINE} characters, got a longer one")
        yield line


def _records(lines: Iterator[str]) -> Iterator[str]:
    """Yield the rows of CSV, without blank lines; a field in quotes may have line ends.

    A row that is not CSV is a line.
    """
    reread = _Lines(lines)
    for line in reread:
        if '"' not in line:
            if line.strip("\r\n"):
                yield line
        elif _is_record(chain([line], reread)):
            yield "".join(reread.taken)
        else:
            # A quote without an end takes the following lines, which are rows of their own.
            reread.pending.extendleft(reversed(reread.taken[1:]))
            yield line
        reread.taken.clear()


def _is_record(lines: Iterator[str]) -> bool:
    """Read the lines of one row; return whether they are CSV."""
    try:
        next(csv.reader(lines, strict=True))
    except csv.Error:
        return False
    return True


class _Lines:
    """Lines of which some can be read again.

    Attributes:
        pending: lines to read first.
        taken: the lines that have been read since it was cleared.
    """

    def __init__(self, lines: Iterator[str]) -> None:
        self.pending: deque[str] = deque()
        self.taken: list[str] = []
        self._lines = lines

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self.pending.popleft() if self.pending else next(self._lines)
        self.taken.append(line)
        return line


def _grouped(rows: Iterator[Any], batch_rows: int, skip: int) -> Iterator[Batch]:
    """Yield rows in batches; a last row that would be alone is in the batch before it."""
    held: Batch | None = None
    group: list[Any] = []
    position = size = 0
    for number, row in enumerate(rows):
        position += len(row)
        if number < skip:
            continue
        group.append(row)
        size += len(row)
        if len(group) >= batch_rows or size >= BATCH_BYTES:
            if held:
                yield held
            held, group, size = Batch(group, position), [], 0
    if held and len(group) == 1 and batch_rows > 1:
        held = Batch([*held.rows, *group], position)
    elif group:
        if held:
            yield held
        held = Batch(group, position)
    if held:
        yield held
