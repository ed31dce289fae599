"""JSON Schemas of the tables of `POST /score`.

Descriptions state what a schema cannot: all rows have the same columns. Inputs with a default, which may be
columns too, are left out.
"""

from collections.abc import Mapping

from app.model.served_model import ServedModel
from app.openapi.features import described
from app.openapi.parts import Schema, closed_object, exactly, schema_ref
from app.tensors.io_spec import single_input

SAME_COLUMNS = "All rows have the same columns."


def split(model: ServedModel, rows: Mapping[str, Schema], element: str | None, limits: Schema) -> Schema:
    """Return the schema of a table as `DataFrame.to_dict("split")` writes it.

    Args:
        rows: input → schema of a row's value.
        element: component of one element of the single input of two dimensions; None if there is none.
        limits: of the number of rows.
    """
    columns: Schema = {"type": "array", "items": {"type": "string"}}
    if element is None:
        names = [name for name in rows if not model.inputs[name].optional]
        columns |= {"enum": [names]}
        # OpenAPI 3.0 has no `prefixItems`, and requires `items`.
        row: Schema = {"type": "array", "prefixItems": [rows[name] for name in names], "items": {}}
        row |= exactly(len(names))
    else:
        size = _size(model)
        row = {"type": "array", "items": schema_ref(element)} | (exactly(size) if size is not None else {})
        if model.features:
            columns |= {"items": {"type": "string", "enum": [*model.features]}, "uniqueItems": True}
            columns |= exactly(len(model.features))
        else:
            columns |= {"items": {"type": ["string", "integer"]}}
            columns |= exactly(size) if size is not None else {}
    data = {"type": "array", "items": row} | limits
    index = {"type": "array", "items": {}, "description": "The rows' labels, which have no effect."}
    schema = closed_object({"columns": columns, "data": data, "index": index}, ["columns", "data"])
    return {"description": "A row has a value for each column."} | schema


def records(model: ServedModel, rows: Mapping[str, Schema], element: str | None, limits: Schema) -> Schema:
    """Return the schema of a table as `DataFrame.to_dict("records")` writes it; see `split`."""
    if element is None:
        row = closed_object(
            {name: schema for name, schema in rows.items() if not model.inputs[name].optional}
        )
    elif model.features:
        row = closed_object(described(model, dict.fromkeys(model.features, schema_ref(element))))
    else:
        size = _size(model)
        count = {} if size is None else {"minProperties": size, "maxProperties": size}
        row = {"type": "object", "additionalProperties": schema_ref(element)} | count
    return {"description": SAME_COLUMNS, "type": "array", "items": row} | limits


def _size(model: ServedModel) -> int | None:
    """Return the number of columns of the single input of two dimensions; None if it is not fixed."""
    spec = single_input(model.inputs)
    size = spec.shape[1] if spec and spec.shape else None
    return size if isinstance(size, int) else None
