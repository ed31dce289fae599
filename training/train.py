"""Trains the sample model: it predicts from the chemistry of a wine which of three growers made it.

    python -m training.train                     write a model package to build/wine
    python -m training.train --publish           write it and publish it to the store
    python -m training.train --snapshot DIR --champion DIR
                                                 train on what production saw too, and compare

`train` is the whole workflow: load, check, split, fit, evaluate, export, write. The same settings and data
give the same model.
"""

import json
import math
import os
import sys
from argparse import ArgumentTypeError
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from skl2onnx import convert_sklearn
from skl2onnx.common.data_types import FloatTensorType, Int64TensorType
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, f1_score, log_loss
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from model_loader.commands.arguments import DEFAULT_STORE
from model_loader.commands.parser import Parser
from model_loader.drafting.baseline import category_bins, numeric_bins
from model_loader.errors import LoaderError
from model_loader.evaluation_file import write_evaluation
from model_loader.package import BASELINE_FILE, MANIFEST_FILE, MODEL_FILE, SAMPLES_FILE, SCHEMA_FILE
from model_loader.registry.publish import publish
from model_loader.store import open_store
from model_loader.store.secrets import scrub
from model_loader.text_tables import printable
from training.data import Data, describe, load, oldest_first, split
from training.errors import TrainingError
from training.evaluation import compare_models, describe_champion
from training.manifest import describe_certainty, make_manifest, now
from training.prepare import SCHEMA_PATH, checked
from training.report import EVALUATION_FILE, report_directory
from training.snapshots import read_snapshot
from training.window import choose_window

NAME = "wine"
SEED = 1
FOLDS = 5
OPSET = {"": 18, "ai.onnx.ml": 3}  # pinned, so that a newer skl2onnx does not require a newer runtime
RTOL, ATOL = 1e-4, 1e-5
# Single rows first: the first sample is the example in the API's description.
SAMPLE_ROWS = (1, 1, 1, 1, 1, 1, 2, 4)


def train(
    output: Path,
    *,
    c: float = 1.0,
    parent: int | None = None,
    snapshots: Sequence[Path] = (),
    champion: Path | None = None,
) -> dict[str, float]:
    """Train a model and write its package, ready for `publish`, into the directory `output`.

    Reports on the data and, with snapshots, on the champion go into `<output>-report`.

    Args:
        output: created if it does not exist; files of an earlier run are overwritten.
        c: inverse of the regularization strength, above 0.
        parent: the published version that the new one is meant to improve; None: the champion, if any.
        snapshots: directories of `python -m monitor snapshot`, whose rows are added to the sample's.
        champion: directory of the published package to compare with, on the newest rows of the snapshots.

    Returns:
        The metrics; see `evaluate`.

    Raises:
        TrainingError: the data was refused, or the champion cannot be compared.
        LoaderError: a snapshot or the champion is invalid.
    """
    started = now()
    sample_training, sample_held_out = split(load(), SEED)
    found = [read_snapshot(path, NAME) for path in snapshots]
    report = report_directory(output)
    training, held_out = checked(sample_training, sample_held_out, found, report)
    if found:
        training = choose_window(training, lambda: make_model(c))
    model = make_model(c).fit(training.x, training.y)
    metrics = evaluate(model, training, held_out)

    onnx_model = export(model, training)
    # Of the sample, because samples are shown as examples: no row of production.
    samples = make_samples(model, sample_held_out)
    check_samples(onnx_model, samples)

    output.mkdir(parents=True, exist_ok=True)
    (output / MODEL_FILE).write_bytes(onnx_model)
    (output / SCHEMA_FILE).write_bytes(SCHEMA_PATH.read_bytes())
    _write_json(output / SAMPLES_FILE, samples)
    _write_json(output / BASELINE_FILE, make_baseline(model, training))
    data = describe(training, found)
    manifest = make_manifest(
        NAME, SEED, training, data=data, metrics=metrics, started=started, c=c, parent=parent
    ) | describe_certainty(
        held_out, model.predict(held_out.x), model.predict_proba(held_out.x), model.classes_.tolist()
    )
    if champion and found:
        requests = oldest_first(found)[-1].test["id"]
        evaluation = compare_models(champion, output, held_out, requests)
        digests = [each.snapshot.digest for each in found]
        write_evaluation(report / EVALUATION_FILE, evaluation, snapshots=digests)
        manifest["training"]["champion"] = describe_champion(evaluation)
        manifest.setdefault("parent", int(evaluation.champion.rpartition("/")[2]))
    _write_json(output / MANIFEST_FILE, manifest)
    return metrics


def make_model(c: float) -> Pipeline:
    """Return an untrained classifier. A smaller `c` means stronger regularization."""
    # The loss is convex, so with this tolerance every machine finds the same coefficients.
    classifier = LogisticRegression(C=c, tol=1e-8, max_iter=10_000)
    return Pipeline([("scale", StandardScaler()), ("classify", classifier)])


def evaluate(model: Pipeline, training: Data, held_out: Data) -> dict[str, float]:
    """Evaluate the trained `model` on rows that it has not seen.

    Returns:
        Accuracy, macro F1 and log loss (natural logarithm) on `held_out`; `cv_accuracy` is the mean accuracy
        of the same settings in a cross-validation within `training`.
    """
    label = model.predict(held_out.x)
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=SEED)
    metrics = {
        "accuracy": accuracy_score(held_out.y, label),
        "macro_f1": f1_score(held_out.y, label, average="macro"),
        # Production need not have seen every class lately.
        "log_loss": log_loss(held_out.y, model.predict_proba(held_out.x), labels=model.classes_),
        "cv_accuracy": cross_val_score(model, training.x, training.y, cv=folds).mean(),
    }
    return {name: round(float(value), 6) for name, value in metrics.items()}


