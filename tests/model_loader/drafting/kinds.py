"""Kinds of models for drafts, as skl2onnx exports them, with data and what the framework answers."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
from onnx import helper
from skl2onnx import convert_sklearn
from skl2onnx.common.data_types import FloatTensorType, Int64TensorType, StringTensorType
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

ROWS = 90
RNG = np.random.default_rng(3)
X = RNG.normal(size=(ROWS, 3)).astype(np.float32)
NUMBER = (X[:, 0] + 2 * X[:, 1]).astype(np.float32)
CLASS = np.digitize(NUMBER, [-1, 1])
WORD = np.array(["low", "middle", "high"])[CLASS]
FRAME = pd.DataFrame(X, columns=["alpha", "beta one", "gamma"])
MIXED = pd.DataFrame(
    {
        "age": RNG.integers(18, 80, ROWS),
        "job title": RNG.choice(["clerk", "driver", "nurse"], ROWS),
        "balance": (RNG.normal(size=ROWS) * 1000).astype(np.float32),
    }
)
PAYS = np.where(MIXED["age"] > 50, "yes", "no")
TEXTS = np.array(["red wine", "white wine", "dark beer", "light beer, cold", "red beer", "wine"] * 15)
TOPIC = np.array(["wine", "wine", "beer", "beer", "beer", "wine"] * 15)
FLOATS = ("x", FloatTensorType([None, 3]))


def exported(model: Any, types: list[tuple[str, Any]], **options: Any) -> bytes:
    """Return a fitted model as ONNX, as skl2onnx writes it."""
    graph = convert_sklearn(
        model, initial_types=types, options=options or None, target_opset={"": 18, "ai.onnx.ml": 3}
    )
    for node in graph.graph.node:
        if node.op_type == "StringNormalizer":
            node.attribute.append(helper.make_attribute("locale", "C.UTF-8"))
    data: bytes = graph.SerializeToString()
    return data


def mixed_columns() -> tuple[bytes, pd.DataFrame, dict[str, Any], Any]:
    encode = ColumnTransformer(
        [
            ("n", StandardScaler(), ["age", "balance"]),
            ("c", OneHotEncoder(handle_unknown="ignore"), ["job title"]),
        ]
    )
    model = make_pipeline(encode, LogisticRegression(max_iter=1000)).fit(MIXED, PAYS)
    types = [
        ("age", Int64TensorType([None, 1])),
        ("job title", StringTensorType([None, 1])),
        ("balance", FloatTensorType([None, 1])),
    ]
    probabilities = model.predict_proba(MIXED)
    outputs = {"label": model.predict(MIXED), "probabilities_no": probabilities[:, 0]}
    outputs["probabilities_yes"] = probabilities[:, 1]
    return exported(model, types, zipmap=False), MIXED, outputs, PAYS


def forest_with_zipmap() -> tuple[bytes, pd.DataFrame, dict[str, Any], Any]:
    model = RandomForestClassifier(5, random_state=1).fit(X, CLASS)
    probabilities = model.predict_proba(X)
    outputs = {"output_label": model.predict(X)} | {str(i): probabilities[:, i] for i in range(3)}
    return exported(model, [FLOATS]), FRAME, outputs, CLASS


def words_as_labels() -> tuple[bytes, pd.DataFrame, dict[str, Any], Any]:
    model = LogisticRegression().fit(X, WORD)
    probabilities = model.predict_proba(X)
    outputs = {"label": model.predict(X)} | {f"probabilities_{i}": probabilities[:, i] for i in range(3)}
    return exported(model, [FLOATS], zipmap=False), FRAME, outputs, WORD


def regressor() -> tuple[bytes, pd.DataFrame, dict[str, Any], Any]:
    model = LinearRegression().fit(X, NUMBER + 0.1 * X[:, 2] ** 2)
    return exported(model, [FLOATS]), FRAME, {"anything": model.predict(X)}, NUMBER


def text(*shape: int) -> Callable[[], tuple[bytes, pd.DataFrame, dict[str, Any], Any]]:
    def make() -> tuple[bytes, pd.DataFrame, dict[str, Any], Any]:
        model = make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(TEXTS, TOPIC)
        outputs = {"label": model.predict(TEXTS)}
        return (
            exported(model, [("text", StringTensorType([None, *shape]))], zipmap=False),
            pd.DataFrame({"words": TEXTS}),
            outputs,
            TOPIC,
        )

    return make


def strings_in() -> tuple[bytes, pd.DataFrame, dict[str, Any], Any]:
    frame = pd.DataFrame({"job": MIXED["job title"], "zip code": [f"0{i % 3}" for i in range(ROWS)]})
    model = make_pipeline(OneHotEncoder(), LogisticRegression()).fit(frame.to_numpy(object), CLASS)
    outputs = {"label": model.predict(frame.to_numpy(object))}
    return exported(model, [("x", StringTensorType([None, 2]))], zipmap=False), frame, outputs, CLASS


KINDS = {
    "mixed columns": mixed_columns,
    "forest with ZipMap": forest_with_zipmap,
    "strings as labels": words_as_labels,
    "regressor": regressor,
    "text": text(),
    "column of texts": text(1),
    "strings in": strings_in,
}


def write_table(table: pd.DataFrame, path: str) -> None:
    """Write a table in the format of the path's extension."""
    match Path(path).suffix:
        case ".csv":
            table.to_csv(path, index=False)
        case ".parquet":
            duckdb.from_df(table).write_parquet(path)
        case ".jsonl":
            table.to_json(path, orient="records", lines=True)
