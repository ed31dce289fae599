"""Segments reach the store whole, once, whatever dies in between."""

import gzip
import json
import os
import random
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from azure.storage.blob import ContainerClient, ContainerSasPermissions, generate_container_sas

from model_loader.errors import StoreError
from model_loader.store import Store, open_store
from model_loader.store.blob_store import EMULATOR_ACCOUNT, EMULATOR_KEY, UPLOAD_BYTES
from monitor.database import open_database, rows
from monitor.lake import Lake
from monitor.layout import parse_object, parse_segment
from monitor.ship import ship_once
from tests.monitor.conftest import Monitor
from tests.monitor.spool_writer import SegmentWriter, prediction, write_segment

START = datetime(2026, 1, 2, 3, 59, 59, 999000, UTC)


def stored_rows(store: Store) -> list[str]:
    """Return the ids of all rows in a store."""
    content = [b"".join(store.chunks(name)) for name in store.names("v1/")]
    return [json.loads(line)["id"] for each in content for line in gzip.decompress(each).splitlines()]


def test_name(spool: Path, lake: Lake) -> None:
    """The name in the store follows from that in the spool, which is then empty."""
    path = write_segment(spool, "prediction", [prediction("a"), prediction("b")], start=START)
    result = ship_once(spool, lake.store)
    assert (result.segments, result.rows, result.torn, result.failure) == (1, 2, 0, None)
    (name,) = lake.store.names("v1/")
    assert name == f"v1/name=wine/kind=prediction/date=2026-01-02/hour=03/{path.name}.gz"
    assert stored_rows(lake.store) == ["a", "b"]
    assert not path.exists()
    assert ship_once(spool, lake.store).is_idle


def test_repeated_upload(spool: Path, lake: Lake) -> None:
    """A segment whose removal was interrupted is uploaded once."""
    path = write_segment(spool, "prediction", [prediction("a")])
    content = path.read_bytes()
    ship_once(spool, lake.store)
    path.write_bytes(content)
    assert ship_once(spool, lake.store).failure is None
    assert stored_rows(lake.store) == ["a"]
    assert not path.exists()


