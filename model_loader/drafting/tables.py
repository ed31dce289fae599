"""Tables: the data of a draft, read from a file."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from model_loader.drafting.table_files import Columns, read_csv, read_json_lines, read_parquet
from model_loader.errors import DraftError

Array = NDArray[Any]
READERS = {
    ".csv": read_csv,
    ".tsv": read_csv,
    ".parquet": read_parquet,
    ".jsonl": read_json_lines,
    ".ndjson": read_json_lines,
}
FORMATS = "CSV (.csv), Parquet (.parquet), JSON Lines (.jsonl) or NumPy (.npz)"
# The values of a table are in memory several times; a sample of a larger one gives the same draft.
MAX_VALUES = 20_000_000


@dataclass(frozen=True)
class Table:
    """Named columns with the same number of rows.

    Attributes:
        name: the name of the file, for messages.
        columns: name → values, shape (rows, …): integers, floats, booleans, or objects: strings and None.
        rows: number of rows, at least 1.
        is_text: whether all values are texts, because the format has no types, as CSV.
        notes: what was changed while reading, a sentence each.
    """

    name: str
    columns: Mapping[str, Array]
    rows: int
    is_text: bool = False
    notes: tuple[str, ...] = ()


def read_table(path: Path) -> Table:
    """Read a file in one of the FORMATS, which its extension selects.

    Raises:
        DraftError: the file is missing, empty or malformed, or has no rows, or too many.
    """
    suffix = path.with_suffix("").suffix if path.suffix == ".gz" else path.suffix
    if suffix not in READERS and suffix != ".npz":
        hint = "; name a file of JSON Lines .jsonl" if suffix == ".json" else ""
        raise DraftError(f"{path}: expected {FORMATS}, got the extension {suffix!r}{hint}")
    if not path.is_file():
        raise DraftError(f"{path}: no such file")
    if not path.stat().st_size:
        raise DraftError(f"{path} is empty")
    columns, notes = _read_npz(path) if suffix == ".npz" else READERS[suffix](path)
    return make_table(path.name, columns, is_text=READERS.get(suffix) is read_csv, notes=notes)


def make_table(
    name: str, columns: Mapping[str, Array], *, is_text: bool = False, notes: tuple[str, ...] = ()
) -> Table:
    """Return a table of these columns.

    Raises:
        DraftError: there are no rows, too many, or columns with different numbers of rows.
    """
    rows = {column: len(values) for column, values in columns.items()}
    if not any(rows.values()):
        raise DraftError(f"{name} has no rows")
    if len(set(rows.values())) > 1:
        counts = ", ".join(f"{column} {count}" for column, count in rows.items())
        raise DraftError(f"{name}: expected the same number of rows in each column, got {counts}")
    values = sum(array.size for array in columns.values())
    if values > MAX_VALUES:
        raise DraftError(
            f"{name} has {values:,} values: expected at most {MAX_VALUES:,}; draft from a sample of its rows"
        )
    return Table(name, columns, next(iter(rows.values())), is_text, notes)


def _read_npz(path: Path) -> Columns:
    try:
        with np.load(path, allow_pickle=False) as file:
            columns = {name: file[name] for name in file.files}
    except (ValueError, BadZipFile, EOFError, OSError) as exc:
        hint = "; save strings as an array of str, not of objects" if "allow_pickle" in str(exc) else ""
        raise DraftError(f"{path} is not an .npz file of arrays: {exc}{hint}") from exc
    if scalars := [name for name, array in columns.items() if not array.ndim]:
        raise DraftError(f"{path}: expected arrays with a row each, got the scalar '{scalars[0]}'")
    texts = {name: array.astype(object) for name, array in columns.items() if array.dtype.kind == "U"}
    return columns | texts, ()
