"""Files of rows, read by DuckDB: https://duckdb.org/docs/stable/data/overview."""

import csv
import gzip
import re
from collections.abc import Callable, Mapping
from operator import methodcaller
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model_loader.errors import DraftError

# The columns, and a sentence for each change.
Columns = tuple[dict[str, NDArray[Any]], tuple[str, ...]]
DELIMITERS = ",;\t|"
# DuckDB's types that are converted, because NumPy has no such type or JSON none.
AS_TEXT = re.compile(r"DATE|TIME.*|INTERVAL|UUID|ENUM.*|BLOB|BIT")
AS_DOUBLE = re.compile(r"DECIMAL.*|U?HUGEINT|UBIGINT")


def read_csv(path: Path) -> Columns:
    """Read a CSV file with a header line. All values are texts: the format has no types.

    Raises:
        DraftError: the header or a line is malformed; the message has its number.
    """
    names, delimiter = _header(path)
    if len(set(names)) != len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise DraftError(f"{path}: expected columns with different names, got '{twice[0]}' twice")
    # DuckDB compares names without case and renames duplicates, so that it gets names of ours.
    numbered = {f"c{index}": name for index, name in enumerate(names)}
    columns = _query(
        path,
        "SELECT * FROM read_csv($path, auto_detect = false, header = true, delim = $delimiter, quote = '\"', "
        "escape = '\"', columns = $columns)",
        delimiter=delimiter,
        columns=dict.fromkeys(numbered, "VARCHAR"),
    )
    return {numbered[name]: values for name, values in columns[0].items()}, ()


def read_parquet(path: Path) -> Columns:
    """Read a Parquet file.

    Raises:
        DraftError: it is not one.
    """
    return _query(path, "SELECT * FROM read_parquet($path)")


def read_json_lines(path: Path) -> Columns:
    """Read a file with a JSON object in each line; a name that is missing in a line has a missing value.

    Raises:
        DraftError: a line is malformed; the message has its number.
    """
    if _first_line(path).startswith("["):
        raise DraftError(
            f"{path}: expected an object in each line, got an array; pandas writes JSON Lines with "
            "df.to_json(path, orient='records', lines=True)"
        )
    query = "SELECT * FROM read_json($path, format = 'newline_delimited', sample_size = -1"
    # JSON has no dates: a text that looks like one stays as it is.
    columns = {
        name: "VARCHAR" if AS_TEXT.fullmatch(kind) else kind
        for name, kind in _types(path, f"{query})", {}).items()
    }
    return _query(path, f"{query}, columns = $columns)", columns=columns)


def _header(path: Path) -> tuple[list[str], str]:
    """Return the names in the first line of a CSV file, without a byte order mark, and the delimiter."""
    line = _first_line(path)
    delimiter = max(DELIMITERS, key=re.sub(r'"[^"]*"', "", line).count)
    return next(csv.reader([line], delimiter=delimiter), []), delimiter


def _first_line(path: Path) -> str:
    opened = gzip.open if path.suffix == ".gz" else Path.open
    try:
        with opened(path, "rt", encoding="utf-8-sig", newline="") as file:
            return str(file.readline())
    except (UnicodeDecodeError, gzip.BadGzipFile) as exc:
        raise DraftError(f"{path}: expected text in UTF-8: {exc}; save it again in this encoding") from exc


def _query(path: Path, query: str, **parameters: Any) -> Columns:
    types = _types(path, query, parameters)
    terms = ", ".join(_term(name, kind) for name, kind in types.items())
    columns = _fetch(methodcaller("fetchnumpy"), path, f"SELECT {terms} FROM ({query})", parameters)  # noqa: S608 - quoted names
    notes = tuple(
        f"column '{name}' has values of type {kind}: they are texts in ISO form"
        for name, kind in types.items()
        if AS_TEXT.fullmatch(kind)
    )
    return {name: _plain(values) for name, values in columns.items()}, notes


def _types(path: Path, query: str, parameters: Mapping[str, Any]) -> dict[str, str]:
    """Return the columns of a query's result and DuckDB's names of their types."""
    rows = _fetch(methodcaller("fetchall"), path, f"DESCRIBE {query}", parameters)
    return {name: kind for name, kind, *_ in rows}


def _fetch(fetch: Callable[[Any], Any], path: Path, query: str, parameters: Mapping[str, Any]) -> Any:
    # DuckDB takes a while to load, and only drafts need it.
    import duckdb

    with duckdb.connect() as connection:
        try:
            return fetch(connection.execute(query, {"path": str(path), **parameters}))
        except duckdb.Error as exc:
            raise DraftError(_explain(path, str(exc))) from exc


def _term(name: str, kind: str) -> str:
    quoted = '"' + name.replace('"', '""') + '"'
    if AS_TEXT.fullmatch(kind):
        return f"replace({quoted}::VARCHAR, ' ', 'T') AS {quoted}"
    return f"{quoted}::DOUBLE AS {quoted}" if AS_DOUBLE.fullmatch(kind) else quoted


def _plain(values: NDArray[Any]) -> NDArray[Any]:
    """Replace missing values by NaN in floats and integers, and by None in everything else."""
    if not isinstance(values, np.ma.MaskedArray):
        return values
    numeric = values.dtype.kind in "iuf"
    plain: NDArray[Any] = values.data.astype(np.float64 if numeric else object)
    plain[np.ma.getmaskarray(values)] = np.nan if numeric else None
    return plain


def _explain(path: Path, message: str) -> str:
    """Return DuckDB's message without its advice, which is about options of DuckDB."""
    first = message.partition("\n")[0].removeprefix("Invalid Input Error: ")
    line = re.search(r"[Ll]ine:? (\d+)", first)
    if not line:
        return f"{path}: {first}"
    text = re.search(r"Original Line: (.*)\n", message)
    reason = re.search(
        r"Expected Number.*|Value with.*|Invalid unicode.*|(?:Malformed|JSON transform).*", message
    )
    detail = reason[0].strip() if reason else first
    return f"{path}: line {line[1]} is malformed: {detail}" + (f" in {text[1][:80]!r}" if text else "")
