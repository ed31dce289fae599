"""Converters of scikit-learn's HistGradientBoosting: those of skl2onnx 1.20, which fail with onnx 1.23.

They write booleans into an attribute of integers, which onnx 1.23 refuses; here they become integers.
"""

from collections.abc import Mapping
from typing import Any

from skl2onnx import update_registered_converter
from skl2onnx.common import shape_calculator as shapes
from skl2onnx.operator_converters import random_forest
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor


def register_converters() -> None:
    """Register the converters of both estimators with skl2onnx."""
    update_registered_converter(
        HistGradientBoostingClassifier,
        "HistogramTreesClassifier",
        shapes.calculate_linear_classifier_output_shapes,
        _with_integers(random_forest.convert_sklearn_random_forest_classifier),
        options={
            "zipmap": [True, False, "columns"],
            "raw_scores": [True, False],
            "output_class_labels": [False, True],
            "nocl": [True, False],
        },
    )
    update_registered_converter(
        HistGradientBoostingRegressor,
        "HistogramTreesRegressor",
        shapes.calculate_linear_regressor_output_shapes,
        _with_integers(random_forest.convert_sklearn_random_forest_regressor_converter),
        options={"raw_scores": [True, False]},
    )


class _Container:
    """The container of a graph that a converter fills, with integers instead of booleans in lists."""

    def __init__(self, container: Any) -> None:
        self._container = container

    def __getattr__(self, name: str) -> Any:
        return getattr(self._container, name)

    def add_node(self, *args: Any, **attributes: Any) -> Any:
        """Add a node with these attributes."""
        return self._container.add_node(*args, **_integers(attributes))


def _integers(attributes: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: [int(item) if isinstance(item, bool) else item for item in value]
        if isinstance(value, list)
        else value
        for name, value in attributes.items()
    }


def _with_integers(convert: Any) -> Any:
    def converter(scope: Any, operator: Any, container: Any) -> None:
        convert(scope, operator, _Container(container))

    return converter
