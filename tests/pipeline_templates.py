"""Azure pipelines with their variables templates, as a run reads them."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scripts.validate_pipelines import read_document

EXPRESSION = re.compile(r"\$\{\{(.*?)\}\}")


class TemplateError(Exception):
    """A template has what is not supported."""


def read_expanded(path: Path) -> Any:
    """Read an Azure pipeline as a run begins with it: with its variables templates, and without `${{ … }}`.

    https://learn.microsoft.com/azure/devops/pipelines/process/template-expressions

    Raises:
        TemplateError: an expression is not `variables.NAME`, or the variable is unknown.
    """
    document = read_document(path)
    document["variables"] = _variables(document.get("variables", {}), path)
    return _expand(document, document["variables"], path.name)


def _variables(given: Any, path: Path) -> dict[str, str]:
    """Return name → value of a mapping, or of a list of names and templates, whose paths are relative."""
    if isinstance(given, dict):
        return given
    found: dict[str, str] = {}
    for item in given:
        if item.keys() not in ({"template"}, {"name", "value"}):
            raise TemplateError(
                f"{path.name}: {item} is not supported: expected a template, or name and value"
            )
        if "template" in item:
            template = path.parent / item["template"]
            found |= _variables(read_document(template)["variables"], template)
        else:
            found[item["name"]] = item["value"]
    return found


def _expand(node: Any, variables: Mapping[str, str], place: str) -> Any:
    if isinstance(node, dict):
        return {key: _expand(value, variables, place) for key, value in node.items()}
    if isinstance(node, list):
        return [_expand(value, variables, place) for value in node]

    def value(match: re.Match[str]) -> str:
        name = re.fullmatch(r"\s*variables\.(\w+)\s*", match[1])
        if not name or name[1] not in variables:
            raise TemplateError(f"{place}: {match[0]} is not supported: expected a variable of the file")
        return variables[name[1]]

    return EXPRESSION.sub(value, node)
