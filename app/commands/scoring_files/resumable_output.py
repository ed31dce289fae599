"""The results of one file, appended so that a run that was killed can be continued.

Beside `scores.jsonl` there are `scores.rejected.jsonl`, if rows were rejected, and `scores.summary.json`,
which says what was scored with which model, and how far. Before the end, results are in files `….partial`.
What they have beyond the summary is cut off when a run continues: no row is there twice, none is missing.
"""

import fcntl
import os
from collections.abc import Callable, Mapping
from io import BufferedWriter
from pathlib import Path
from time import monotonic
from typing import Any

import orjson

from app.commands.scoring_files.errors import ScoringError

COMMIT_S = 1.0
# Fields of the summary that say how far a result is.
STATE = ("rows", "rejected", "bytes", "complete")
PARTIAL = ".partial"
Convert = Callable[[Path, Path], None]


class ResumableOutput:
    """The files of a result.

    Attributes:
        rows: number of rows that are done.
        rejected: number of those that were rejected.
        is_complete: whether the result is there already.
    """

    def __init__(
        self, out: Path, about: Mapping[str, Any], *, restart: bool = False, convert: Convert | None = None
    ) -> None:
        """Begin a result, or continue it.

        Args:
            about: what is scored, with what; the same as when it began.
            restart: whether to discard a result that exists.
            convert: writes the second file from the first, which is JSON Lines; None: they are the same.

        Raises:
            ScoringError: there is a result of something else, or another process writes it.
        """
        self._out, self._about, self._convert = out, about, convert
        _, self._rejected_file, self._summary = result_files(out)
        self.rows = self.rejected = 0
        self.is_complete = False
        self._sizes = (0, 0)
        self._files: list[BufferedWriter] = []
        self._committed = monotonic()
        found = None if restart else self._read_summary()
        if found is None and not restart and out.exists():
            raise ScoringError(f"{out} exists already: remove it, or discard it with --restart")
        out.parent.mkdir(parents=True, exist_ok=True)
        if found:
            self.rows, self.rejected, self._sizes = found["rows"], found["rejected"], tuple(found["bytes"])
        if found and found["complete"]:
            self._complete()
            return
        try:
            self._open()
        except ScoringError:
            self.close()
            raise

    def _open(self) -> None:
        """Open the files, and cut off what the summary does not have."""
        for path, size in zip((self._out, self._rejected_file), self._sizes, strict=True):
            file = _partial(path).open("ab")
            self._files.append(file)
            _lock(file)
            if os.fstat(file.fileno()).st_size < size:
                raise ScoringError(f"{file.name} is shorter than {self._summary} says: begin with --restart")
            file.truncate(size)
            file.seek(0, os.SEEK_END)
        self._commit(complete=False)

    def _complete(self) -> None:
        """Give files their names that a run which was killed then has not given."""
        partial = _partial(self._out)
        # A --restart that was killed at once leaves an empty one beside the result.
        if partial.exists() and partial.stat().st_size == self._sizes[0]:
            self._rename()
        elif not self._out.exists():
            raise ScoringError(f"{self._out} is gone, and {self._summary} is not: begin with --restart")
        self.is_complete = True

    def append(self, lines: bytes, rejected: bytes, counts: tuple[int, int]) -> None:
        """Append results; a run that is killed within a second may have to calculate them again.

        Args:
            counts: number of rows, and of those that were rejected.
        """
        for file, text in zip(self._files, (lines, rejected), strict=True):
            file.write(text)
        self.rows, self.rejected = self.rows + counts[0], self.rejected + counts[1]
        if monotonic() - self._committed > COMMIT_S:
            self._commit(complete=False)

    def finish(self) -> None:
        """Give the files their names."""
        self._commit(complete=True)
        self._rename()
        self.close()
        self.is_complete = True

    def _rename(self) -> None:
        """Rename the partial files; that of the outputs is the last, so it shows what is left to do."""
        output, rejected = _partial(self._out), _partial(self._rejected_file)
        if not self.rejected:
            rejected.unlink(missing_ok=True)
            self._rejected_file.unlink(missing_ok=True)
        elif rejected.exists():
            rejected.replace(self._rejected_file)
        if self._convert:
            converted = self._out.with_name(f"{self._out.name}.converted")
            self._convert(output, converted)
            converted.replace(self._out)
            output.unlink()
        else:
            output.replace(self._out)

    def close(self) -> None:
        """Close the files, which another process may continue then."""
        for file in self._files:
            file.close()

    def _read_summary(self) -> dict[str, Any] | None:
        try:
            found: dict[str, Any] = orjson.loads(self._summary.read_bytes())
        except FileNotFoundError:
            return None
        except orjson.JSONDecodeError as exc:
            raise ScoringError(f"{self._summary} is not JSON: begin with --restart") from exc
        if not isinstance(found, dict) or not {*self._about, *STATE} <= found.keys():
            raise ScoringError(f"{self._summary} is not of a result: give another name for this one")
        for name, value in self._about.items():
            if found.get(name) != value:
                raise ScoringError(
                    f"{self._summary}: expected {name} {value!r}, got {found.get(name)!r}: give another name "
                    "for the result, or discard this one with --restart"
                )
        return found

    def _commit(self, *, complete: bool) -> None:
        for file in self._files:
            file.flush()
            os.fsync(file.fileno())
        self._sizes = (self._files[0].tell(), self._files[1].tell())
        document = {**self._about, "rows": self.rows, "rejected": self.rejected}
        document |= {"bytes": self._sizes, "complete": complete}
        written = self._summary.with_name(f"{self._summary.name}.written")
        with written.open("wb") as file:
            file.write(orjson.dumps(document, option=orjson.OPT_INDENT_2) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        written.replace(self._summary)
        self._committed = monotonic()


def result_files(out: Path) -> tuple[Path, Path, Path]:
    """Return the files of a result: the outputs, the rejected rows, the summary."""
    return (
        out, out.with_name(f"{out.stem}.rejected.jsonl"), out.with_name(f"{out.stem}.summary.json")
    )  # fmt: skip


def _partial(path: Path) -> Path:
    return path.with_name(path.name + PARTIAL)


def _lock(file: BufferedWriter) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as exc:
        raise ScoringError(f"{file.name} is being written by another process") from exc
