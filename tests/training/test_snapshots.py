"""Training on snapshots of production: checked, compared with the champion, and judged."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from model_loader.__main__ import main as model_loader
from model_loader.errors import SnapshotError
from model_loader.package.manifest import parse_manifest
from model_loader.registry.publish import publish
from model_loader.store import open_store
from tests.training.population import STORE, changed, make_snapshot, wines
from training.data import combine, load, split
from training.errors import DataError, TrainingError
from training.evaluation import compare_models
from training.snapshots import read_snapshot
from training.train import SEED, evaluate, main, make_model, train
from training.window import choose_window

CHAMPION = STORE / "wine/2"
ROOT = STORE.parent


def at_random(y: NDArray[np.int64]) -> NDArray[np.int64]:
    """Labels that have nothing to do with the wines."""
    return np.random.default_rng(3).permutation(y)


def read(path: Path) -> Any:
    return json.loads(path.read_bytes())


@pytest.fixture(scope="session")
def drifted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A simulation whose concept has changed, its snapshot and the model trained on it."""
    path = tmp_path_factory.mktemp("drifted")
    make_snapshot(path, rows=500, label=changed)
    train(path / "wine", snapshots=[path / "snapshot"], champion=CHAMPION)
    return path


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A copy of the store, with wine/2 in production, set as MODEL_STORE."""
    shutil.copytree(STORE, tmp_path / "store")
    monkeypatch.setenv("MODEL_STORE", f"file:{tmp_path / 'store'}")
    monkeypatch.chdir(ROOT)
    assert model_loader(["promote", "2", "--stage", "production"]) == 0
    return f"file:{tmp_path / 'store'}"


def gate(output: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    """Run the gate on a package and its evaluation."""
    capsys.readouterr()
    evaluation = output.with_name("wine-report") / "evaluation.json"
    code = model_loader(["gate", "--package", str(output), "--evaluation", str(evaluation)])
    return code, *capsys.readouterr()


def test_better_challenger(drifted: Path, store: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A model that learned from production what has changed is better, and passes."""
    code, out, err = gate(drifted / "wine", capsys)
    assert code == 0, err
    assert "passed: better by" in out
    evaluation = read(drifted / "wine-report/evaluation.json")
    assert (evaluation["champion"], evaluation["rows"]) == ("wine/2", 125)
    slices = {each["slice"] for each in evaluation["comparisons"]}
    assert {None, "grower=class_0", "strength=strong"} <= slices


