"""score: objects of a store are scored as files are, whatever dies in between."""

import json
import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from azure.storage.blob import ContainerClient, ContainerSasPermissions, generate_container_sas

from app.commands.score_file import main as score_file
from model_loader.store import open_store
from model_loader.store.blob_store import EMULATOR_ACCOUNT, EMULATOR_KEY
from tests.monitor.conftest import Monitor

ROOT = Path(__file__).parents[2]
WINE = ROOT / "model_store/wine/2"
# Every row is on the disk before the next one, so a run takes longer than it takes to kill it.
COMMIT_EACH = """\
from app.commands.scoring_files import resumable_output
from monitor.__main__ import main
resumable_output.COMMIT_S = 0.0
main()
"""
OPTIONS = ("--model", WINE, "--cache", "work")


def csv_rows(count: int, first: int = 0, *, bad: int | None = None) -> bytes:
    """Return wines as CSV; the row `bad` has a word for a number."""
    features = json.loads((WINE / "manifest.json").read_bytes())["features"]
    samples = json.loads((WINE / "samples.json").read_bytes())
    wines = [each["inputs"]["x"][0] for each in samples]
    lines = [",".join(features)]
    for row in range(first, first + count):
        wine = [round(value * (1 + row % 97 / 500), 4) for value in wines[row % len(wines)]]
        lines.append(",".join(["word", *map(str, wine[1:])] if row == bad else map(str, wine)))
    return "\n".join([*lines, ""]).encode()


def put(url: str, name: str, content: bytes) -> None:
    """Write an object, or replace it."""
    store = open_store(url)
    found = store.read(name)
    store.write(name, content, found and found[1])


def objects(url: str) -> dict[str, bytes]:
    """Return the objects of a store."""
    store = open_store(url)
    return {name: b"".join(store.chunks(name)) for name in store.names("")}


def expected(content: bytes, workspace: Path) -> dict[str, bytes]:
    """Return the files that `score_file` writes for a file of the name rows.csv, by suffix."""
    source, out = workspace / "local/rows.csv", workspace / "local/out/scores.jsonl"
    source.parent.mkdir(exist_ok=True)
    source.write_bytes(content)
    assert score_file([str(source), str(out), "--model", str(WINE), "--restart"]) == 0
    return {path.name: path.read_bytes() for path in out.parent.iterdir()}


def test_object(store_url: str, workspace: Path, monitor: Monitor) -> None:
    """The three objects of a result are what `score_file` writes; a second run finds it done."""
    content = csv_rows(50, bad=7)
    put(f"{store_url}/in", "rows.csv", content)
    command = ("score", f"{store_url}/in/rows.csv", f"{store_url}/out/scores.jsonl", *OPTIONS)
    for _ in range(2):
        code, out, err = monitor(*command)
        assert (code, err) == (0, "")
        assert out.startswith(f"{store_url}/out/scores.jsonl: 50 rows of {store_url}/in/rows.csv by ")
        assert out.endswith(", 1 of them rejected\n")
        assert list((workspace / "work").iterdir()) == []
    assert objects(f"{store_url}/out") == expected(content, workspace)


def test_prefix(store_url: str, workspace: Path, monitor: Monitor) -> None:
    """Each object below a prefix has its result, also in a local directory; others are left alone."""
    for name, first in {"a.csv": 0, "b/c.csv": 10}.items():
        put(f"{store_url}/in", name, csv_rows(10, first))
    put(f"{store_url}/in", "readme.txt", b"text")
    code, _, err = monitor("score", f"{store_url}/in", "scores", *OPTIONS, "--format", "csv")
    assert (code, err) == (0, "")
    found = objects("file:scores")
    assert sorted(found) == ["a.csv", "a.summary.json", "b/c.csv", "b/c.summary.json"]
    assert len(found["b/c.csv"].splitlines()) == 11
    assert list((workspace / "work").iterdir()) == []


def test_existing_result(store_url: str, workspace: Path, monitor: Monitor) -> None:
    """A result of something else is not replaced without --restart, which leaves nothing of it."""
    source, out = f"{store_url}/in/rows.csv", f"{store_url}/out/scores.jsonl"
    put(f"{store_url}/in", "rows.csv", csv_rows(5, bad=1))
    assert monitor("score", source, out, *OPTIONS)[0] == 0
    before, content = objects(f"{store_url}/out"), csv_rows(6)
    put(f"{store_url}/in", "rows.csv", content)
    code, _, err = monitor("score", source, out, *OPTIONS)
    assert code == 1
    assert err.startswith(f"monitor: {store_url}/out/scores.summary.json: expected sha256 ")
    assert objects(f"{store_url}/out") == before
    open_store(f"{store_url}/out").delete("scores.summary.json")
    code, _, err = monitor("score", source, out, *OPTIONS)
    assert (code, f"{out} exists already" in err) == (1, True)
    assert monitor("score", source, out, *OPTIONS, "--restart")[0] == 0
    assert objects(f"{store_url}/out") == expected(content, workspace)


