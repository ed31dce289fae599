"""score_file: byte for byte what `/score` answers, resumable, bad rows set aside."""

import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import onnxruntime
import orjson
import pytest
from flask.testing import FlaskClient
from onnx import helper

from app import create_app
from app.commands.score_file import main
from app.commands.scoring_files import batch_scorer, resumable_output
from app.errors import InvalidRequest
from app.model.transform import NamedValues, Transform
from app.settings import Settings
from model_loader.package import TensorSpec
from tests import models
from tests.conftest import MakeClient, write_package

ROOT = Path(__file__).parents[3]
WINE = ROOT / "model_store/wine/2"
Row = dict[str, Any]


class Words(Transform):
    """Count letters and words; refuse a text without words, and fail with an IndexError on many."""

    inputs = (TensorSpec("text", "STRING", ("batch",)), TensorSpec("scale", "FP32", ("batch",)))
    outputs = (TensorSpec("letters", "FP32", ("batch",)), TensorSpec("kind", "STRING", ("batch",)))

    def before(self, inputs: NamedValues) -> NamedValues:
        """Return letters times scale, and the number of words."""
        rows = []
        for text, scale in zip(inputs["text"], inputs["scale"], strict=True):
            if not text.strip():
                raise InvalidRequest("input 'text': expected words, got none")
            rows.append([len(text) * scale, [1, 2, 3][len(text.split()) - 1]])
        return {"x": np.array(rows, np.float32)}

    def after(self, outputs: NamedValues) -> NamedValues:
        """Return lists."""
        letters = outputs["y"][:, 0].tolist()
        return {"letters": letters, "kind": ["null" if each > 20 else 'short, "quoted"' for each in letters]}


def wine_rows(count: int) -> list[Row]:
    """Return rows of random wines."""
    features = json.loads((WINE / "manifest.json").read_bytes())["features"]
    samples = json.loads((WINE / "samples.json").read_bytes())
    mean = np.array([each["inputs"]["x"][0] for each in samples]).mean(axis=0)
    drawn = mean * (1 + 0.2 * np.random.default_rng(0).standard_normal((count, len(features))))
    return [dict(zip(features, map(float, row.round(4)), strict=True)) for row in drawn]


def predictions(client: FlaskClient, rows: Sequence[Any]) -> list[bytes]:
    """Return the bytes that `/score` answers for each row of one request."""
    response = client.post("/score", data=orjson.dumps([*rows]), headers={"content-type": "application/json"})
    text = response.get_data()
    assert text.startswith(b'{"predictions":['), text
    found = orjson.loads(text)["predictions"]
    decoder, at, lines = json.JSONDecoder(), len(b'{"predictions":['), []
    body = text.decode()
    for _ in found:
        _, end = decoder.raw_decode(body, at)
        lines.append(body[at:end].encode())
        at = end + 1
    return lines


def write_rows(path: Path, rows: Sequence[Row]) -> Path:
    """Write rows in the format of the path."""
    if path.suffix == ".csv":
        header = ",".join(rows[0])
        lines = [
            ",".join(
                '"' + each.replace('"', '""') + '"' if isinstance(each, str) else repr(each)
                for each in row.values()
            )
            for row in rows
        ]
        path.write_text("\n".join([header, *lines, ""]), encoding="utf-8")
    elif path.suffix == ".jsonl":
        path.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
    else:
        source = write_rows(path.with_suffix(".source.jsonl"), rows)
        duckdb.sql(f"COPY (FROM '{source}') TO '{path}' (FORMAT parquet)")
    return path


def lines(path: Path) -> list[bytes]:
    """Return the lines of a result."""
    return path.read_bytes().splitlines()


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_sample_model(tmp_path: Path, make_client: MakeClient, suffix: str) -> None:
    """Every line is what `/score` answers for the row in a request of these rows, byte for byte."""
    rows = wine_rows(1000)
    source = write_rows(tmp_path / f"in.{suffix}", rows)
    out = tmp_path / "out/scores.jsonl"
    assert main([str(source), str(out), "--model", str(WINE)]) == 0
    client = make_client(create_app(Settings(model_path=WINE, web_concurrency=1)))
    assert lines(out) == predictions(client, rows)
    assert sorted(path.name for path in out.parent.iterdir()) == ["scores.jsonl", "scores.summary.json"]


