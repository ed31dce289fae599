"""Arrays as the JSON of a request or response to `/score`."""

from typing import Any

import numpy as np

from model_loader.drafting.session import Output


def to_json(value: Output | np.generic) -> Any:
    """Return an array as nested lists, and a ZipMap as a list of objects.

    Floats have the fewest digits that are the same number in their type: 13.2, not 13.199999809265137. JSON
    has no NaN and no infinities: they are texts.
    """
    if isinstance(value, list):
        return [to_json(item) for item in value]
    if isinstance(value, dict):
        return {str(key): to_json(np.float32(item)) for key, item in value.items()}
    array = np.asarray(value)
    if array.dtype.kind != "f":
        return array.tolist()
    shortest = array.astype(str).astype(np.float64)
    if np.isfinite(shortest).all():
        return shortest.tolist()
    objects = shortest.astype(object)
    for number, name in ((np.inf, "Infinity"), (-np.inf, "-Infinity")):
        objects[shortest == number] = name
    objects[np.isnan(shortest)] = "NaN"
    return objects.tolist()
