"""The model of a draft, run by ONNX Runtime over all rows of the data."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model_loader.errors import DraftError
from model_loader.package import ModelIO, TensorSpec, read_model_io
from model_loader.package.custom_ops import register_extensions
from model_loader.package.load_errors import explain

# An array, or of a ZipMap a list with a dict for each row: class → probability.
Output = NDArray[Any] | list[Any]
# Of a run over many rows: enough to be fast, and little enough for the memory of large rows.
CHUNK_ROWS, CHUNK_VALUES = 1024, 2**22


class DraftModel:
    """An ONNX model and its inputs and outputs.

    Attributes:
        path: the ONNX file.
        inputs: those that a request must have.
        outputs: all of them.
    """

    def __init__(self, path: Path) -> None:
        """
        Raises:
            DraftError: ONNX Runtime cannot load the file, or the model has no inputs.
        """
        # ONNX Runtime takes a while to load, and few commands need it.
        import onnxruntime

        from model_loader.package.ort_errors import ORT_ERRORS

        options = onnxruntime.SessionOptions()
        register_extensions(options, path)
        options.log_severity_level = 4
        try:
            self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except ORT_ERRORS as exc:
            is_damaged = "Protobuf parsing failed" in str(exc)
            advice = "; it is damaged or cut off: export or download the model again" if is_damaged else ""
            raise DraftError(f"ONNX Runtime cannot load {path}: {explain(exc)}{advice}") from exc
        self._errors = ORT_ERRORS
        self.path = path
        self.io: ModelIO = read_model_io(self._session)
        self.inputs: tuple[TensorSpec, ...] = tuple(spec for spec in self.io.inputs if not spec.optional)
        self.outputs: tuple[TensorSpec, ...] = self.io.outputs
        if not self.inputs:
            raise DraftError(f"{path} has no inputs: its outputs do not depend on any data")

    @property
    def batch(self) -> int | None:
        """The number of rows that a request must have; None if it is free."""
        sizes = {spec.shape[0] for spec in self.inputs if spec.shape and isinstance(spec.shape[0], int)}
        return sizes.pop() if len(sizes) == 1 else None

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, Output]:
        """Run the model once.

        Raises:
            DraftError: ONNX Runtime fails.
        """
        names = [spec.name for spec in self.outputs]
        try:
            values = self._session.run(names, dict(inputs))
        except self._errors as exc:
            shapes = ", ".join(f"{name} {list(array.shape)}" for name, array in inputs.items())
            raise DraftError(f"ONNX Runtime cannot run {self.path} with {shapes}: {exc}") from exc
        return dict(zip(names, values, strict=True))

    def run_rows(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, Output]:
        """Run the model over all rows, a part at a time, and return the outputs that have a value for each.

        Args:
            inputs: name → array, shape (rows, …).

        Raises:
            DraftError: ONNX Runtime fails, or no output has a value for each row.
        """
        rows = len(next(iter(inputs.values())))
        values = sum(array.size for array in inputs.values()) // rows
        step = self.batch or min(CHUNK_ROWS, max(1, CHUNK_VALUES // max(1, values)))
        parts: dict[str, list[Output]] = {}
        for begin in range(0, rows, step):
            part = {name: array[begin : begin + step] for name, array in inputs.items()}
            count = len(next(iter(part.values())))
            for name, value in self.run(part).items():
                if _rows(value) == count:
                    parts.setdefault(name, []).append(value)
        chunks = -(-rows // step)
        outputs = {name: _joined(values) for name, values in parts.items() if len(values) == chunks}
        if not outputs:
            raise DraftError(f"{self.path}: no output has a value for each row of the data")
        return outputs


def rows_of(value: Output, rows: Sequence[int] | NDArray[np.bool_]) -> Output:
    """Return some rows of an output: by their indices, or those that are true."""
    indices: list[int] = np.flatnonzero(rows).tolist() if isinstance(rows, np.ndarray) else list(rows)
    return [value[row] for row in indices] if isinstance(value, list) else value[indices]


def _rows(value: Any) -> int | None:
    if isinstance(value, list):
        return len(value)
    return len(value) if isinstance(value, np.ndarray) and value.ndim else None


def _joined(values: list[Any]) -> Output:
    if isinstance(values[0], list):
        return [row for part in values for row in part]
    joined: NDArray[Any] = np.concatenate(values)
    return joined
