"""Parquet, read and written by DuckDB, which the service itself does not have."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.commands.scoring_files.errors import ScoringError
from app.commands.scoring_files.text_files import Batch
from app.errors import RequestError
from app.model.served_model import ServedModel
from app.protocols import score, table
from model_loader.package import TensorSpec

if TYPE_CHECKING:
    import duckdb

MEMORY = "1GB"
# Without the columns that a directory such as date=2026-01-01 would add.
READ = "read_parquet(?, hive_partitioning = false)"
TYPES = {
    "BOOL": "BOOLEAN", "INT8": "TINYINT", "INT16": "SMALLINT", "INT32": "INTEGER", "INT64": "BIGINT",
    "UINT8": "UTINYINT", "UINT16": "USMALLINT", "UINT32": "UINTEGER", "UINT64": "UBIGINT",
    "FP16": "FLOAT", "BF16": "FLOAT", "FP32": "FLOAT", "FP64": "DOUBLE", "STRING": "VARCHAR",
}  # fmt: skip


class ParquetSource:
    """A Parquet file; a row is as an object of its columns in JSON."""

    def __init__(self, path: Path, model: ServedModel, _max_values: int) -> None:
        """
        Raises:
            ScoringError: DuckDB is missing, the file is not Parquet, or its columns do not fit the model.
        """
        require_duckdb(path)
        self._path, self._model = path, model
        connection = _connect()
        ((self.size,),) = _execute(connection, f"SELECT count(*) FROM {READ}", path).fetchall()
        found = _execute(connection, f"SELECT * FROM {READ} LIMIT 0", path)
        self._columns = [column[0] for column in found.description or ()]
        connection.close()
        try:
            table.layout(self._columns, model.inputs, model.features)
        except RequestError as exc:
            raise ScoringError(f"{path}: {exc}") from exc

    def batches(self, batch_rows: int, skip: int) -> Iterator[Batch]:
        """Yield the rows after the first `skip`, which the file's order numbers."""
        connection = _connect()
        found = _execute(connection, f"SELECT * FROM {READ} OFFSET {skip}", self._path)
        position = skip
        held: list[tuple[Any, ...]] = found.fetchmany(batch_rows)
        while held:
            following = found.fetchmany(batch_rows)
            if len(following) == 1 < batch_rows:  # it would be alone
                held, following = held + following, []
            position += len(held)
            yield Batch([dict(zip(self._columns, row, strict=True)) for row in held], position)
            held = following
        connection.close()

    def decode(self, rows: Sequence[Any]) -> Mapping[str, Any]:
        """Return the inputs of rows, as of a request with them.

        Raises:
            InvalidRequest: they do not fit the model.
        """
        return score.decode_rows(rows, self._model.inputs, self._model.features)

    def preview(self, row: Any) -> Any:
        """Return a row as JSON."""
        return row


def write_parquet(source: Path, target: Path, outputs: Sequence[TensorSpec]) -> None:
    """Write JSON Lines as Parquet; a map is its JSON, a rejected row has no values.

    Args:
        outputs: specs of the outputs, in the order of the columns.
    """
    columns = ", ".join(f"{_quote(spec.name)}: '{_type(spec)}'" for spec in outputs)
    sql = (
        f"COPY (SELECT * FROM read_json({_quote(str(source))}, format = 'newline_delimited', "
        f"hive_partitioning = false, columns = {{{columns}}})) TO {_quote(str(target))} (FORMAT parquet)"
    )
    connection = _connect()
    _execute(connection, sql)
    connection.close()


def require_duckdb(path: Path) -> None:
    """Check that DuckDB is installed.

    Raises:
        ScoringError: it is not.
    """
    try:
        import duckdb  # noqa: F401 (imported only on demand: the service does not have it)
    except ImportError as exc:
        raise ScoringError(
            f"{path}: Parquet needs DuckDB, which the service does not have: install "
            "model_loader/requirements.txt, or use CSV or JSON Lines"
        ) from exc


def _connect() -> "duckdb.DuckDBPyConnection":
    import duckdb

    connection = duckdb.connect()
    connection.execute(f"SET memory_limit = '{MEMORY}'; SET threads = 1")
    return connection


def _execute(
    connection: "duckdb.DuckDBPyConnection", sql: str, path: Path | None = None
) -> "duckdb.DuckDBPyConnection":
    import duckdb

    try:
        return connection.execute(sql, [str(path)] if path else None)
    except duckdb.Error as exc:
        raise ScoringError(f"{path}: {str(exc).strip()}" if path else str(exc).strip()) from exc


def _type(spec: TensorSpec) -> str:
    """Return DuckDB's type of a row's output."""
    known = TYPES.get(spec.datatype)
    return "JSON" if known is None else known + "[]" * len((spec.shape or ())[1:])


def _quote(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
