"""Tables: data in each format, and files that are not one."""

import gzip
import json
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pytest

from model_loader.drafting import tables
from model_loader.drafting.in_memory import columns_of
from model_loader.drafting.tables import read_table
from model_loader.errors import DraftError

HEAD = "alpha,beta\n"
BAD: list[tuple[str, str | bytes, str]] = [
    ("data.csv", "", r"data.csv is empty"),
    ("data.csv", HEAD, r"data.csv has no rows"),
    ("data.csv", "a,a\n1,2\n", r"expected columns with different names, got 'a' twice"),
    ("data.csv", HEAD + "1,2\n3\n", r"line 3 is malformed: Expected Number of Columns: 2 Found: 1 in '3'"),
    ("data.csv", HEAD + "1,2\n" * 30_000 + "1,2,3\n", r"line 30002 is malformed: .*Found: 3"),
    ("data.csv", HEAD + '1,"2\n', r"line 2 is malformed: Value with unterminated quote"),
    (
        "data.csv",
        HEAD.encode() + b"\xe9,2\n",
        r"data.csv: expected text in UTF-8|line 2 is malformed: Invalid unicode",
    ),
    ("data.csv", HEAD.encode("utf-16"), r"expected text in UTF-8: .*; save it again in this encoding"),
    ("data.csv.gz", "no gzip", r"expected text in UTF-8"),
    ("data.jsonl", '[{"a": 1}]', r"an object in each line, got an array; pandas writes .* lines=True"),
    ("data.jsonl", '{"a": 1}\n{"a": \n', r"data.jsonl: line \d is malformed: Malformed JSON"),
    ("data.jsonl", '{"a": 1, "a": 2}\n', r"line 1 is malformed: .*duplicate key"),
    ("data.parquet", "PAR1", r"data.parquet: .*Parquet"),
    ("data.npz", "no arrays", r"data.npz is not an .npz file of arrays"),
    ("data.json", "{}", r"expected CSV .*, got the extension '.json'; name a file of JSON Lines .jsonl"),
    ("data.xlsx", "PK", r"expected CSV .*, got the extension '.xlsx'"),
]


@pytest.mark.parametrize(("name", "content", "message"), BAD)
def test_bad_file(name: str, content: str | bytes, message: str) -> None:
    """A file that cannot be read is refused with what is wrong, and with the line if it has lines."""
    Path(name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DraftError, match=message):
        read_table(Path(name))


def test_missing_file() -> None:
    """A file that does not exist is refused by name."""
    with pytest.raises(DraftError, match=r"data.csv: no such file"):
        read_table(Path("data.csv"))


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"a": np.zeros(2), "b": np.zeros(3)}, r"the same number of rows in each column, got a 2, b 3"),
        ({"a": np.array(["x", None], object)}, r"save strings as an array of str, not of objects"),
        ({"a": np.float32(1)}, r"expected arrays with a row each, got the scalar 'a'"),
        ({"a": np.zeros((0, 2))}, r"has no rows"),
    ],
)
def test_bad_arrays(arrays: dict[str, Any], message: str) -> None:
    """Arrays that are not rows are refused."""
    np.savez("data.npz", **arrays)
    with pytest.raises(DraftError, match=message):
        read_table(Path("data.npz"))


