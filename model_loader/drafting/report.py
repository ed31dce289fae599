"""The report of a draft, for the person who made the model."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model_loader.drafting.predictions import Difference
from model_loader.text_tables import number, short, table


@dataclass(frozen=True, repr=False)
class DraftReport:
    """A draft that was written.

    Attributes:
        files: paths in the directory.
        manifest: the content of its `manifest.json`.
        samples: their number.
        has_expected: whether the samples have outputs of the training framework.
        differences: of ONNX Runtime's outputs from the framework's.
        notes: what was matched, assumed or left out.
        has_target: whether the model was evaluated.
    """

    directory: Path
    files: tuple[str, ...]
    manifest: Mapping[str, Any]
    samples: int
    has_expected: bool
    differences: tuple[Difference, ...]
    notes: tuple[str, ...]
    has_target: bool

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the person should know before publishing, a sentence each."""
        warnings = []
        if not self.has_expected:
            warnings.append(
                "the samples have ONNX Runtime's own outputs, which prove nothing of the export: give those "
                "of the training framework with --predictions, or draft in Python"
            )
        if not self.has_target:
            warnings.append("no metrics: give the truth, with --target or as y")
        warnings += [
            f"output '{difference.output}': {difference}; these rows are not among the samples"
            for difference in self.differences
            if difference.different.any()
        ]
        return tuple(warnings)

    def to_json(self) -> dict[str, Any]:
        """Return the report for machines."""
        return {
            "directory": str(self.directory),
            "files": list(self.files),
            "manifest": dict(self.manifest),
            "samples": self.samples,
            "source": "framework" if self.has_expected else "onnxruntime",
            "differences": {
                item.output: {"rows": int(item.different.sum()), "largest": item.largest}
                for item in self.differences
            },
            "notes": list(self.notes),
            "warnings": list(self.warnings),
        }

    def __str__(self) -> str:
        data = self.manifest["data"]
        fingerprint = short(f"sha256:{data['sha256']}")
        source = "of the training framework" if self.has_expected else "of ONNX Runtime"
        lines = [
            f"{self.directory}: draft of {self.manifest['name']}",
            f"  data      {data['name']}, {data['rows']} rows, {fingerprint}",
            f"  files     {', '.join(self.files)}",
            f"  samples   {self.samples}, with the outputs {source}",
        ]
        listed = {key: names for key in ("features", "classes") if (names := self.manifest.get(key))}
        lines += [f"  {key:9} {len(names)}: {_preview(names)}" for key, names in listed.items()]
        for item in self.differences:
            largest = "equal" if item.largest is None else f"largest difference {item.largest:.3g}"
            count = int(item.different.sum())
            lines.append(f"  {item.output}: {f'{count} rows differ, ' if count else ''}{largest}")
        if metrics := self.manifest.get("metrics"):
            intervals = self.manifest.get("intervals", {})
            rows = [
                (name, number(value), " to ".join(map(number, intervals.get(name, ()))))
                for name, value in metrics.items()
            ]
            lines += ["", table(("METRIC", "VALUE", "INTERVAL OF 95 %"), rows)]
        lines += ["", *(f"note: {note}" for note in self.notes)] if self.notes else []
        lines += ["", *(f"warning: {warning}" for warning in self.warnings)] if self.warnings else []
        commands = (
            f"  python -m model_loader {command} {self.directory}" for command in ("check", "publish")
        )
        return "\n".join([*lines, "", "next:", *commands])

    __repr__ = __str__


def _preview(names: list[Any]) -> str:
    more = f", … ({len(names) - 8} more)" if len(names) > 8 else ""
    return ", ".join(map(str, names[:8])) + more
