"""`evaluation.json`: a new model, the challenger, compared with the champion, on the same rows.

    {"champion": "wine/2", "challenger": "<sha256 of its model.onnx>", "rows": 500,
     "comparisons": [{"metric": "accuracy", "better": "higher", "slice": null, "rows": 500, "champion": 0.71,
                      "challenger": 0.94, "difference": 0.23, "low": 0.19, "high": 0.27}, …]}

`slice` is null, or `<name>=<value>`. `difference` is above 0 if the challenger is better, also where less is
better; `low` and `high` are the ends of its interval of 95 %.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from model_loader.errors import GateError, PackageError
from model_loader.package import encode, is_number, read_json

Better = Literal["higher", "lower"]
NUMBERS = ("champion", "challenger", "difference", "low", "high")


@dataclass(frozen=True)
class Comparison:
    """Two models by a metric on the same rows.

    Attributes:
        champion, challenger: the mean score of each.
        difference: of the means; above 0 if the challenger is better.
        low, high: the ends of its interval of 95 %.
    """

    metric: str
    better: Better
    slice: str | None
    rows: int
    champion: float
    challenger: float
    difference: float
    low: float
    high: float


@dataclass(frozen=True)
class Evaluation:
    """The content of `evaluation.json`.

    Attributes:
        champion: `<name>/<version>` of the published model.
        challenger: sha256 of the new model's `model.onnx`.
        rows: on which both were evaluated.
    """

    champion: str
    challenger: str
    rows: int
    comparisons: tuple[Comparison, ...]

    def overall(self, metric: str) -> Comparison | None:
        """Return the comparison on all rows."""
        return next((each for each in self.comparisons if (each.metric, each.slice) == (metric, None)), None)

    def summary(self, metric: str) -> str:
        """Return the comparison on all rows in a sentence, or say that there is none."""
        found = self.overall(metric)
        if found is None:
            return f"not compared with {self.champion} by {metric}"
        return (
            f"{metric} {found.challenger:.4g}, {found.champion:.4g} of {self.champion}: "
            f"difference {found.difference:+.3g}, 95 % {found.low:+.3g} to {found.high:+.3g}, "
            f"{found.rows} rows"
        )


def write_evaluation(path: Path, evaluation: Evaluation, **more: Any) -> None:
    """Write an evaluation; numbers have six decimals, and `more` is what else the file says."""
    document = asdict(evaluation) | more
    for comparison in document["comparisons"]:
        comparison.update({name: round(comparison[name], 6) for name in NUMBERS})
    path.write_bytes(encode(document))


def read_evaluation(path: Path) -> Evaluation:
    """Read an evaluation.

    Raises:
        GateError: it cannot be read, or is invalid; the message names the field.
    """
    try:
        document = read_json(path)
    except PackageError as exc:
        raise GateError(str(exc)) from exc
    match document:
        case {"champion": str(champion), "challenger": str(challenger), "comparisons": list(comparisons)}:
            rows = _integer(path, document, "rows")
            found = tuple(
                _comparison(f"{path}: comparisons[{n}]", each) for n, each in enumerate(comparisons)
            )
            return Evaluation(champion, challenger, rows, found)
    raise GateError(f"{path}: expected an object with champion, challenger, rows and comparisons")


def _comparison(where: str, value: Any) -> Comparison:
    match value:
        case {
            "metric": str(metric),
            "better": ("higher" | "lower") as better,
            "slice": (str() | None) as part,
        }:
            for name in NUMBERS:
                if not is_number(value.get(name)):
                    raise GateError(
                        f"{where}: expected '{name}' to be a finite number, got {value.get(name)!r:.40}"
                    )
            numbers = (float(value[name]) for name in NUMBERS)
            return Comparison(metric, better, part, _integer(where, value, "rows"), *numbers)
    raise GateError(
        f"{where}: expected metric, better, which is higher or lower, and slice, got {value!r:.80}"
    )


def _integer(where: str | Path, document: Mapping[str, Any], name: str) -> int:
    value = document.get(name)
    if type(value) is not int or value < 0:
        raise GateError(f"{where}: expected '{name}' to be a whole number from 0, got {value!r:.40}")
    return value
