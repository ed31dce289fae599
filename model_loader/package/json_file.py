"""The JSON files of a package, read strictly: what two programs could read differently is refused.

https://www.rfc-editor.org/rfc/rfc8259, sections 4, 6 and 8: names occur once, numbers are finite and no
larger than other programs can read, texts are Unicode.
"""

import json
import math
from pathlib import Path
from typing import Any, NoReturn, TypeGuard

from model_loader.errors import PackageError

# Deeper documents end the recursion of other parsers.
MAX_DEPTH = 64
INTEGERS = range(-(2**63), 2**64)


def read_json(path: Path) -> Any:
    """Read the JSON document in a file.

    Raises:
        PackageError: the file cannot be read, or `parse_json` refuses it.
    """
    try:
        content = path.read_bytes()
    except OSError as exc:
        raise PackageError(f"cannot read {path}: {exc.strerror}") from exc
    return parse_json(content, str(path))


def parse_json(content: bytes, source: str) -> Any:
    """Parse a JSON document.

    Args:
        source: the name of the file in messages.

    Raises:
        PackageError: it is not JSON, has a name twice, a number that is not finite or too large, a text that
            is not Unicode, or is nested too deep.
    """
    try:
        # Editors on Windows begin a file with a byte order mark.
        document = json.loads(
            content.decode("utf-8-sig"),
            object_pairs_hook=_object,
            parse_constant=_refuse_number,
            parse_float=_float,
            parse_int=_int,
        )
        _check(document, 0)
    except (ValueError, RecursionError) as exc:
        raise PackageError(f"{source} is not JSON: {exc}") from exc
    return document


def is_number(value: Any) -> TypeGuard[int | float]:
    """Return whether a value read from JSON or TOML is a finite number."""
    try:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:  # an integer that is too large for a float
        return False


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members: dict[str, Any] = {}
    for name, value in pairs:
        if name in members:
            raise ValueError(f"the name {name!r:.80} occurs twice in an object")
        members[name] = value
    return members


def _refuse_number(text: str) -> NoReturn:
    raise ValueError(f"{text:.40} is not a finite number")


def _float(text: str) -> float:
    value = float(text)
    return value if math.isfinite(value) else _refuse_number(text)


def _int(text: str) -> int:
    value = int(text)
    if value not in INTEGERS:
        raise ValueError(f"the number {text:.40} has more than 64 bits")
    return value


def _check(value: Any, depth: int) -> None:
    """Check the depth and the texts of a document."""
    if depth > MAX_DEPTH:
        raise ValueError(f"it is nested more than {MAX_DEPTH} deep")
    if isinstance(value, str):
        # A surrogate that is not one of a pair; UTF-8 cannot encode it.
        if not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value):
            raise ValueError(f"the text {value!r:.80} is not Unicode: it has half of a surrogate pair")
    elif isinstance(value, list):
        for item in value:
            _check(item, depth + 1)
    elif isinstance(value, dict):
        for name, item in value.items():
            _check(name, depth)
            _check(item, depth + 1)