def test_manifest(drifted: Path, store: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The manifest names the snapshot, and the champion as parent; samples are not production's."""
    published = publish(drifted / "wine", open_store(store))
    # The build of an image compares with the champion on the same rows too.
    capsys.readouterr()
    assert model_loader(["gate", "--version", "3", "--json"]) == 0
    checks = json.loads(capsys.readouterr().out)["checks"]
    assert next(each["baseline"] for each in checks if each["rule"] == "max_drop") < 0.1
    manifest = published.manifest.document
    snapshot = read_snapshot(drifted / "snapshot", "wine").snapshot
    assert manifest["data"]["snapshots"] == [
        {"digest": snapshot.digest, "since": snapshot.since, "until": snapshot.until, "rows": 500}
    ]
    assert manifest["parent"] == 2
    assert manifest["training"]["champion"]["model"] == "wine/2"
    assert manifest["training"]["champion"]["metrics"]["accuracy"] < 0.1
    _, held_out = split(load(), SEED)
    first = read(drifted / "wine/samples.json")[0]["inputs"]["x"]
    assert np.array_equal(np.array(first, np.float32), held_out.x[:1].astype(np.float32))


def test_report(drifted: Path) -> None:
    """The report has every check, for programs and for people."""
    report = read(drifted / "wine-report/data.json")
    assert report["passed"]
    assert {each["check"] for each in report["checks"]} == {
        "missing", "type", "below", "above", "category", "freshness", "repeated", "rows", "leakage",
    }  # fmt: skip
    page = (drifted / "wine-report/data.html").read_text()
    assert "All checks of the data passed" in page
    assert "od280/od315_of_diluted_wines" in page


def test_bad_labels(tmp_path: Path, store: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A challenger that was trained on bad labels is refused, with the reason, and its package stays."""
    snapshot = make_snapshot(tmp_path / "bad", rows=500, label=at_random)
    train(tmp_path / "wine", snapshots=[snapshot], champion=CHAMPION)
    code, _, err = gate(tmp_path / "wine", capsys)
    assert code == 1
    assert "does not pass gate.toml" in err
    assert "; accuracy: 0." in err
    assert "min 0.9" in err
    assert (tmp_path / "wine/model.onnx").is_file()


def test_bad_labels_of_training_rows(tmp_path: Path, store: str, capsys: pytest.CaptureFixture[str]) -> None:
    """If the labels of the newest rows are right, the champion is better on them."""

    def older_at_random(y: NDArray[np.int64]) -> NDArray[np.int64]:
        count = len(y) * 3 // 4
        return np.concatenate([at_random(y[:count]), y[count:]])

    snapshot = make_snapshot(tmp_path / "bad", rows=500, label=older_at_random)
    train(tmp_path / "wine", snapshots=[snapshot], champion=CHAMPION)
    code, _, err = gate(tmp_path / "wine", capsys)
    assert code == 1
    assert "accuracy: worse by" in err


def test_equal_challenger(tmp_path: Path, store: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a change the challenger is about as good, which is not better by more than chance."""
    snapshot = make_snapshot(tmp_path / "same", rows=500)
    train(tmp_path / "wine", snapshots=[snapshot], champion=CHAMPION)
    code, out, _ = gate(tmp_path / "wine", capsys)
    assert code == 1
    assert "FAILED: not better by more than chance" in out


def test_refused_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Values that the schema does not allow stop the training before it; the report says why."""

    def poisoned(number: int, values: dict[str, Any]) -> dict[str, Any]:
        return values | ({"alcohol": -1.0} if number == 7 else {})

    snapshot = make_snapshot(tmp_path / "poisoned", rows=200, inputs=poisoned)
    assert main(["--output", str(tmp_path / "wine"), "--snapshot", str(snapshot)]) == 1
    expected = (
        f"column 'alcohol' of train of snapshot {snapshot}: expected at least 0, got -1.0 in 1 of 150 rows"
    )
    assert expected in capsys.readouterr().err
    assert not (tmp_path / "wine").exists()
    assert not read(tmp_path / "wine-report/data.json")["passed"]
    assert "1 of " in (tmp_path / "wine-report/data.html").read_text()


def test_champion_without_snapshots(capsys: pytest.CaptureFixture[str]) -> None:
    """Without rows of production there is nothing to compare on."""
    with pytest.raises(SystemExit, match="2"):
        main(["--champion", str(CHAMPION)])
    assert "--champion needs --snapshot" in capsys.readouterr().err


def test_tampered_snapshot(drifted: Path, tmp_path: Path) -> None:
    """A snapshot that was changed is not trained on."""
    shutil.copytree(drifted / "snapshot", tmp_path / "snapshot")
    path = tmp_path / "snapshot/test.parquet"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(SnapshotError, match=r"test.parquet was changed"):
        train(tmp_path / "wine", snapshots=[tmp_path / "snapshot"])


def test_snapshot_of_another_model(drifted: Path) -> None:
    """A snapshot of another model is not trained on, also if it has the same columns."""
    with pytest.raises(DataError, match=r"expected a snapshot of beer, got one of wine"):
        read_snapshot(drifted / "snapshot", "beer")


@pytest.mark.parametrize("classes", [[0], [0, 1]])
def test_newest_rows_of_few_classes(classes: list[int]) -> None:
    """A model is evaluated also if production has seen only some of the classes lately."""
    training, held_out = split(load(), SEED)
    chosen = np.isin(held_out.y, classes)
    some = replace(held_out, x=held_out.x[chosen], y=held_out.y[chosen])
    metrics = evaluate(make_model(1.0).fit(training.x, training.y), training, some)
    assert metrics["accuracy"] > 0.9
    assert metrics["log_loss"] < 0.3


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"classes": ["class_1", "class_0", "class_2"]}, "expected the classes class_0, .*, got class_1"),
        ({"features": ["alcohol", "ash"]}, "expected one input of 2 features, and the outputs label"),
        ({"features": ["sugar"]}, "expected the features alcohol, .*, got sugar"),
    ],
    ids=["classes", "inputs", "features"],
)  # fmt: skip
def test_incomparable_champion(fields: dict[str, Any], message: str, tmp_path: Path) -> None:
    """A champion whose labels mean something else, or that takes other inputs, is not compared with."""
    champion = shutil.copytree(CHAMPION, tmp_path / "champion")
    (champion / "manifest.json").write_text(json.dumps(read(CHAMPION / "manifest.json") | fields))
    held_out = split(load(), SEED)[1]
    with pytest.raises(TrainingError, match=message):
        compare_models(champion, CHAMPION, held_out, np.arange(len(held_out.y)))


def test_overlapping_snapshots(drifted: Path, tmp_path: Path) -> None:
    """A row that two snapshots have counts once; held out are the newest ones."""
    sample, _ = split(load(), SEED)
    one = read_snapshot(drifted / "snapshot", "wine")
    twice = combine(sample, [one, one])
    assert len(twice.training.x) == len(sample.x) + 375
    assert len(twice.held_out.x) == 125
    newer = read_snapshot(make_snapshot(tmp_path / "newer", rows=100, seed=2), "wine")
    both = combine(sample, [newer, one])
    assert len(both.training.x) == len(sample.x) + 500 + 75
    assert len(both.held_out.x) == 25


def test_repeated_rows(tmp_path: Path) -> None:
    """Rows with the features of a held-out row are not trained on; too many are refused."""
    first, _ = wines(1, seed=9)
    fixed = dict(zip(load().features, first[0].astype(np.float32).astype(str).astype(float), strict=True))

    def repeated(number: int, values: dict[str, Any]) -> dict[str, Any]:
        return fixed if number % 2 else values

    snapshot = make_snapshot(tmp_path / "repeated", rows=200, inputs=repeated)
    found = combine(split(load(), SEED)[0], [read_snapshot(snapshot, "wine")])
    assert (found.repeated, len(found.training.x)) == (75, 133 + 75)
    everything = make_snapshot(tmp_path / "all", rows=200, inputs=lambda _, values: repeated(1, values))
    with pytest.raises(DataError, match=r"repeated: the snapshots: .* got 150 of 150"):
        train(tmp_path / "wine", snapshots=[everything])


def test_window() -> None:
    """Rows from before a change are left out; without one, none is."""
    x, y = wines(1000, seed=4)
    data = load()
    rows = type(data)(data.features, data.classes, x, y)
    assert len(choose_window(rows, lambda: make_model(1.0)).x) == 1000
    after = type(data)(data.features, data.classes, x, np.where(np.arange(1000) < 600, y, changed(y)))
    assert len(choose_window(after, lambda: make_model(1.0)).x) <= 500


@pytest.mark.parametrize(
    "snapshots",
    ["none", [{"digest": "00"}], [{"digest": "sha256:00", "since": "x", "until": "y", "rows": 1}]],
)
def test_manifest_with_wrong_snapshots(snapshots: Any) -> None:
    """A manifest whose snapshots are no references is refused."""
    document = read(CHAMPION / "manifest.json")
    document["data"]["snapshots"] = snapshots
    with pytest.raises(Exception, match=r"expected .*snapshots"):
        parse_manifest(json.dumps(document).encode())
