"""Trains a small network that recognizes drawn shapes, and writes two packages with it.

    python -m examples.image.make

`packages/shapes` has the network only, for `transform.py`; `packages/shapes-graph` has the pre- and
post-processing in its graph. The samples of both have the outputs of torch and Pillow.
"""

import argparse
import base64
import io
import json
import math
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.random import Generator
from PIL import Image, ImageDraw

from examples.image.graph import OPSET, wrap
from examples.image.transform import BEST, SIZE, decode, pixels
from model_loader.package import MANIFEST_FILE, MODEL_FILE, SAMPLES_FILE

PACKAGES = Path(__file__).with_name("packages")
CLASSES = ("circle", "cross", "square", "star", "triangle")
SEED = 1
STEPS, BATCH = 800, 32
SIDE = 96  # width and height of a drawing
RTOL, ATOL = 1e-3, 1e-3
# Pillow's resize rounds to integers, the graph's does not.
GRAPH_ATOL = 0.01


def draw(label: str, rng: Generator) -> Image.Image:
    """Draw a shape with a random color, position and angle on a background of another color."""
    background, color = (tuple(int(level) for level in rng.integers(0, 256, 3)) for _ in range(2))
    if sum(abs(a - b) for a, b in zip(background, color, strict=True)) < 150:
        return draw(label, rng)  # too little contrast
    image = Image.new("RGB", (SIDE, SIDE), background)
    radius = float(rng.uniform(0.25, 0.45)) * SIDE
    x, y = rng.uniform(radius, SIDE - radius, 2)
    canvas = ImageDraw.Draw(image)
    if label == "circle":
        canvas.ellipse((x - radius, y - radius, x + radius, y + radius), fill=color)
    else:
        turn = float(rng.uniform(0, 2 * math.pi))
        canvas.polygon(
            [
                (x + r * radius * math.cos(turn + angle), y + r * radius * math.sin(turn + angle))
                for r, angle in corners(label)
            ],
            fill=color,
        )
    return image


def corners(label: str) -> list[tuple[float, float]]:
    """Return the corners of a shape as (distance from the center, angle)."""
    match label:
        case "cross":
            arm = math.atan2(1, 3)
            return [
                corner
                for quarter in (i * math.pi / 2 for i in range(4))
                for corner in ((1, quarter - arm), (1, quarter + arm), (0.45, quarter + math.pi / 4))
            ]
        case "star":
            return [((1, 0.4)[i % 2], i * math.pi / 5) for i in range(10)]
        case "square":
            return [(1, i * math.pi / 2) for i in range(4)]
        case _:
            return [(1, i * math.pi * 2 / 3) for i in range(3)]


def train() -> Any:
    """Train the network on drawings: x, FP32 [batch, 3, SIZE, SIZE] → scores, FP32 [batch, classes]."""
    torch.manual_seed(SEED)
    torch.set_num_threads(1)
    rng = np.random.default_rng(SEED)
    channels = (3, 12, 24, 32)
    layers: list[Any] = []
    for before, after in pairwise(channels):
        layers += [
            torch.nn.Conv2d(before, after, 3, stride=2, padding=1),
            torch.nn.BatchNorm2d(after),
            torch.nn.ReLU(),
        ]
    network = torch.nn.Sequential(
        *layers,
        torch.nn.Conv2d(channels[-1], 48, 3, padding=1),
        torch.nn.ReLU(),
        torch.nn.AdaptiveMaxPool2d(1),
        torch.nn.Flatten(),
        torch.nn.Linear(48, len(CLASSES)),
    )
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=STEPS)
    for _ in range(STEPS):
        x, y = batch(BATCH, rng)
        optimizer.zero_grad()
        loss: Any = torch.nn.functional.cross_entropy(network(x), y)
        loss.backward()
        optimizer.step()
        schedule.step()
    return network.eval()


