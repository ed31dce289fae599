"""The edits of a former draft's `schema.json`, which a second draft into the same directory keeps.

The data cannot say what a unit is, which feature is personal, or how far a value may go: people write that.
So a field of the former schema stays as it is, unless its type has changed.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from model_loader.package import SCHEMA_FILE
from model_loader.package.json_file import read_json
from model_loader.package.schema import parse_schema

SECTIONS = ("features", "outputs", "feedback")


def keep_edits(drafted: Mapping[str, Any], out: Path) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return the drafted schema with the fields of the former one, and notes about what the data says else.

    Args:
        drafted: the content of `schema.json` by the data.
        out: the directory of the draft, which may have a former one.

    Raises:
        PackageError: the former schema is not valid.
    """
    path = out / SCHEMA_FILE
    if not path.is_file():
        return dict(drafted), ()
    former = read_json(path)
    parse_schema(former, str(path))
    merged: dict[str, Any] = {}
    kept: list[str] = []
    for section in SECTIONS:
        if section not in drafted:
            continue
        old = former.get(section, {})
        merged[section] = {}
        for name, field in drafted[section].items():
            is_kept = name in old and old[name] != field and old[name]["type"] == field["type"]
            merged[section][name] = old[name] if is_kept else field
            kept += [f"{section[:-1] if section != 'feedback' else section} {name!r}"] * is_kept
    if not kept:
        return merged, ()
    names = ", ".join(kept[:5]) + (f" and {len(kept) - 5} more" if len(kept) > 5 else "")
    return merged, (f"{SCHEMA_FILE} keeps {names} of the former draft; delete it to take the data's",)