def test_create_only(spool: Path, container: ContainerClient) -> None:
    """An identity that may only create blobs ships segments of any size; a denied one holds up no other."""
    sas = generate_container_sas(
        EMULATOR_ACCOUNT,
        container.container_name,
        account_key=EMULATOR_KEY,
        permission=ContainerSasPermissions(create=True),
        expiry=datetime.now(UTC) + timedelta(hours=1),
    )
    store = open_store(f"{container.url}?{sas}")
    # More than Azure's client uploads at once. Blocks would take the permission to overwrite.
    text = random.Random(1)
    large = [prediction(str(row)) | {"caller": text.randbytes(UPLOAD_BYTES // 4).hex()} for row in range(5)]
    first = write_segment(spool, "prediction", large, start=START)
    content = first.read_bytes()
    assert ship_once(spool, store).failure is None
    (blob,) = container.list_blobs()
    assert blob.size > UPLOAD_BYTES
    first.write_bytes(content)
    second = write_segment(spool, "prediction", [prediction("b")], start=START + timedelta(hours=1))
    ship_once(spool, store)
    assert not second.exists()
    assert len([*container.list_blobs()]) == 2


def test_torn_lines(spool: Path, file_lake: Lake) -> None:
    """A torn line is counted and read past; a whole one without its line break is a row."""
    writer = SegmentWriter(spool, "prediction")
    writer.write([prediction("a")])
    writer.write_bytes(b'{"id": "torn", "ro\n[1]\n\xff\n')
    writer.write_bytes(json.dumps(prediction("b")).encode())
    writer.close()
    assert ship_once(spool, file_lake.store).torn == 3
    assert stored_rows(file_lake.store) == ["a", "b"]


@pytest.mark.parametrize(
    "fields",
    [
        {"id": 5}, {"id": None}, {"row": "x"}, {"row": 2**31}, {"time": "noon"}, {"time": None},
        {"version": "x"},
        {"status": True}, {"inputs": {"x": float("nan")}}, {"inputs": {"x": "\ud800"}},
    ],
    ids=str,
)  # fmt: skip
def test_wrong_fields(spool: Path, file_lake: Lake, fields: dict[str, Any]) -> None:
    """A row that DuckDB cannot read is counted, as it would end every query."""
    wrong = prediction("b") | fields
    write_segment(spool, "prediction", [prediction("a"), wrong])
    assert ship_once(spool, file_lake.store).torn == 1
    with open_database(file_lake, ["wine"]) as connection:
        assert rows(connection, "SELECT id FROM predictions") == [("a",)]


def test_only_torn_lines(spool: Path, file_lake: Lake) -> None:
    """A segment without a row leaves no object."""
    writer = SegmentWriter(spool, "prediction")
    writer.write_bytes(b'{"id": ')
    path = writer.close()
    assert ship_once(spool, file_lake.store).torn == 1
    assert file_lake.store.names("") == []
    assert not path.exists()


def test_open_segment(spool: Path, file_lake: Lake) -> None:
    """An open segment stays as long as its worker lives, and is shipped when that is dead."""
    writer = SegmentWriter(spool, "prediction")
    writer.write([prediction("a")])
    assert ship_once(spool, file_lake.store).is_idle
    assert writer.path.exists()
    writer.abandon()
    assert ship_once(spool, file_lake.store).rows == 1
    assert stored_rows(file_lake.store) == ["a"]


def test_unnamed_file(spool: Path, file_lake: Lake) -> None:
    """A file of a worker that died before it could name its segment is removed, and a new one is not."""
    path = write_segment(spool, "prediction", [prediction("a")])
    new, old = path.with_name(f".new-{path.name}"), path.with_name(f".old-{path.name}")
    new.touch()
    old.touch()
    os.utime(old, (1, 1))
    assert ship_once(spool, file_lake.store).rows == 1
    assert [new] == [each for each in path.parent.iterdir() if each.is_file()]


def test_unreadable_segment(spool: Path, file_lake: Lake) -> None:
    """A segment that cannot be read is a failure, and the others are shipped."""
    first = write_segment(spool, "prediction", [prediction("a")], start=START)
    content = first.read_bytes()
    first.unlink()
    first.symlink_to("/proc/self/mem")
    write_segment(spool, "prediction", [prediction("b")])
    result = ship_once(spool, file_lake.store)
    assert (result.rows, stored_rows(file_lake.store)) == (1, ["b"])
    assert result.failure is not None
    assert first.name in result.failure
    first.unlink()
    first.write_bytes(content)
    assert ship_once(spool, file_lake.store).failure is None


class AwayStore:
    """A store that fails before or after it has written, as a network does."""

    def __init__(self, store: Store, seed: int) -> None:
        self._store, self._random = store, random.Random(seed)
        self.url = store.url

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)

    def write(self, name: str, content: bytes, etag: str | None) -> None:
        """Fail half the time, half of these after the content was written."""
        case = self._random.randrange(4)
        if case == 0:
            raise StoreError("away")
        self._store.write(name, content, etag)
        if case == 1:
            raise StoreError("the response was lost")

    def upload(self, name: str, source: BinaryIO) -> None:
        """Fail: segments are written under a condition."""
        raise AssertionError(name)


def test_store_away(spool: Path, file_lake: Lake) -> None:
    """With a store that fails half the time, every row is there once."""
    ids = [f"id{number}" for number in range(60)]
    for id_ in ids:
        write_segment(spool, "prediction", [prediction(id_)])
    away: Store = AwayStore(file_lake.store, 1)  # type: ignore[assignment]
    failures = 0
    while (result := ship_once(spool, away)).failure:
        failures += 1
    assert failures > 10
    assert result.failure is None
    assert sorted(stored_rows(file_lake.store)) == sorted(ids)


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGKILL])
def test_signals(spool: Path, file_lake: Lake, stop: signal.Signals) -> None:
    """SIGTERM ships what is left, of dead workers too; after SIGKILLs nothing is lost or doubled."""
    command = [sys.executable, "-m", "monitor", "ship", "--spool", str(spool), "--interval", "0.01"]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    writer = SegmentWriter(spool, "prediction")
    writer.write([prediction("last")])
    ids = ["last"]
    generator = random.Random(2)
    for number in range(1 if stop == signal.SIGTERM else 4):
        with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as process:
            ids.append(f"first-{number}")
            first = write_segment(spool, "prediction", [prediction(ids[-1])])
            while first.exists():
                time.sleep(0.01)
            end = time.monotonic() + generator.random()
            while time.monotonic() < end:
                ids.append(f"{number}-{len(ids)}")
                write_segment(spool, "prediction", [prediction(ids[-1])])
                time.sleep(0.002)
            if stop == signal.SIGTERM:
                writer.abandon()
            process.send_signal(stop)
            assert process.wait(20) == (0 if stop == signal.SIGTERM else -signal.SIGKILL)
    if stop == signal.SIGKILL:
        writer.abandon()
        assert ship_once(spool, file_lake.store).failure is None
    assert sorted(stored_rows(file_lake.store)) == sorted(ids)
    assert not [path for path in spool.rglob("*") if path.is_file()]


def test_grace_period(spool: Path, workspace: Path) -> None:
    """A store that stays away does not hold the process longer than the grace period."""
    (workspace / "captured").mkdir()
    (workspace / "captured/v1").write_text("not a directory")
    path = write_segment(spool, "prediction", [prediction("a")])
    command = [sys.executable, "-m", "monitor", "ship", "--interval", "0.1", "--grace", "0.5"]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE) as process:
        assert process.stderr
        assert "failure" in json.loads(process.stderr.readline())
        process.terminate()
        process.communicate(timeout=10)
    assert process.returncode == 1
    assert path.exists()


@pytest.mark.parametrize(
    "path",
    [
        "name=wine/kind=prediction/pod-1-20260102T030405678Z-0.jsonl",
        "name=wine/kind=feedback/a-b.c-w1-20260102T030405678Z-12.jsonl.open",
    ],
)
def test_names(path: str) -> None:
    """Names in the spool and in the store are read back as they were written."""
    segment = parse_segment(path)
    assert segment is not None
    assert segment.path == path
    parsed = parse_object(segment.object_name)
    assert parsed is not None
    assert (parsed.model, parsed.kind, parsed.stem) == (segment.name, segment.kind, segment.stem)


@pytest.mark.parametrize(
    "path", ["name=wine/kind=other/pod-1-20260102T030405678Z-0.jsonl", "name=../kind=feedback/x.jsonl", "a"]
)
def test_other_names(path: str) -> None:
    """Other files in the spool are left alone."""
    assert parse_segment(path) is None


def test_command(spool: Path, store_url: str, monitor: Monitor) -> None:
    """`ship --once` reports what it has done."""
    write_segment(spool, "prediction", [prediction("a")])
    code, out, _ = monitor("ship", "--once")
    assert (code, out) == (0, f"shipped 1 rows of 1 segments into {store_url}; 0 torn lines\n")
