"""Rows of a key are gone from every file, also from those that are compacted or cached."""

import gzip
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model_loader.package.hashed_values import hash_value
from monitor.compact import compact
from monitor.database import open_database, rows
from monitor.errors import MonitorError
from monitor.forget import MIN_KEY_CHARACTERS, forget
from monitor.lake import Lake
from monitor.ship import ship_once
from tests.monitor.conftest import Monitor
from tests.monitor.spool_writer import SegmentWriter, feedback, prediction, write_segment

START = datetime(2026, 1, 2, tzinfo=UTC)
LATER = datetime(2026, 1, 3, tzinfo=UTC)
HASH = "sha256:5e88fä"


def fill(lake: Lake, spool: Path) -> None:
    """Ship predictions `a` to `d`, of which `b` and `c` have the hash, and their labels."""
    captured = [prediction(f"id-{letter}") for letter in "abcd"]
    for index in (1, 2):
        captured[index]["inputs"] = {"customer": HASH, "alcohol": 1.0}
    write_segment(spool, "prediction", captured[:2], start=START)
    write_segment(spool, "prediction", captured[2:], start=LATER)
    write_segment(spool, "feedback", [feedback(f"id-{letter}", 1) for letter in "abcd"], start=LATER)
    assert ship_once(spool, lake.store).failure is None


@pytest.mark.parametrize("compacted", [False, True])
@pytest.mark.parametrize(
    ("key", "left"), [(HASH, "ad"), ("id-a", "bcd"), ("request-id-d", "abc"), ("unknown", "abcd")]
)
def test_forget(lake: Lake, spool: Path, compacted: bool, key: str, left: str) -> None:
    """The rows with a key, and their labels, are in no file any more; all others are."""
    fill(lake, spool)
    if compacted:
        compact(lake, "wine")
    result = forget(lake, ["wine"], [key])
    files = 2 if compacted else 1
    assert result.rows == 2 * files * (4 - len(left))
    assert result.searched == len(lake.store.names("v1/"))
    with open_database(lake, ["wine"]) as connection:
        for view in ("predictions", "feedback"):
            assert rows(connection, f"SELECT id FROM {view} ORDER BY id") == [
                (f"id-{each}",) for each in left
            ]
    for each in lake.local("wine"):
        content = each.path.read_bytes()
        if each.path.suffix == ".gz":
            content = gzip.decompress(content)
            assert key.encode() not in content
    assert forget(lake, ["wine"], [key]).rows == 0


def test_repeated_upload(file_lake: Lake, spool: Path) -> None:
    """A shipper that uploads a segment again does not bring forgotten rows back."""
    path = write_segment(spool, "prediction", [prediction("id-a")], start=START)
    content = path.read_bytes()
    ship_once(spool, file_lake.store)
    assert forget(file_lake, ["wine"], ["id-a"]).rows == 1
    path.write_bytes(content)
    assert ship_once(spool, file_lake.store).failure is None
    with open_database(file_lake, ["wine"]) as connection:
        assert rows(connection, "SELECT count(*) FROM predictions") == [(0,)]


def test_spool(file_lake: Lake, spool: Path) -> None:
    """While an open segment has the key, the command fails instead of claiming that nothing is left."""
    fill(file_lake, spool)
    with SegmentWriter(spool, "feedback") as writer:
        writer.write([feedback("id-b", 1)])
        with pytest.raises(MonitorError, match="in the spool has rows of the key"):
            forget(file_lake, ["wine"], [HASH], spool)
    with open_database(file_lake, ["wine"]) as connection:
        assert rows(connection, "SELECT count(*) FROM predictions") == [(4,)]


def test_command(file_lake: Lake, spool: Path, monitor: Monitor) -> None:
    """The command says what it has deleted, and refuses a key that would match too much."""
    fill(file_lake, spool)
    assert monitor("forget", "--key", "id-a") == (
        0, "deleted 2 rows from 2 files; searched 3 files again: none left\n", ""
    )  # fmt: skip
    assert monitor("forget", "--key", "id")[0] == 1


@pytest.mark.parametrize("compacted", [False, True])
@pytest.mark.parametrize(
    ("key", "left"),
    [
        ("4711234", "bde"),
        ("4711234.0", "bde"),
        ("-12.50", "acde"),
        ("9007199254740993", "abce"),
        ("2026", ""),
    ],
)
def test_number(file_lake: Lake, spool: Path, monitor: Monitor, compacted: bool, key: str, left: str) -> None:
    """A number is found in every form, as an input, in a list of outputs and as a label; others are not."""
    inputs = {"a": 4711234, "b": -12.5, "c": 1.0, "d": 2**53 + 1, "e": 2**53}
    rows_ = [prediction(id_, inputs={"customer": value}) for id_, value in inputs.items()]
    rows_[2]["outputs"] = {"label": 0, "best": [1, 4711234.0]}
    write_segment(spool, "prediction", rows_, start=START)
    write_segment(spool, "feedback", [feedback(id_, 2026, metric="year") for id_ in inputs], start=START)
    ship_once(spool, file_lake.store)
    if compacted:
        compact(file_lake, "wine", remove=True)
    assert monitor("forget", "--key", key)[0] == 0
    with open_database(file_lake, ["wine"]) as connection:
        for view in ("predictions", "feedback"):
            assert rows(connection, f"SELECT id FROM {view} ORDER BY id") == [(each,) for each in left]
    # Nothing says that it was there: it is as unknown as a wrong one.
    assert monitor("forget", "--key", key)[0] == 1


@pytest.mark.parametrize(
    ("value", "key"),
    [
        (np.float32(11.03), "11.03"), (np.float32(11.03), "11.030"), (2**53 + 1, "9007199254740993"),
        (7.0, "7"), (1e16, "10000000000000000"),
    ],
)  # fmt: skip
def test_hashed_number(
    file_lake: Lake, spool: Path, monitor: Monitor, tmp_path: Path, value: Any, key: str
) -> None:
    """The hash of a number is found by the number as people write it, and by no other."""
    (tmp_path / "key").write_bytes(b"0123456789abcdef")
    key_ = key if len(key) >= MIN_KEY_CHARACTERS else f"{key}.000"
    hashes = [hash_value(b"0123456789abcdef", each) for each in (value, 2**53)]
    write_segment(
        spool,
        "prediction",
        [prediction(f"id-{index}", inputs={"account": each}) for index, each in enumerate(hashes)],
        start=START,
    )
    ship_once(spool, file_lake.store)
    out = monitor("forget", "--key", key_, "--hash-key-file", tmp_path / "key")[1]
    assert out.startswith("deleted 1 rows from 1 files")


def test_hashed(file_lake: Lake, spool: Path, monitor: Monitor, tmp_path: Path) -> None:
    """With the service's key, a value is found where only its hash is kept."""
    key = tmp_path / "key"
    key.write_bytes(b"0123456789abcdef")
    row = prediction("id-h") | {"inputs": {"email": hash_value(key.read_bytes(), "ada@example.com")}}
    write_segment(spool, "prediction", [row, prediction("id-i")], start=START)
    ship_once(spool, file_lake.store)
    arguments = ("forget", "--key", "ada@example.com")
    code, out, err = monitor(*arguments)
    assert (code, out) == (1, "")
    assert "no row has the key" in err
    assert "give --hash-key-file" in err
    assert monitor(*arguments, "--hash-key-file", str(key))[1].startswith("deleted 1 rows from 1 files")
    assert monitor(*arguments, "--hash-key-file", str(tmp_path / "none"))[0] == 1
