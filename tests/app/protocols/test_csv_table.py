"""CSV with a header line, as pandas writes it."""

import io

import numpy as np
import pandas as pd
import pytest
from flask.testing import FlaskClient

from app.errors import BodyTooLarge, InvalidRequest
from app.protocols import csv_table
from app.tensors import fast_json
from model_loader.package import TensorSpec
from tests import models
from tests.app.protocols.tables import FRAME, PREDICTIONS, column_model
from tests.app.scoring.refusal import assert_refused
from tests.conftest import MakeClient

CSV = {"content-type": "text/csv"}


def test_column_inputs(serve: MakeClient) -> None:
    """What `to_csv` writes is read as it is: quotes, line ends in a field, booleans, missing floats."""
    reply = serve(column_model()).post("/score", data=FRAME.to_csv(index=False), headers=CSV)
    assert reply.get_json()["predictions"] == PREDICTIONS


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("b,a\n2,1\n4,3\n", [[3, 5], [7, 9]]),
        ("b,a\r\n2,1\r\n4,3", [[3, 5], [7, 9]]),
        ("\ufeffb,a\r\n2,1\r\n", [[3, 5]]),
        ('"b","a"\n"2","1"\n\n', [[3, 5]]),
        ("a,b\n1.5e0,-.5\n+1,2.\n", [[4, 0], [3, 5]]),
        ("a,b\n,inf\nNaN,-Infinity\n", [["NaN", "Infinity"], ["NaN", "-Infinity"]]),
        ("a,b\n", []),
    ],
)
def test_features(client: FlaskClient, text: str, expected: object) -> None:
    """Columns are matched by name; numbers, missing and non-finite ones, have the usual spellings."""
    reply = client.post("/score", data=text.encode(), headers=CSV)
    assert [row["y"] for row in reply.get_json()["predictions"]] == expected


def test_by_position(serve: MakeClient) -> None:
    """Without features the order counts, and pandas' numbers of nameless columns are a header line."""
    client = serve(models.affine())
    for text in ("any,name\n1,2\n", pd.DataFrame([[1, 2]]).to_csv(index=False)):
        assert client.post("/score", data=text, headers=CSV).get_json()["predictions"] == [{"y": [3, 5]}]
    assert_refused(client, 400, "expected a header line", data="1.5,2\n3,4\n", content_type="text/csv")
    assert_refused(client, 400, "expected 2 columns", data="a,b,c\n1,2,3\n", content_type="text/csv")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "the body is empty; expected CSV with a header line"),
        (b"\n\n", "the body is empty"),
        (b"a,c\n1,2\n", "unknown column 'c'; expected the columns 'a', 'b'"),
        (b"a\n1\n", "missing column 'b'"),
        (b"a,b,a\n1,2,3\n", "column 'a' is given twice"),
        (b"1,2\n3,4\n", "unknown column '1'"),
        (b"a,b\n1,2\n3\n", "row 1: expected 2 fields as in the header line, got 1"),
        (b"a,b\n1,2,\n", "row 0: expected 2 fields as in the header line, got 3"),
        (b'a,b\n1,"2\n', "not CSV: unexpected end of data"),
        (b'a,b\n1,"2"3\n', "not CSV: ',' expected after '\"'"),
        (b"a,b\n1, 2\n", "row 0, column 'b': expected FP32, got ' 2'"),
        (b"a,b\n1,x\n", "got 'x'"),
        (b"a,b\n1,1_0\n", "got '1_0'"),
        (b"a,b\n1,0x10\n", "got '0x10'"),
        ("a,b\n1,٣\n".encode(), "row 0, column 'b': expected FP32, got '٣'"),
        (b"a,b\n1,True\n", "got 'True'"),
        (b"a,b\n1,1e39\n", "got 1e+39 at [0, 1], out of range"),
        (b"a,b\n1,1e400\n", "row 0, column 'b': expected FP32, got '1e400'"),
        (b"a,b\nNaN,1\n-1e400,1\n", "row 1, column 'a': expected FP32, got '-1e400'"),
        (b"a;b\n1;2\n", "unknown column 'a;b'"),
        (b"a,b\n1,\xff\n", "expected CSV in UTF-8, got the byte 0xff at 6"),
    ],
)
def test_invalid(client: FlaskClient, data: bytes, words: str) -> None:
    """What does not fit is named, with its row and column."""
    assert_refused(client, 400, words, data=data, content_type="text/csv")


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("1.5,a,1,true", "input 'count': expected INT64 [n], got 1.5 at [0]"),
        (
            ",a,1,true",
            "row 0, column 'count': expected INT64, got an empty field; only floats may be missing",
        ),
        ("1,,1,true", "row 0, column 'job title': expected STRING, got an empty field"),
        ("1,a,1,1", "row 0, column 'is_new': expected BOOL, got '1'"),
        ("1,a,1,", "expected BOOL, got an empty field"),
        (f"{2**63},a,1,true", "out of range"),
        (f"{'9' * 300},a,1,true", f"got {'9' * 40}… at [0], out of range"),
        (f"{'9' * 5000},a,1,true", "row 0, column 'count': expected INT64, got '9999"),
    ],
)
def test_nothing_is_cast(serve: MakeClient, row: str, words: str) -> None:
    """A field has its input's type; an integer may have a decimal point, but no fraction."""
    client = serve(column_model())
    header = "count,job title,age,is_new\n"
    assert client.post("/score", data=f"{header}2.0,a,1,true", headers=CSV).status_code == 200
    assert_refused(client, 400, words, data=header + row, content_type="text/csv")