def test_rows_alone(tmp_path: Path, make_client: MakeClient) -> None:
    """With one row a batch, every line is what `/score` answers for a request of that row alone."""
    rows = wine_rows(100)
    source, out = write_rows(tmp_path / "in.csv", rows), tmp_path / "out.jsonl"
    assert main([str(source), str(out), "--model", str(WINE), "--batch-rows", "1"]) == 0
    client = make_client(create_app(Settings(model_path=WINE, web_concurrency=1)))
    assert lines(out) == [line for row in rows for line in predictions(client, [row])]


@pytest.mark.parametrize("classes", [("cat", 'd"og'), (10, 20, 30)])
def test_zipmap(tmp_path: Path, make_client: MakeClient, classes: tuple[Any, ...]) -> None:
    """Scores by class are as `/score` writes them, infinities included."""
    package = write_package(tmp_path / "m", models.zipmap(*classes))
    generator = np.random.default_rng(0)
    names = [f"column {index}" for index in range(len(classes))]
    rows: list[Row] = [
        dict(zip(names, map(float, each), strict=True)) for each in generator.random((500, len(classes)))
    ]
    rows[7][names[0]] = "Infinity"
    source, out = write_rows(tmp_path / "in.jsonl", rows), tmp_path / "out.jsonl"
    assert main([str(source), str(out), "--model", str(package), "--batch-rows", "70"]) == 0
    client = make_client(create_app(Settings(model_path=package, web_concurrency=1)))
    assert lines(out) == predictions(client, rows)
    assert b'"Infinity"' in lines(out)[7]


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_strings(tmp_path: Path, make_client: MakeClient, suffix: str) -> None:
    """Strings with quotes, commas, line ends and any letters come back as from `/score`."""
    package = write_package(
        tmp_path / "m",
        models.model(
            [helper.make_node("Identity", [name], [f"{name}_out"]) for name in ("first", "second")],
            [models.tensor(name, 8, ["n"]) for name in ("first", "second")],
            [models.tensor(f"{name}_out", 8, ["n"]) for name in ("first", "second")],
        ),
    )
    texts = [
        "plain",
        "a,b",
        'say "no"',
        "two\nlines",
        "crlf\r\nline",
        "ünïcode 🍷",
        "null",
        "NaN",
        "'",
        "1e5",
    ]
    rows = [{"first": text, "second": texts[-index % 7]} for index, text in enumerate(texts * 20)]
    source, out = write_rows(tmp_path / f"in.{suffix}", rows), tmp_path / "out.jsonl"
    assert main([str(source), str(out), "--model", str(package), "--batch-rows", "7"]) == 0
    client = make_client(create_app(Settings(model_path=package, web_concurrency=1)))
    assert lines(out) == predictions(client, rows)