@pytest.mark.parametrize("is_replaced", [False, True])
def test_kill(store_url: str, workspace: Path, monitor: Monitor, is_replaced: bool) -> None:
    """A run that was killed continues; it begins again if its input was replaced meanwhile."""
    content = csv_rows(2000)
    put(f"{store_url}/in", "a.csv", csv_rows(5))
    put(f"{store_url}/in", "rows.csv", content)
    command = ["score", f"{store_url}/in", f"{store_url}/out", *map(str, OPTIONS), "--batch-rows", "1"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen([sys.executable, "-c", COMMIT_EACH, *command], env=environment) as process:
        end, rows = time.monotonic() + 30, 0
        while not rows and time.monotonic() < end:
            time.sleep(0.01)
            for path in (workspace / "work").glob("*/*/out/rows.summary.json"):
                rows = json.loads(path.read_bytes())["rows"]
        process.send_signal(signal.SIGKILL)
        assert process.wait(20) == -signal.SIGKILL
    assert 0 < rows < 2000
    assert sorted(objects(f"{store_url}/out")) == ["a.jsonl", "a.summary.json"]
    if is_replaced:
        content = csv_rows(20, first=1)
        put(f"{store_url}/in", "rows.csv", content)
    else:
        # What is scored already is not scored again, so this line stays.
        (partial,) = (workspace / "work").glob("*/*/out/rows.jsonl.partial")
        text = partial.read_bytes()
        partial.write_bytes(text.replace(b"0", b"9", 1))
        first = partial.read_bytes().splitlines()[0]
    assert monitor(*command)[0] == 0
    found = objects(f"{store_url}/out")["rows.jsonl"].splitlines()
    assert json.loads(objects(f"{store_url}/out")["rows.summary.json"])["rows"] == len(found)
    source, out = workspace / "rows.csv", workspace / "scores.jsonl"
    source.write_bytes(content)
    assert score_file([str(source), str(out), "--model", str(WINE), "--batch-rows", "1"]) == 0
    wanted = out.read_bytes().splitlines()
    assert found == (wanted if is_replaced else [first, *wanted[1:]])
    assert list((workspace / "work").iterdir()) == []


def test_killed_upload(file_lake: object, workspace: Path, monitor: Monitor) -> None:
    """A result of which the outputs were not uploaded is written again, also without the work directory."""
    put("file:in", "rows.csv", csv_rows(5))
    assert monitor("score", "in/rows.csv", "file:out/scores.jsonl", *OPTIONS)[0] == 0
    before = objects("file:out")
    open_store("file:out").delete("scores.jsonl")
    assert monitor("score", "in/rows.csv", "file:out/scores.jsonl", *OPTIONS)[0] == 0
    assert objects("file:out") == before


def test_sas(container: ContainerClient, monitor: Monitor) -> None:
    """A SAS is used and never printed."""
    put(container.url, "rows.csv", csv_rows(5))
    sas = generate_container_sas(
        EMULATOR_ACCOUNT,
        container.container_name,
        account_key=EMULATOR_KEY,
        permission=ContainerSasPermissions(read=True, write=True),
        expiry=datetime.now(UTC) + timedelta(hours=1),
    )
    code, out, err = monitor(
        "score", f"{container.url}/rows.csv?{sas}", f"{container.url}/out.csv?{sas}", *OPTIONS
    )
    assert (code, err, "sig=" in out) == (0, "", False)
    assert "out.csv" in objects(container.url)
    code, out, err = monitor(
        "score", f"{container.url}/no.csv?{sas}", f"{container.url}/o.csv?{sas}", *OPTIONS
    )
    assert (code, out, "sig=" in err) == (1, "", False)
    assert f"{container.url}/no.csv does not exist" in err


@pytest.mark.parametrize(
    ("source", "out", "message"),
    [
        ("in", "in/out", "file:in/out is below file:in"),
        ("in/b", "out", "file:in/b has no object of .csv"),
        ("in", "out", "file:in/a.jsonl and another object would have the same result, a.jsonl"),
        ("in/a.csv", "in/a.csv", "file:in/a.csv would be replaced by its result"),
        ("in/a.csv", "out/scores.txt", "scores.txt: expected a file of .jsonl"),
    ],
)
def test_refusals(workspace: Path, monitor: Monitor, source: str, out: str, message: str) -> None:
    """What cannot be scored is refused before anything is written."""
    put("file:in", "a.csv", csv_rows(1))
    put("file:in", "a.jsonl", b"{}\n")
    code, _, err = monitor("score", source, f"file:{out}", *OPTIONS)
    assert (code, message in err) == (1, True), err
    assert not (workspace / "out").exists()


def test_every_row_rejected(workspace: Path, monitor: Monitor) -> None:
    """An object without a good row is an error."""
    put("file:in", "a.csv", csv_rows(1, bad=0))
    code, _, err = monitor("score", "in", "file:out", *OPTIONS)
    assert (code, "file:in/a.csv: every row was rejected" in err) == (1, True)
    assert sorted(objects("file:out")) == ["a.jsonl", "a.rejected.jsonl", "a.summary.json"]


def test_bad_object(workspace: Path, monitor: Monitor) -> None:
    """An object that does not fit the model is named, and does not keep the others from being scored."""
    put("file:in", "a.csv", b"unknown\n1\n")
    put("file:in", "b.csv", csv_rows(3))
    code, out, err = monitor("score", "in", "file:out", *OPTIONS)
    assert (code, err.startswith("monitor: file:in/a.csv: unknown column 'unknown'")) == (1, True), err
    assert out.startswith("file:out/b.jsonl: 3 rows of file:in/b.csv by wine/2@")
    assert sorted(objects("file:out")) == ["b.jsonl", "b.summary.json"]
    assert list((workspace / "work").iterdir()) == []
