"""Columns of the data, matched by name to the features or inputs of a model."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from model_loader.errors import DraftError


@dataclass(frozen=True)
class Match:
    """The columns that a model takes.

    Attributes:
        columns: name in the model → name of the column.
        ignored: columns that the model does not take, in the order of the data.
    """

    columns: Mapping[str, str]
    ignored: tuple[str, ...]

    @property
    def renamed(self) -> dict[str, str]:
        """The columns whose name differs from the model's: name of the column → name in the model."""
        return {column: name for name, column in self.columns.items() if name != column}


def simplified(name: str) -> str:
    """Return what exporters keep of a name: its letters and digits, without case."""
    return re.sub(r"[\W_]+", "", name.casefold())


def find(name: str, columns: Sequence[str]) -> str | None:
    """Return the column with this name, or else the only one whose simplified name is the same.

    Raises:
        DraftError: there are several.
    """
    if name in columns:
        return name
    similar = [column for column in columns if simplified(column) == simplified(name)]
    if len(similar) > 1:
        raise DraftError(f"'{name}' may be any of the columns {_quoted(similar)}: rename all but one of them")
    return similar[0] if similar else None


def match(names: Sequence[str], columns: Sequence[str], kind: str) -> Match:
    """Find a column for each name in the model.

    Args:
        kind: what the names are, for messages: `feature` or `input`.

    Raises:
        DraftError: a name has no column, or two names have the same one; the message has a line for each.
    """
    found = {name: find(name, columns) for name in names}
    matched = {name: column for name, column in found.items() if column is not None}
    ignored = tuple(column for column in columns if column not in matched.values())
    problems = [_missing(kind, name, ignored) for name in names if name not in matched]
    if problems:
        left = f"; columns that are left over: {_quoted(ignored)}" if ignored else "; no column is left over"
        raise DraftError(f"the data does not fit the model: {'; '.join(problems)}{left}")
    for name, column in matched.items():
        if other := next((one for one in matched if one != name and matched[one] == column), None):
            raise DraftError(
                f"the column '{column}' fits the {kind}s '{name}' and '{other}': add a column for each"
            )
    return Match(matched, ignored)


def _missing(kind: str, name: str, left: Sequence[str]) -> str:
    close = get_close_matches(simplified(name), [simplified(column) for column in left], 1)
    column = next((column for column in left if close and simplified(column) == close[0]), None)
    return f"no column for the {kind} '{name}'" + (f" (is it '{column}'?)" if column else "")


def _quoted(names: Sequence[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)
