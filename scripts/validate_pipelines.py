"""Validate azure-pipelines*.yml with the JSON schema that Azure Pipelines publishes for its YAML."""

import json
import sys
from pathlib import Path
from typing import Any

import yaml
from jsonschema.validators import extend, validator_for


def read_document(path: Path) -> Any:
    """Read a YAML file with every scalar as text, as in Azure Pipelines' own schema."""
    return yaml.load(path.read_text(), yaml.BaseLoader)  # noqa: S506  (it only creates text)


def schema_errors(document: Any, schema: Any) -> list[str]:
    """Return the most deeply nested errors of a document, one sentence each."""
    # The schema expects text even for numbers, but not for the booleans of tasks.
    validator = validator_for(schema)
    types = validator.TYPE_CHECKER.redefine("boolean", lambda _, value: value in ("true", "false"))
    leaves = []
    pending = list(extend(validator, type_checker=types)(schema).iter_errors(document))
    while pending:
        error = pending.pop()
        if error.context:
            pending += error.context
        else:
            leaves.append(error)
    deepest = max((len(error.absolute_path) for error in leaves), default=0)
    return [
        f"{'/'.join(map(str, error.absolute_path))}: {error.message}"
        for error in leaves
        if len(error.absolute_path) == deepest
    ]


def main() -> int:
    """Validate the files with the schema that the first argument names, and return the exit code."""
    schema = json.loads(Path(sys.argv[1]).read_text())
    exit_code = 0
    for path in sorted(Path().glob("azure-pipelines*.yml")):
        document = read_document(path)
        # The schema has no template of variables: they are checked as those of a pipeline.
        pipeline = document | {"steps": [{"script": "true"}]} if set(document) == {"variables"} else document
        errors = schema_errors(pipeline, schema)
        for error in errors[:5]:
            print(f"{path}: {error}", file=sys.stderr)
        print(f"{path}: {'not valid' if errors else 'valid'}")
        if errors:
            exit_code = 1
    return exit_code


if __name__ == "__main__":
    sys.exit(main())
