"""Exports of torch modules by torch's own exporter: https://docs.pytorch.org/docs/stable/onnx_export.html."""

import inspect
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from model_loader.drafting.frameworks.exported import (
    CONVERTER_ERRORS,
    Export,
    cannot_convert,
    import_converter,
)
from model_loader.drafting.frameworks.graphs import BATCH
from model_loader.drafting.frameworks.rows import is_table, read_matrix
from model_loader.package import MODEL_FILE


def export(model: torch.nn.Module, x: Any, directory: Path) -> Export:
    """Export a module, in evaluation mode; arguments and exceptions as in `frameworks.export`.

    The graph's inputs have the names of the arguments of `forward`. Only the size of the first dimension, the
    batch, is free in a request. Weights are written as external data.
    """
    import_converter("onnxscript", "onnxscript", model)
    features = tuple(x.columns) if is_table(x) else None
    tensors = _tensors(model, x)
    # The exporter takes dimensions of size 1 for constants.
    example = {name: torch.cat([tensor, tensor])[:2] for name, tensor in tensors.items()}
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            outputs = _named(model(**tensors))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the exporter about its own parts
            torch.onnx.export(
                model,
                f=directory / MODEL_FILE,
                kwargs=example,
                output_names=list(outputs),
                dynamic_shapes={name: {0: torch.export.Dim(BATCH)} for name in example},
                dynamo=True,
                external_data=True,
                verbose=False,
            )
    except CONVERTER_ERRORS as exc:
        raise cannot_convert("torch", model, exc) from exc
    finally:
        model.train(training)
    return Export(
        {name: tensor.numpy() for name, tensor in tensors.items()},
        {name: tensor.numpy() for name, tensor in outputs.items()},
        features,
    )


def _tensors(model: torch.nn.Module, x: Any) -> dict[str, torch.Tensor]:
    """Return the arguments of `forward` by name, with float64 cast to float32."""
    if is_table(x):
        x = read_matrix(x).inputs["x"]
    if not isinstance(x, Mapping):
        x = {next(iter(inspect.signature(model.forward).parameters)): x}
    tensors = {
        name: value.detach().cpu() if isinstance(value, torch.Tensor) else torch.as_tensor(np.array(value))
        for name, value in x.items()
    }
    return {name: value.float() if value.dtype == torch.float64 else value for name, value in tensors.items()}


def _named(outputs: Any) -> dict[str, torch.Tensor]:
    """Name the outputs of a module: by their keys, or `output`, or `output_0` and so on."""
    if isinstance(outputs, torch.Tensor):
        return {"output": outputs}
    if isinstance(outputs, Mapping):
        return {str(name): tensor for name, tensor in outputs.items()}
    return {f"output_{number}": tensor for number, tensor in enumerate(outputs)}