def batch(size: int, rng: Generator) -> tuple[Any, Any]:
    """Draw a batch: the input of the network, and the classes."""
    y = rng.integers(0, len(CLASSES), size)
    x = np.array([pixels(draw(CLASSES[label], rng)) for label in y])
    return torch.from_numpy(x), torch.from_numpy(y)


def accuracy(network: Any) -> float:
    """Return the accuracy on new drawings."""
    x, y = batch(500, np.random.default_rng(SEED + 1))
    with torch.no_grad():
        return float((network(x).argmax(1) == y).float().mean())


def export(network: Any) -> onnx.ModelProto:
    """Export the network as ONNX."""
    x = torch.zeros(2, 3, SIZE, SIZE)
    program: Any = torch.onnx.export(
        network,
        (x,),
        input_names=["x"],
        output_names=["scores"],
        dynamic_shapes=({0: torch.export.Dim("batch")},),
        opset_version=OPSET,
        dynamo=True,
        verbose=False,
    )
    model: onnx.ModelProto = program.model_proto
    model.ir_version = 10
    del model.metadata_props[:]
    for node in model.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    return model


def sample(network: Any, files: Sequence[bytes], atol: float) -> dict[str, Any]:
    """Return a sample: a request with the outputs of torch and Pillow."""
    texts = [base64.b64encode(file).decode() for file in files]
    x = torch.from_numpy(np.array([pixels(decode(text)) for text in texts]))
    with torch.no_grad():
        probabilities, best = torch.softmax(network(x), dim=1).topk(BEST, dim=1)
    return {
        "inputs": {"image": texts},
        "outputs": {
            "labels": [[CLASSES[index] for index in row] for row in best.tolist()],
            "probabilities": [[round(value, 6) for value in row] for row in probabilities.tolist()],
        },
        "rtol": RTOL,
        "atol": atol,
    }


def write(path: Path, model: onnx.ModelProto, samples: list[Any], **manifest: Any) -> None:
    """Write a package, ready for `publish`."""
    onnx.checker.check_model(model)
    path.mkdir(parents=True, exist_ok=True)
    (path / MODEL_FILE).write_bytes(model.SerializeToString(deterministic=True))
    (path / SAMPLES_FILE).write_text(json.dumps(samples, indent=2) + "\n")
    (path / MANIFEST_FILE).write_text(json.dumps(manifest | {"classes": CLASSES}, indent=2) + "\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    parser = argparse.ArgumentParser("python -m examples.image.make", description="Make the image packages.")
    parser.add_argument("--output", type=Path, default=PACKAGES, help="directory of the packages")
    parser.add_argument(
        "--jpeg", action="store_true", help="let the graph accept JPEG: see examples/README.md"
    )
    args = parser.parse_args(argv)
    network = train()
    metrics = {"accuracy": round(accuracy(network), 4)}
    model = export(network)
    rng = np.random.default_rng(SEED + 2)
    drawings = [draw(label, rng) for label in CLASSES]
    # For blended drawings the network is unsure, so that not all probabilities are 1 and 0.
    drawings += [Image.blend(first, second, 0.5) for first, second in pairwise(drawings)]
    png, jpeg = ([encode(image, file_format) for image in drawings] for file_format in ("PNG", "JPEG"))
    samples = [sample(network, files, ATOL) for files in (png[:1], jpeg[:1], [*png[1:], *jpeg[1:]])]
    write(args.output / "shapes", model, samples, name="shapes", metrics=metrics, transformed=True)
    graph_samples = [sample(network, files, GRAPH_ATOL) for files in (png[:1], png[1:])]
    graph = wrap(model, CLASSES, jpeg=args.jpeg)
    write(args.output / "shapes-graph", graph, graph_samples, name="shapes-graph", metrics=metrics)
    print(f"{args.output}/shapes, {args.output}/shapes-graph: accuracy {metrics['accuracy']:.3f}")
    return 0


def encode(image: Image.Image, file_format: str) -> bytes:
    """Return the image as a file."""
    stream = io.BytesIO()
    image.save(stream, file_format)
    return stream.getvalue()


if __name__ == "__main__":
    sys.exit(main())
