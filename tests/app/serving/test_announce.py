"""What a service logs when it starts."""

import logging

import pytest
from flask import Flask
from onnx import TensorProto

from app.serving.lifecycle import announce
from tests import models
from tests.conftest import MakeClient


def test_announce(app: Flask, caplog: pytest.LogCaptureFixture) -> None:
    """The model, the number of workers and threads, and a command that scores."""
    caplog.set_level(logging.INFO, "service")
    announce(app.extensions["service"], port=8080)
    missing, batches, line = caplog.messages
    assert "has no baseline.json: drift is not counted" in missing
    assert batches.startswith("batches: up to ")
    assert line.startswith("serving tiny/3@sha256:")
    assert "with 1 workers of 1 threads" in line
    assert """-d '{"instances":[{"a":1,"b":2}]}'""" in line


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (models.total(), """-d '{"inputs":{"a":[0],"b":[0]}}'"""),
        (models.identity(TensorProto.STRING), """-d '{"inputs":{"x":[""]}}'"""),
        (models.identity(models.FLOAT, ("n", 3, 224, 224)), "curl -s localhost:8080/model"),
    ],
)
def test_without_samples(
    serve: MakeClient, model: bytes, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Without samples the command is made from the model's inputs, and the log says what is missing."""
    caplog.set_level(logging.INFO, "service")
    announce(serve(model).application.extensions["service"], port=8080)
    *missing, line = caplog.messages
    assert "has no samples.json" in missing[0]
    assert "a single file has no version" in missing[1]
    assert missing[2].startswith("batches: ")
    assert line.endswith(words)
