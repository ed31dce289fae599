"""IO specs: datatypes, and column names checked against inputs."""

from typing import Any

import pytest

from app.tensors.datatypes import DATATYPES
from model_loader.errors import PackageError
from model_loader.package import ORT_TYPES, ModelIO, TensorSpec, check_features


def test_datatypes_agree() -> None:
    """Every datatype that a specification can have is one that the service can convert, and the reverse."""
    assert set(ORT_TYPES.values()) == set(DATATYPES)
    assert len(ORT_TYPES) == len(DATATYPES)


@pytest.mark.parametrize(
    ("features", "shapes", "message"),
    [
        (["a", "b"], [("n", 2)], None),
        (["a", "b"], [("n", "columns")], None),
        (["a", "b"], [(None, None)], None),
        (["a"], [("n", 2)], "expected 2 features, one for each column of input 'x0', got 1"),
        (["a", "a"], [("n", 2)], "expected features to be different names"),
        (["a", 1], [("n", 2)], "expected features to be different names"),
        (["a", ["b"]], [("n", 2)], "expected features to be different names"),
        (["a", "b"], [("n", 2, 2)], "a single two-dimensional input, which this model does not have"),
        (["a", "b"], [None], "a single two-dimensional input, which this model does not have"),
        (["a", "b"], [("n", 2), ("n", 2)], "a single two-dimensional input, which this model does not have"),
    ],
)
def test_check_features(features: list[object], shapes: list[Any], message: str | None) -> None:
    """Features need one required input of two dimensions, with as many columns as there are names."""
    inputs = [TensorSpec(f"x{index}", "FP32", shape) for index, shape in enumerate(shapes)]
    optional = TensorSpec("default", "FP32", (), optional=True)
    model_io = ModelIO((*inputs, optional), ())
    if message is None:
        check_features(features, model_io)
    else:
        with pytest.raises(PackageError, match=message):
            check_features(features, model_io)