def test_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """A table with too many values is refused with what to do."""
    monkeypatch.setattr(tables, "MAX_VALUES", 5)
    Path("data.csv").write_text(HEAD + "1,2\n" * 3)
    with pytest.raises(DraftError, match="has 6 values: expected at most 5; draft from a sample of its rows"):
        read_table(Path("data.csv"))


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("mark", ["", "\ufeff"], ids=["plain", "byte order mark"])
def test_csv(separator: str, mark: str) -> None:
    """Any usual delimiter is found in the header, a byte order mark is skipped, texts stay as they are."""
    lines = [["a", "A", "b, c;d"], ["007", "", '"x ""y"", z'], ["1e3", "NA", "2020-01-01"]]
    text = "\n".join(
        separator.join(f'"{cell}"' if "," in cell and '"' not in cell else cell for cell in line)
        for line in lines
    )
    text = text.replace('"x ""y"", z', '"x ""y"", z"')
    Path("data.csv").write_text(f"{mark}{text}\n")
    table = read_table(Path("data.csv"))
    assert {name: values.tolist() for name, values in table.columns.items()} == {
        "a": ["007", "1e3"],
        "A": [None, "NA"],
        "b, c;d": ['x "y", z', "2020-01-01"],
    }
    assert table.is_text


def test_compressed_csv() -> None:
    """CSV may be compressed by gzip."""
    Path("data.csv.gz").write_bytes(gzip.compress(b"a,b\n1,2\n"))
    assert read_table(Path("data.csv.gz")).columns["b"].tolist() == ["2"]


@pytest.mark.parametrize("suffix", ["parquet", "jsonl"])
def test_types(suffix: str) -> None:
    """Numbers and booleans keep their types; missing values are NaN in numbers and None in texts."""
    frame = pd.DataFrame(
        {
            "int": [1, 2],
            "gap": pd.array([1, None], "Int64"),
            "float": [0.5, None],
            "text": ["2020-01-01x", None],
            "flag": [True, False],
            "list": [[1.0, 2.0], [3.0, 4.0]],
        }
    )
    path = Path(f"data.{suffix}")
    if suffix == "parquet":
        duckdb.from_df(frame).write_parquet(str(path))
    else:
        frame.to_json(path, orient="records", lines=True)
    table = read_table(path)
    kinds = {name: values.dtype.kind for name, values in table.columns.items()}
    assert kinds == {"int": "i", "gap": "f", "float": "f", "text": "O", "flag": "b", "list": "O"}
    assert np.isnan(table.columns["gap"][1])
    assert table.columns["text"].tolist() == ["2020-01-01x", None]
    assert not table.is_text


def test_dates() -> None:
    """Dates and times are texts in ISO form, and a note says so."""
    times = pd.to_datetime(["2026-01-02 03:04:05", None])
    duckdb.from_df(pd.DataFrame({"at": times})).write_parquet("data.parquet")
    table = read_table(Path("data.parquet"))
    assert table.columns["at"].tolist() == ["2026-01-02T03:04:05", None]
    assert table.notes == ("column 'at' has values of type TIMESTAMP: they are texts in ISO form",)


def test_dates_in_json() -> None:
    """JSON has no dates: a text that looks like one stays as it is."""
    texts = {
        "at": "2026-01-02 03:04",
        "day": "2026-01-02",
        "hour": "03:04:00",
        "id": "A" * 8 + "-1111-1111-1111-" + "A" * 12,
    }
    Path("data.jsonl").write_text(json.dumps(texts) + "\n")
    table = read_table(Path("data.jsonl"))
    assert {name: values.tolist() for name, values in table.columns.items()} == {
        k: [v] for k, v in texts.items()
    }
    assert table.notes == ()


def test_data_frame() -> None:
    """A DataFrame in memory gives the same columns, also with categories and pandas' own missing values."""
    frame = pd.DataFrame(
        {
            "kind": pd.Categorical(["a", None]),
            "text": pd.array(["x", None], "string"),
            "gap": pd.array([1, None], "Int64"),
            "at": pd.to_datetime(["2026-01-02", None]),
            1: [0.5, np.nan],
        }
    )
    columns = {name: values.tolist() for name, values in columns_of(frame).items()}
    assert columns["kind"] == ["a", None]
    assert columns["text"] == ["x", None]
    assert columns["gap"][0] == 1
    assert np.isnan(columns["gap"][1])
    assert [str(value)[:10] for value in columns["at"]] == ["2026-01-02", "None"]
    assert columns["1"][0] == 0.5
