"""Trains a small classifier of sentences, and writes a package with it.

    python -m examples.text.make

The input is strings, the outputs are label and probabilities: ONNX Runtime's own operators split the text
into words and weight them. The samples have the outputs of scikit-learn.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from onnx import helper
from skl2onnx import convert_sklearn
from skl2onnx.common.data_types import FloatTensorType, StringTensorType
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline

from model_loader.package import MANIFEST_FILE, MODEL_FILE, SAMPLES_FILE

OPSET = {"": 18, "ai.onnx.ml": 3}
# scikit-learn and ONNX Runtime agree on this pattern; with the default one they differ for non-ASCII letters.
WORD = "[a-z0-9]+"
RTOL, ATOL = 1e-4, 1e-5

TEXTS = {
    "billing": [
        "I was charged twice for the same invoice",
        "Please send me the receipt for my last payment",
        "The price on the invoice is not what we agreed on",
        "When will I get my refund?",
        "My credit card was charged after I had cancelled",
        "I would like to pay by bank transfer",
    ],
    "delivery": [
        "My parcel has not arrived yet",
        "The courier left the package at the wrong door",
        "Where is my order? The tracking number shows nothing",
        "Can you ship the order to another address?",
        "The box arrived late and was damaged on the way",
        "How long does delivery to Norway take?",
    ],
    "support": [
        "The app crashes when I open the settings",
        "I cannot log in, my password is not accepted",
        "How do I install the update on my phone?",
        "The screen stays black after I press start",
        "An error appears whenever I save the file",
        "The app does not connect to the printer",
    ],
}
SAMPLE_TEXTS = ["Where is my parcel?", "I was charged twice", "The app shows an error", "Grüße aus Köln", ""]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    parser = argparse.ArgumentParser("python -m examples.text.make", description="Make the text package.")
    parser.add_argument("--output", type=Path, default=Path("build"), help="directory of the package")
    args = parser.parse_args(argv)
    make(args.output / "tickets")
    return 0


def make(path: Path) -> None:
    """Train the classifier and write its package into a directory."""
    texts, labels = zip(*[(text, label) for label, texts in TEXTS.items() for text in texts], strict=True)
    model = Pipeline(
        [
            ("weigh", TfidfVectorizer(token_pattern=WORD)),
            ("classify", LogisticRegression(C=10, max_iter=1000)),
        ]
    )
    model.fit(texts, labels)
    path.mkdir(parents=True, exist_ok=True)
    (path / MODEL_FILE).write_bytes(export(model))
    samples = [sample(model, [text]) for text in SAMPLE_TEXTS] + [sample(model, SAMPLE_TEXTS)]
    (path / SAMPLES_FILE).write_text(json.dumps(samples, indent=2) + "\n")
    manifest = {"name": "tickets", "classes": model.classes_.tolist()}
    (path / MANIFEST_FILE).write_text(json.dumps(manifest, indent=2) + "\n")


def export(model: Pipeline) -> bytes:
    """Export the model as ONNX: text, STRING [batch] → label, STRING [batch], and probabilities."""
    onnx_model = convert_sklearn(
        model,
        name="tickets",
        initial_types=[("text", StringTensorType([None]))],
        final_types=[
            ("label", StringTensorType([None])),
            ("probabilities", FloatTensorType([None, len(model.classes_)])),
        ],
        options={"zipmap": False},
        target_opset=OPSET,
    )
    for tensor in (*onnx_model.graph.input, *onnx_model.graph.output):
        tensor.type.tensor_type.shape.dim[0].dim_param = "batch"
    for node in onnx_model.graph.node:
        if node.op_type == "StringNormalizer":  # the default is en_US, which slim images do not have
            node.attribute.append(helper.make_attribute("locale", "C.UTF-8"))
    exported: bytes = onnx_model.SerializeToString(deterministic=True)
    return exported


def sample(model: Pipeline, texts: Sequence[str]) -> dict[str, object]:
    """Return a sample: a request with the outputs of scikit-learn."""
    probabilities = model.predict_proba(texts).round(7).tolist()
    return {
        "inputs": {"text": list(texts)},
        "outputs": {"label": model.predict(texts).tolist(), "probabilities": probabilities},
        "rtol": RTOL,
        "atol": ATOL,
    }


if __name__ == "__main__":
    sys.exit(main())
