"""A new model compared with the one in production, on the same held-out rows, by ONNX Runtime."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from model_loader.evaluation_file import Better, Comparison, Evaluation
from model_loader.package import MODEL_FILE, Package, hash_file, verify_package
from model_loader.package.ort_errors import ORT_ERRORS
from model_loader.paired_comparison import compare
from training.data import Data, slices
from training.errors import TrainingError

EPSILON = float(np.finfo(np.float32).eps)
# With fewer rows a slice has no interval.
MIN_SLICE_ROWS = 2
METRICS: dict[str, Better] = {"accuracy": "higher", "log_loss": "lower"}


@dataclass(frozen=True)
class Scores:
    """The scores of a model's answers to some rows.

    Attributes:
        accuracy: 1 where the label is right, else 0, shape (rows,).
        log_loss: of the probability of the right class, shape (rows,).
    """

    accuracy: NDArray[np.float64]
    log_loss: NDArray[np.float64]


def compare_models(champion: Path, challenger: Path, held_out: Data, requests: NDArray[Any]) -> Evaluation:
    """Compare two models in total and by slice.

    Args:
        champion: directory of a published package.
        challenger: directory of the new package, with the features of `held_out`.
        requests: what identifies the request of each row, shape (rows,).

    Raises:
        PackageError: the champion is no published package.
        TrainingError: it has features that the data lacks, other classes, or other inputs or outputs.
    """
    package = verify_package(champion)
    check_classes(package, held_out)
    scores = {
        "champion": score(package.model_path, held_out, champion_columns(package, held_out)),
        "challenger": score(challenger / MODEL_FILE, held_out, range(len(held_out.features))),
    }
    comparisons: list[Comparison] = []
    for metric, better in METRICS.items():
        one, other = (getattr(scores[name], metric) for name in ("champion", "challenger"))
        comparisons.append(compare(metric, better, one, other, requests=requests))
        for name, values in slices(held_out).items():
            for value in np.unique(values).tolist():
                chosen = values == value
                if chosen.sum() >= MIN_SLICE_ROWS:
                    parts = one[chosen], other[chosen], f"{name}={value}", requests[chosen]
                    comparisons.append(compare(metric, better, *parts))
    title = f"{package.manifest.name}/{package.manifest.version}"
    sha256 = hash_file(challenger / MODEL_FILE).sha256
    return Evaluation(title, sha256, len(held_out.x), tuple(comparisons))


def describe_champion(evaluation: Evaluation) -> dict[str, Any]:
    """Return what the new manifest says of the champion: its metrics on the rows of the new one's metrics."""
    overall = (each for each in evaluation.comparisons if each.slice is None)
    metrics = {each.metric: round(each.champion, 6) for each in overall}
    return {"model": evaluation.champion, "metrics": metrics}


def champion_columns(package: Package, data: Data) -> list[int]:
    """Return the columns of `data.x` that a published model takes, in its order.

    Raises:
        TrainingError: the data lacks one.
    """
    features = package.manifest.features or data.features
    for name in features:
        if name not in data.features:
            raise TrainingError(f"{package}: expected the features {', '.join(data.features)}, got {name}")
    return [data.features.index(name) for name in features]


def check_classes(package: Package, data: Data) -> None:
    """Check that a label means the same to a published model as in the data.

    Raises:
        TrainingError: the classes that both have differ.
    """
    found = tuple(package.manifest.classes or data.classes)
    common = min(len(found), len(data.classes))
    if found[:common] != data.classes[:common]:
        raise TrainingError(
            f"{package}: expected the classes {', '.join(data.classes)}, got {', '.join(map(str, found))}"
        )


def score(model: Path, data: Data, columns: Sequence[int]) -> Scores:
    """Run a model over rows, and score its answers.

    Args:
        columns: of `data.x` that it takes.

    Raises:
        TrainingError: it has other inputs or outputs.
    """
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    inputs = {session.get_inputs()[0].name: data.x[:, [*columns]].astype(np.float32)}
    try:
        label, probabilities = session.run(["label", "probabilities"], inputs)
    except ORT_ERRORS as exc:
        raise TrainingError(
            f"{model}: expected one input of {len(columns)} features, and the outputs label and "
            f"probabilities: {exc}"
        ) from exc
    # A class that the model does not have has the probability 0.
    known = data.y < probabilities.shape[1]
    true = np.zeros(len(data.y))
    true[known] = probabilities[known, data.y[known]]
    return Scores((label == data.y).astype(np.float64), -np.log(np.clip(true, EPSILON, 1.0)))