@pytest.fixture
def words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package whose transform takes texts."""
    monkeypatch.setattr(batch_scorer, "OwnTransform", Words)
    return write_package(tmp_path / "words", models.affine())


def test_transform(words: Path, tmp_path: Path, make_client: MakeClient) -> None:
    """The hooks run; rows that they refuse, or fail on, are set aside with what `/score` says of them."""
    rows: list[Row] = [{"text": "word " * (1 + index % 3), "scale": index / 7} for index in range(300)]
    rows[5]["text"], rows[77]["text"], rows[200]["scale"] = " ", "too many words here", "two"
    rows[299] = {"text": "x"}
    source, out = write_rows(tmp_path / "in.jsonl", rows), tmp_path / "out.jsonl"
    assert main([str(source), str(out), "--model", str(words)]) == 0
    client = make_client(create_app(Settings(model_path=words, web_concurrency=1), Words))
    bad = (5, 77, 200, 299)
    found = lines(out)
    assert [number for number, line in enumerate(found) if line == b"null"] == [*bad]
    kept = [number for number in range(300) if number not in bad]
    assert [found[number] for number in kept] == predictions(client, [rows[number] for number in kept])
    rejected = [json.loads(line) for line in lines(tmp_path / "out.rejected.jsonl")]
    assert [each["row"] for each in rejected] == [*bad]
    for each in rejected:
        assert each["error"] == client.post("/score", json=[rows[each["row"]]]).get_json()["error"]
        assert each["input"] == rows[each["row"]]
    assert "IndexError" in rejected[1]["cause"]


def test_bad_lines(tmp_path: Path) -> None:
    """Lines that are not CSV, or not UTF-8, are rejected and no other row is."""
    features = [*wine_rows(1)[0]]
    good = ",".join(["1.5"] * 13).encode()
    body = [good, b"1,2", b'"' + good, good, b"\xff" + good, b"", good.replace(b"1.5", b"one", 1), good]
    source, out = tmp_path / "in.csv", tmp_path / "out.jsonl"
    source.write_bytes(b"\n".join([",".join(features).encode(), *body]))
    assert main([str(source), str(out), "--model", str(WINE)]) == 0
    rejected = [json.loads(line) for line in lines(tmp_path / "out.rejected.jsonl")]
    assert [(each["row"], each["input"]) for each in rejected] == [
        (1, "1,2"), (2, '"' + good.decode()), (4, "\\udcff" + good.decode()), (5, "one" + good.decode()[3:])
    ]  # fmt: skip
    assert [line == b"null" for line in lines(out)] == [False, True, True, False, True, True, False]
    assert rejected[0]["error"] == "row 0: expected 13 fields as in the header line, got 2"
    assert rejected[3]["error"] == "row 0, column 'alcohol': expected FP32, got 'one'"


def test_bad_json(tmp_path: Path, package: Path) -> None:
    """Lines that are JSON only together are each rejected."""
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text('{"a": 1, "b": 2}\n{"a": 1, "b": 2}, {"a": 1, "b": 2}\n{"a": [1\n2], "b": 3}\n[5, 6]\n')
    assert main([str(source), str(out), "--model", str(package)]) == 0
    assert lines(out) == [b'{"y":[3.0,5.0]}', b"null", b"null", b"null", b'{"y":[11.0,13.0]}']


def test_depends_on_batch(tmp_path: Path) -> None:
    """A model whose rows depend on each other scores each alone, whatever the batch."""
    generator = np.random.default_rng(0)
    x = generator.random((4, 8)).astype(np.float32)
    model = models.quantized()
    y = onnxruntime.InferenceSession(model).run(None, {"x": x})[0]
    sample = {"inputs": {"x": x.tolist()}, "outputs": {"y": y.tolist()}}
    package = write_package(tmp_path / "m", model, samples=[sample])
    rows = [{"x": (generator.random(8) * 10 ** (index % 4)).tolist()} for index in range(50)]
    source = write_rows(tmp_path / "in.jsonl", rows)
    for out, batch in (("one", "1"), ("many", "50")):
        assert (
            main(
                [str(source), str(tmp_path / f"{out}.jsonl"), "--model", str(package), "--batch-rows", batch]
            )
            == 0
        )
    assert lines(tmp_path / "one.jsonl") == lines(tmp_path / "many.jsonl")


def test_killed(tmp_path: Path) -> None:
    """Killed at any moment and started again, no row is there twice, and none is missing."""
    rows = wine_rows(3000)
    rows[1234]["alcohol"] = rows[2999]["alcohol"] = "strong"
    source = write_rows(tmp_path / "in.csv", rows)
    whole, out = tmp_path / "whole.jsonl", tmp_path / "parts.jsonl"
    options = ["--model", str(WINE), "--batch-rows", "50"]
    assert main([str(source), str(whole), *options]) == 0
    # Commits often, waits before each batch, and dies where the parent kills it.
    program = (
        "import sys, time; from app.commands import score_file\n"
        "from app.commands.scoring_files import batch_scorer, resumable_output as output\n"
        "output.COMMIT_S = 0.02\n"
        "append = output.ResumableOutput.append\n"
        "output.ResumableOutput.append = lambda *args: (time.sleep(0.005), append(*args))\n"
        "sys.exit(score_file.main())\n"
    )
    command = [sys.executable, "-c", program, str(source), str(out), *options]
    kills = 0
    for wait_s in (0.03, 0.1, None):
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
        summary = tmp_path / "parts.summary.json"
        before = json.loads(summary.read_bytes())["rows"] if summary.exists() else -1
        while wait_s is not None and process.poll() is None:
            if summary.exists() and json.loads(summary.read_bytes())["rows"] > before:
                time.sleep(wait_s)
                os.kill(process.pid, signal.SIGKILL)
                kills += 1
                break
            time.sleep(0.005)
        code = process.wait()
    assert (kills, code) == (2, 0)
    assert out.read_bytes() == whole.read_bytes()
    rejected = [(tmp_path / f"{name}.rejected.jsonl").read_bytes() for name in ("parts", "whole")]
    assert rejected[0] == rejected[1] != b""


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_unfinished_tail(
    tmp_path: Path, package: Path, capsys: pytest.CaptureFixture[str], suffix: str
) -> None:
    """What was written after the last commit is cut off; a file that has lost rows is not continued."""
    rows = [{"a": float(index), "b": 0.0} for index in range(21)]
    source, out = write_rows(tmp_path / f"in.{suffix}", rows), tmp_path / "out.jsonl"
    arguments = [str(source), str(out), "--model", str(package), "--batch-rows", "5"]
    assert main(arguments) == 0
    assert len(lines(out)) == 21
    whole, summary = out.read_bytes(), json.loads((tmp_path / "out.summary.json").read_bytes())
    assert main(arguments) == 0  # nothing to do
    ten = b"".join(whole.splitlines(keepends=True)[:10])
    state = summary | {"rows": 10, "bytes": [len(ten), 0], "complete": False}

    def begin(partial: bytes) -> None:
        out.unlink(missing_ok=True)
        (tmp_path / "out.jsonl.partial").write_bytes(partial)
        (tmp_path / "out.summary.json").write_text(json.dumps(state))

    begin(ten + b'{"y": [9')
    assert main(arguments) == 0
    assert out.read_bytes() == whole
    begin(ten[:-5])
    assert main(arguments) == 1
    assert "is shorter than" in capsys.readouterr().err
    assert main([*arguments, "--restart"]) == 0
    assert out.read_bytes() == whole
    begin(ten)
    write_rows(source, rows[1:])
    assert main(arguments) == 1
    assert "expected sha256" in capsys.readouterr().err


@pytest.mark.parametrize("suffix", ["jsonl", "csv"])
def test_killed_at_the_end(tmp_path: Path, package: Path, suffix: str) -> None:
    """A run that was killed between two renames is finished by the next, whatever the format."""
    source, out = tmp_path / "in.jsonl", tmp_path / f"out.{suffix}"
    write_rows(source, [{"a": 1.0, "b": 2.0}, {"a": "x", "b": 2.0}])
    arguments = [str(source), str(out), "--model", str(package)]
    assert main(arguments) == 0
    content, rejected = out.read_bytes(), (tmp_path / "out.rejected.jsonl").read_bytes()
    out.unlink()
    assert main(arguments) == 1  # it is gone
    (tmp_path / f"{out.name}.partial").write_bytes(b'{"y":[3.0,5.0]}\nnull\n')
    assert main(arguments) == 0
    assert (out.read_bytes(), (tmp_path / "out.rejected.jsonl").read_bytes()) == (content, rejected)
    assert len([*tmp_path.glob("out.*")]) == 3


def test_killed_restart(tmp_path: Path, package: Path) -> None:
    """A --restart that was killed before it wrote anything leaves the earlier result."""
    source, out = write_rows(tmp_path / "in.jsonl", [{"a": 1, "b": 2}]), tmp_path / "out.jsonl"
    assert main([str(source), str(out), "--model", str(package)]) == 0
    before = out.read_bytes()
    out.with_name("out.jsonl.partial").touch()
    assert main([str(source), str(out), "--model", str(package)]) == 0
    assert out.read_bytes() == before


def test_two_writers(tmp_path: Path, package: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two processes do not write one result."""
    source, out = write_rows(tmp_path / "in.jsonl", [{"a": 1, "b": 2}]), tmp_path / "out.jsonl"
    first = resumable_output.ResumableOutput(out, {})
    assert main([str(source), str(out), "--model", str(package), "--restart"]) == 1
    assert "is being written by another process" in capsys.readouterr().err
    first.close()


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_output_formats(tmp_path: Path, suffix: str) -> None:
    """CSV and Parquet have the same values, and nothing for a rejected row."""
    rows: list[Row] = [*wine_rows(50)]
    rows[3]["alcohol"] = "strong"
    source = write_rows(tmp_path / "in.jsonl", rows)
    for out in ("out.jsonl", f"other.{suffix}"):
        assert main([str(source), str(tmp_path / out), "--model", str(WINE)]) == 0
    expected = [
        json.loads(line) or {"label": None, "probabilities": None} for line in lines(tmp_path / "out.jsonl")
    ]
    read = (
        f"read_csv('{tmp_path}/other.csv', types = {{'probabilities': 'JSON'}})"
        if suffix == "csv"
        else f"'{tmp_path}/other.parquet'"
    )
    found = duckdb.connect().execute(f"SELECT label, probabilities::FLOAT[] FROM {read}").fetchall()
    assert [row[0] for row in found] == [each["label"] for each in expected]
    for row, each in zip(found, expected, strict=True):
        assert row[1] == (
            None if each["probabilities"] is None else pytest.approx(each["probabilities"], rel=1e-6)
        )