def export(model: Pipeline, data: Data) -> bytes:
    """Export the trained `model` as ONNX.

    Returns:
        A graph with the input `x`, FP32 [batch, features], and the outputs `label`, INT64 [batch], and
        `probabilities`, FP32 [batch, classes].
    """
    onnx_model = convert_sklearn(
        model,
        name=NAME,
        initial_types=[("x", FloatTensorType([None, len(data.features)]))],
        final_types=[
            ("label", Int64TensorType([None])),
            ("probabilities", FloatTensorType([None, len(data.classes)])),
        ],
        options={"zipmap": False},
        target_opset=OPSET,
    )
    # skl2onnx does not name the first dimension. The same name marks it as the batch everywhere.
    for tensor in (*onnx_model.graph.input, *onnx_model.graph.output):
        tensor.type.tensor_type.shape.dim[0].dim_param = "batch"
    exported: bytes = onnx_model.SerializeToString(deterministic=True)
    return exported


def make_samples(model: Pipeline, held_out: Data) -> list[dict[str, Any]]:
    """Return requests of one or a few held-out rows, with the outputs of scikit-learn."""
    rows = np.split(held_out.x[: sum(SAMPLE_ROWS)], np.cumsum(SAMPLE_ROWS)[:-1])
    return [
        {
            "inputs": {"x": _decimals(x)},
            "outputs": {
                "label": model.predict(x).tolist(),
                "probabilities": _decimals(model.predict_proba(x)),
            },
            "rtol": RTOL,
            "atol": ATOL,
        }
        for x in rows
    ]


def _decimals(array: NDArray[np.float64]) -> Any:
    """Return float32 numbers in their shortest form: 13.2, not 13.199999809265137."""
    return array.astype(np.float32).astype(str).astype(float).tolist()


def check_samples(onnx_model: bytes, samples: Sequence[Mapping[str, Any]]) -> None:
    """Run every sample with ONNX Runtime.

    Raises:
        AssertionError: an output differs from scikit-learn's; the message has both.
    """
    session = onnxruntime.InferenceSession(onnx_model, providers=["CPUExecutionProvider"])
    for number, sample in enumerate(samples):
        inputs = {name: np.array(value, np.float32) for name, value in sample["inputs"].items()}
        arrays = session.run(list(sample["outputs"]), inputs)
        for array, (name, expected) in zip(arrays, sample["outputs"].items(), strict=True):
            title = f"sample {number}: ONNX Runtime's '{name}' differs from scikit-learn's"
            np.testing.assert_allclose(array, expected, sample["rtol"], sample["atol"], err_msg=title)


def make_baseline(model: Pipeline, training: Data) -> dict[str, Any]:
    """Return the distributions of the training data and of the outputs for it; see `baseline.json`."""
    columns = zip(training.features, training.x.astype(np.float32).T, strict=True)
    label = model.predict(training.x)
    probabilities = model.predict_proba(training.x).astype(np.float32)
    return {
        "rows": len(training.x),
        "features": {name: numeric_bins(column) for name, column in columns},
        "outputs": {
            "label": category_bins(label, model.classes_.tolist()),
            "probabilities": numeric_bins(probabilities, ends=(0.0, 1.0)),
        },
    }


def _write_json(path: Path, document: Any) -> None:
    path.write_text(json.dumps(document, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code: 0 done, 1 refused or failed, 2 wrong usage."""
    parser = Parser("python -m training.train", description="Train the sample model.", allow_abbrev=False)
    parser.add_argument("--output", type=Path, default=Path("build/wine"), help="directory of the package")
    parser.add_argument("--c", type=_strength, default=1.0, help="inverse of the regularization strength")
    parser.add_argument("--parent", type=int, help="the published version that this one is meant to improve")
    parser.add_argument(
        "--snapshot",
        type=Path,
        nargs="+",
        action="extend",
        default=[],
        metavar="DIR",
        help="snapshots of production to train on, beside the sample's data",
    )
    parser.add_argument(
        "--champion",
        type=Path,
        metavar="DIR",
        help="the published package to compare with, on the newest rows of the snapshots",
    )
    parser.add_argument("--publish", action="store_true", help="publish the package to the store")
    parser.add_argument("--store", help="URL of the store; default: MODEL_STORE, or file:model_store")
    args = parser.parse_args(argv)
    if args.champion and not args.snapshot:
        parser.error("--champion needs --snapshot, whose newest rows both models are compared on")
    url = args.store or os.environ.get("MODEL_STORE") or DEFAULT_STORE

    try:
        # A wrong URL should be found before the training, not after it.
        store = open_store(url) if args.publish else None
        metrics = train(
            args.output, c=args.c, parent=args.parent, snapshots=args.snapshot, champion=args.champion
        )
        print(f"{args.output}:", ", ".join(f"{name} {value:.4f}" for name, value in metrics.items()))
        if store is not None:
            print(f"published {publish(args.output, store)} to {store.url}")
    except (LoaderError, TrainingError) as exc:
        # A message may have a value of production, which is somebody's text.
        print("training:", printable(scrub(" ".join(str(exc).split()))), file=sys.stderr)
        return 1
    except OSError as exc:
        print(
            f"training: {exc.filename}: {exc.strerror}" if exc.filename else f"training: {exc}",
            file=sys.stderr,
        )
        return 1
    return 0


def _strength(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise ArgumentTypeError(f"expected a number above 0, got {text!r}")
    return value


if __name__ == "__main__":
    sys.exit(main())
