"""Holds azure-pipelines*.yml against the JSON schema that Azure Pipelines publishes for its YAML."""

import json
import sys
from pathlib import Path
from typing import Any

from jsonschema.validators import extend, validator_for

from tests.rehearsal.pipeline import read_document


def faults(document: Any, schema: Any) -> list[str]:
    """What is wrong with a document, a sentence each, at the deepest place that the schema complains of."""
    # Everything is text here; the schema wants text even for numbers, but not for the booleans of tasks.
    usual = validator_for(schema)
    types = usual.TYPE_CHECKER.redefine("boolean", lambda _, value: value in ("true", "false"))
    leaves = []
    todo = list(extend(usual, type_checker=types)(schema).iter_errors(document))
    while todo:
        error = todo.pop()
        if error.context:
            todo += error.context
        else:
            leaves.append(error)
    deepest = max((len(error.absolute_path) for error in leaves), default=0)
    return [
        f"{'/'.join(map(str, error.absolute_path))}: {error.message}"
        for error in leaves
        if len(error.absolute_path) == deepest
    ]


def main() -> int:
    """Argument: the schema."""
    schema = json.loads(Path(sys.argv[1]).read_text())
    bad = False
    for path in sorted(Path().glob("azure-pipelines*.yml")):
        found = faults(read_document(path), schema)
        for fault in found[:5]:
            print(f"{path}: {fault}", file=sys.stderr)
        print(f"{path}: {'not valid' if found else 'valid'}")
        bad |= bool(found)
    return int(bad)


if __name__ == "__main__":
    sys.exit(main())