def test_directory(tmp_path: Path, package: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every file of a directory is scored, into one of its own; two with one name are refused."""
    files = tmp_path / "in"
    files.mkdir()
    for number, suffix in enumerate(("csv", "jsonl", "parquet")):
        write_rows(files / f"{suffix}.{suffix}", [{"a": float(number), "b": 1.0}] * 2)
    for leftover in files.glob("*.source.jsonl"):
        leftover.unlink()
    (files / "readme.txt").write_text("no rows")
    assert main([str(files), str(tmp_path / "out"), "--model", str(package)]) == 0
    assert {path.name: len(lines(path)) for path in (tmp_path / "out").glob("*.jsonl")} == {
        "csv.jsonl": 2, "jsonl.jsonl": 2, "parquet.jsonl": 2
    }  # fmt: skip
    write_rows(files / "csv.jsonl", [{"a": 1, "b": 1}])
    assert main([str(files), str(tmp_path / "more"), "--model", str(package)]) == 1
    assert "would have the same result" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("in.csv", "a\n1\n", "missing column 'b'; expected the columns 'a', 'b'"),
        ("in.csv", "a,b,c\n1,2,3\n", "unknown column 'c'"),
        ("in.csv", "", "the body is empty"),
        ("in.txt", "", "expected a file of .csv, .jsonl, .ndjson, .parquet"),
        ("in.parquet", "no", "Invalid Input Error"),
        ("in.jsonl", "1\n2\n", "every row was rejected, see out.rejected.jsonl"),
    ],
)
def test_refused(
    tmp_path: Path, package: Path, capsys: pytest.CaptureFixture[str], name: str, content: str, message: str
) -> None:
    """A file that does not fit the model is refused as a whole."""
    (tmp_path / name).write_text(content)
    assert main([str(tmp_path / name), str(tmp_path / "out.jsonl"), "--model", str(package)]) == 1
    assert message in capsys.readouterr().err


def test_existing(tmp_path: Path, package: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file that is no result of ours is not overwritten."""
    source, out = write_rows(tmp_path / "in.jsonl", [{"a": 1, "b": 2}]), tmp_path / "out.jsonl"
    out.write_text("mine")
    assert main([str(source), str(out), "--model", str(package)]) == 1
    assert "exists already" in capsys.readouterr().err
    assert out.read_text() == "mine"


def test_without_duckdb(
    tmp_path: Path, package: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without DuckDB, as in the service's image, Parquet is refused with what to do."""
    monkeypatch.setitem(sys.modules, "duckdb", None)
    assert main([str(tmp_path / "in.parquet"), str(tmp_path / "out.jsonl"), "--model", str(package)]) == 1
    assert "install model_loader/requirements.txt" in capsys.readouterr().err


def test_progress(tmp_path: Path, package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal a line says how far a file is, and is removed at the end; elsewhere there is none."""
    source = write_rows(tmp_path / "in.jsonl", [{"a": 1.0, "b": 2.0}] * 4)
    monkeypatch.setattr("app.commands.scoring_files.progress.INTERVAL_S", 0.0)
    for is_terminal in (True, False):
        terminal = io.StringIO()
        monkeypatch.setattr(terminal, "isatty", lambda is_terminal=is_terminal: is_terminal)
        monkeypatch.setattr(sys, "stderr", terminal)
        out = str(tmp_path / f"{is_terminal}.jsonl")
        assert main([str(source), out, "--model", str(package), "--batch-rows", "2"]) == 0
        shown = terminal.getvalue().split("\r")
        assert any("[############            ]  50%  2 rows" in line for line in shown) == is_terminal
        assert shown[-1].startswith("\x1b[K") == is_terminal


def test_input_is_kept(tmp_path: Path, package: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No result replaces the rows, also not with --restart: neither a file nor one in their directory."""
    rejected = tmp_path / "in.rejected.jsonl"
    for source, out in (("in.csv", "in.csv"), ("in.rejected.jsonl", "in.jsonl"), (".", ".")):
        (tmp_path / "in.csv").write_text("a,b\n1,2\n")
        rejected.write_text('{"a": 1, "b": 2}\n')
        paths = [str(tmp_path / each) for each in (source, out)]
        assert main([*paths, "--restart", "--format", "csv", "--model", str(package)]) == 1
        assert re.search("would be overwritten|expected another directory", capsys.readouterr().err)
        assert {path.name for path in tmp_path.glob("in.*")} == {"in.csv", "in.rejected.jsonl"}
    assert (tmp_path / "in.csv").read_text() == "a,b\n1,2\n"


def test_directory_with_bad_files(tmp_path: Path, package: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Files that cannot be scored do not keep the others from it; the exit code is 1."""
    files, out = tmp_path / "in", tmp_path / "out"
    files.mkdir()
    texts = {"a": "no", "b": "a,b\nx,1\n", "c": "a,b\n1,2\n"}
    for name, text in texts.items():
        (files / f"{name}.csv").write_text(text)
    assert main([str(files), str(out), "--model", str(package)]) == 1
    found = capsys.readouterr().err
    assert "a.csv: " in found
    assert "b.csv: every row was rejected" in found
    assert len(lines(out / "c.jsonl")) == 1


def test_directory_with_equal_names(
    tmp_path: Path, package: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two files with one result are refused, also with another one between them."""
    for name in ("a.csv", "a.d.csv", "a.jsonl"):
        (tmp_path / name).write_text("a,b\n1,2\n")
    assert main([str(tmp_path), str(tmp_path / "out"), "--model", str(package)]) == 1
    assert "would have the same result" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_parquet_in_partitions(tmp_path: Path, package: Path) -> None:
    """A directory such as date=2026-01-01 is no column, neither of the rows nor of the outputs."""
    directory = tmp_path / "date=2026-01-01"
    directory.mkdir()
    source = write_rows(tmp_path / "in.parquet", [{"a": 1.0, "b": 2.0}] * 3).rename(directory / "in.parquet")
    out = directory / "out.parquet"
    assert main([str(source), str(out), "--model", str(package)]) == 0
    sql = "SELECT * FROM read_parquet(?, hive_partitioning = false)"
    assert [each[0] for each in duckdb.execute(sql, [str(out)]).description or ()] == ["y"]


def test_parquet_map(tmp_path: Path, package: Path) -> None:
    """A map with keys that are no strings is rejected with its row."""
    source, out = tmp_path / "in.parquet", tmp_path / "out.jsonl"
    rows = "SELECT map([1], [2]) AS a, 1.0::FLOAT AS b FROM range(2)"
    duckdb.execute(f"COPY ({rows}) TO '{source}' (FORMAT parquet)")
    assert main([str(source), str(out), "--model", str(package)]) == 1
    rejected = [orjson.loads(line) for line in lines(tmp_path / "out.rejected.jsonl")]
    assert [each["row"] for each in rejected] == [0, 1]
    assert "{1: 2}" in rejected[0]["input"]


@pytest.mark.parametrize("content", ["[]", "{}", '{"rows": 1}'])
def test_other_summary(
    tmp_path: Path, package: Path, capsys: pytest.CaptureFixture[str], content: str
) -> None:
    """A file that has the name of the summary, and is none, is refused."""
    source = write_rows(tmp_path / "in.jsonl", [{"a": 1, "b": 2}])
    (tmp_path / "out.summary.json").write_text(content)
    assert main([str(source), str(tmp_path / "out.jsonl"), "--model", str(package)]) == 1
    assert "out.summary.json is not of a result" in capsys.readouterr().err
