"""What `schema.json` says of features, as descriptions: a value that violates it may still be served."""

from collections.abc import Mapping

from app.model.served_model import ServedModel
from app.openapi.parts import Schema
from model_loader.package.schema import FieldSchema, read_schema

MAX_CATEGORIES = 20


def described(model: ServedModel, schemas: Mapping[str, Schema]) -> dict[str, Schema]:
    """Return the schemas with the descriptions of their features.

    Args:
        schemas: feature → schema of its value.
    """
    contract = read_schema(model.package)
    fields = contract.features if contract else {}
    return {
        name: schema | {"description": describe(fields[name])} if name in fields else schema
        for name, schema in schemas.items()
    }


def describe(field: FieldSchema) -> str:
    """Return a field as one line: `Alcohol by volume; number in % vol from 11.03 to 14.83`."""
    text = f"{field.type} in {field.unit}" if field.unit else field.type
    if field.minimum is not None:
        text += f" from {field.minimum:g}"
    if field.maximum is not None:
        text += f" to {field.maximum:g}" if field.minimum is not None else f" up to {field.maximum:g}"
    if field.categories:
        names = ", ".join(map(str, field.categories[:MAX_CATEGORIES]))
        text += f", one of {names}{', …' if len(field.categories) > MAX_CATEGORIES else ''}"
    if field.max_missing == 0:
        text += ", never missing"
    return f"{field.description}; {text}" if field.description else text
