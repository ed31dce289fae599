"""Which file is of which format."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from app.commands.scoring_files import parquet
from app.commands.scoring_files.csv_output import write_csv
from app.commands.scoring_files.errors import ScoringError
from app.commands.scoring_files.resumable_output import Convert
from app.commands.scoring_files.text_files import Batch, CsvSource, JsonLinesSource
from app.model.served_model import ServedModel


class Source(Protocol):
    """A file of rows.

    Attributes:
        size: in the unit of the positions of its batches.
    """

    size: int

    def batches(self, batch_rows: int, skip: int) -> Iterator[Batch]:
        """Yield the rows after the first `skip`, at most `batch_rows` at a time or one more."""

    def decode(self, rows: Sequence[Any]) -> Mapping[str, Any]:
        """Return the inputs of rows; raise InvalidRequest if they do not fit the model."""

    def preview(self, row: Any) -> Any:
        """Return a row for the file of rejected rows."""


INPUTS: Mapping[str, Callable[[Path, ServedModel, int], Source]] = {
    ".csv": CsvSource,
    ".jsonl": JsonLinesSource,
    ".ndjson": JsonLinesSource,
    ".parquet": parquet.ParquetSource,
}
INPUT_SUFFIXES = tuple(INPUTS)
OUTPUT_SUFFIXES = (".jsonl", ".csv", ".parquet")


def open_source(path: Path, model: ServedModel, max_values: int) -> Source:
    """Open a file of rows.

    Args:
        max_values: limit of the values of a row, see `app.tensors.json_document`.

    Raises:
        ScoringError: it has no known format, or its columns do not fit the model.
    """
    if path.suffix.lower() not in INPUTS:
        raise ScoringError(f"{path}: expected a file of {', '.join(INPUTS)}")
    return INPUTS[path.suffix.lower()](path, model, max_values)


def converter(out: Path, model: ServedModel) -> Convert | None:
    """Return what writes outputs as the file's name says; None for JSON Lines.

    Raises:
        ScoringError: it has no known format.
    """
    match out.suffix.lower():
        case ".jsonl":
            return None
        case ".csv":
            return lambda source, target: write_csv(source, target, [*model.outputs])
        case ".parquet":
            parquet.require_duckdb(out)
            return lambda source, target: parquet.write_parquet(source, target, [*model.outputs.values()])
    raise ScoringError(f"{out}: expected a file of {', '.join(OUTPUT_SUFFIXES)}")
