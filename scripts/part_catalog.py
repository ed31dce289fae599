"""The parts that a clone can do without, as parts.toml describes them."""

import tomllib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FILE = "parts.toml"


class PartError(Exception):
    """A part cannot be removed, or parts.toml does not fit the clone."""


@dataclass(frozen=True)
class Part:
    """What belongs to a part, apart from the lines that are marked with its name.

    Attributes:
        what: one line for people.
        paths: files and directories, relative to the root.
        needs: parts without which this one does not work: it is removed with any of them.
        needs_any: parts of which one is enough: it is removed with the last of them.
    """

    name: str
    what: str
    paths: tuple[str, ...]
    needs: tuple[str, ...] = ()
    needs_any: tuple[str, ...] = ()


def read_toml(path: Path) -> dict[str, Any]:
    """Read a file in TOML.

    Raises:
        PartError: it cannot be read, or is not TOML.
    """
    try:
        return tomllib.loads(path.read_text())
    except (OSError, ValueError) as exc:
        raise PartError(f"cannot read {path.name}: {exc}") from exc


def read_parts(root: Path) -> dict[str, Part]:
    """Read parts.toml.

    Returns: name → part, in the file's order.

    Raises:
        PartError: the file is not TOML, an entry has an unknown key, or names an unknown part.
    """
    document = read_toml(root / FILE)
    parts = {name: _part(name, entry) for name, entry in document.items()}
    for part in parts.values():
        if unknown := {*part.needs, *part.needs_any} - parts.keys():
            raise PartError(f"{FILE}: {part.name} needs {', '.join(sorted(unknown))}, which is not a part")
    return parts


def with_dependents(parts: Mapping[str, Part], names: Sequence[str], gone: Collection[str]) -> dict[str, str]:
    """Return the parts to remove: those named, and those that do not work without them.

    Args:
        gone: parts that were removed before.

    Returns: name → the parts it needs that are being removed, as text; empty for a part that was named.

    Raises:
        PartError: a name is not of a part.
    """
    if unknown := [name for name in names if name not in parts]:
        raise PartError(f"no part is named {unknown[0]!r}: expected one of {', '.join(parts)}")
    found = dict.fromkeys(names, "")
    while True:
        absent = {*found, *gone}
        more = {
            part.name: reason
            for part in parts.values()
            if part.name not in absent and (reason := _missing(part, absent))
        }
        if not more:
            return found
        found |= more


def _missing(part: Part, absent: Collection[str]) -> str:
    """Return the parts that one needs and that are absent; empty if it works without them."""
    missing = [name for name in part.needs if name in absent]
    if part.needs_any and all(name in absent for name in part.needs_any):
        missing += part.needs_any
    return ", ".join(missing)


def _part(name: str, entry: Mapping[str, object]) -> Part:
    expected = {"what": str, "paths": list, "needs": list, "needs_any": list}
    for key, value in entry.items():
        if key not in expected:
            raise PartError(f"{FILE}: {name} has the unknown key {key!r}: expected {', '.join(expected)}")
        if not isinstance(value, expected[key]):
            raise PartError(f"{FILE}: {name}.{key} is {value!r}: expected a {expected[key].__name__}")
    if "what" not in entry or "paths" not in entry:
        raise PartError(f"{FILE}: {name} lacks what or paths")
    lists = {key: tuple(map(str, value)) for key, value in entry.items() if isinstance(value, list)}
    return Part(name, str(entry["what"]), **lists)