@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        ("text/csv; charset=utf-8", 200),
        ("Text/CSV;Charset=UTF-8;header=present", 200),
        ("text/csv; charset=latin-1", 400),
    ],
)
def test_charset(client: FlaskClient, content_type: str, status: int) -> None:
    """Another charset than UTF-8 is refused, not misread."""
    assert client.post("/score", data="a,b\n1,2\n", content_type=content_type).status_code == status


def test_sequences_are_not_csv(serve: MakeClient) -> None:
    """A type that CSV cannot express is refused by name."""
    assert_refused(
        serve(models.sequence()),
        400,
        "cannot be written as CSV; use JSON",
        data="x\n1\n",
        content_type="text/csv",
    )


@pytest.mark.parametrize("limit", [2000, 3999])
def test_too_many_fields(limit: int) -> None:
    """The fields are limited if each becomes an object; a table of numbers may have more."""
    specs = {"x": TensorSpec("x", "FP32", ("n", 2))}
    body = b"a,b\n" + b"1,2.5\n" * 4000
    assert csv_table.read(body, "", specs, ("a", "b"), limit)[1] == 4000
    with pytest.raises(BodyTooLarge, match=f"at most {limit} commas and line ends"):
        csv_table.read(body + b"1,NaN\n", "", specs, ("a", "b"), limit)


@pytest.mark.parametrize(
    "rest",
    [
        "1,2.5\n-0,3\n",
        "-0,3\n",
        "1,2\r\n3,4.5\r\n\r\n",
        "1,2\r3,4\n",
        "1,2],[3,4\n",
        "1,2\n\n3,4\n",
        "01,2\n",
        "1, 2\n",
        "1,1e400\n",
        "1,\n",
        "1,2,3\n",
        "1,2\n3\n",
        "1,2,3\n4\n",
        "[1],[2]\n",
        "",
        "16777217,9007199254740993\n",
    ],
)
@pytest.mark.parametrize("datatype", ["FP32", "FP64", "INT64"])
def test_large(rest: str, datatype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A table of numbers has the same result whatever its size."""

    def outcome(large_bytes: int) -> object:
        monkeypatch.setattr(fast_json, "LARGE_BYTES", large_bytes)
        specs = {"x": TensorSpec("x", datatype, ("n", 2))}
        try:
            (array,) = csv_table.read(f"b,a\n{rest}".encode(), "", specs, ("a", "b"), 1000)[0].values()
        except InvalidRequest as exc:
            return str(exc)
        return array.dtype, array.shape, array.tobytes()

    assert outcome(0) == outcome(1 << 40)


def test_large_frame() -> None:
    """A large frame is read unchanged."""
    array = np.random.default_rng(0).normal(size=(5000, 13))
    names = [f"column {i}" for i in range(13)]
    text = io.StringIO()
    pd.DataFrame(array, columns=names)[names[::-1]].to_csv(text, index=False)
    specs = {"x": TensorSpec("x", "FP64", ("n", 13))}
    inputs, rows = csv_table.read(text.getvalue().encode(), "", specs, names, 100)
    assert rows == 5000
    assert inputs["x"].tobytes() == array.tobytes()
