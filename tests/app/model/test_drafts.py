"""Drafts are served as version 0, with everything that their packages will have."""

import json
from pathlib import Path

import pytest

from app import create_app
from app.errors import ModelError
from app.settings import Settings
from tests.conftest import MakeClient
from tests.model_loader.drafts import write_draft, write_external


def test_draft(tmp_path: Path, make_client: MakeClient) -> None:
    """A draft has its name, features, metrics and samples, and a digest."""
    draft = write_draft(tmp_path / "draft")
    client = make_client(create_app(Settings(model_path=draft, web_concurrency=1)))
    about = client.get("/model").get_json()
    assert (about["name"], about["version"], about["features"]) == ("tiny", "0", ["a", "b"])
    assert about["manifest"]["files"].keys() == {"model.onnx", "samples.json"}
    response = client.post("/score", json={"instances": [{"a": 1, "b": 2}]})
    assert response.get_json()["predictions"] == [{"y": [3.0, 5.0]}]
    assert response.headers["x-model-digest"] == about["digest"]
    assert '"accuracy"' in client.get("/metrics").get_data(as_text=True)


def test_draft_without_manifest(tmp_path: Path, make_client: MakeClient) -> None:
    """A directory with a model and its external data is enough; the name is the directory's."""
    draft = write_external(tmp_path / "any")
    (draft / "manifest.json").unlink()
    client = make_client(create_app(Settings(model_path=draft, web_concurrency=1)))
    assert client.get("/model").get_json()["name"] == "any"
    assert client.post("/score", json={"inputs": [[0] * 1024]}).status_code == 200


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("samples.json", [{"inputs": {"x": [[1, 2]]}, "outputs": {"y": [[3, 6]]}}], "sample 0: output 'y'"),
        (
            "schema.json",
            {"features": {"c": {"type": "number"}}},
            "feature 'c': the model has no such feature",
        ),
        ("people.csv", "", "people.csv is not part of a package"),
        ("manifest.json", {"name": "tiny", "features": ["a"]}, "expected 2 features"),
    ],
)
def test_invalid_draft(tmp_path: Path, name: str, content: object, message: str) -> None:
    """A draft that could not be published is not served either."""
    draft = write_draft(tmp_path / "draft")
    (draft / name).write_text(json.dumps(content))
    with pytest.raises(ModelError, match=message):
        create_app(Settings(model_path=draft, web_concurrency=1))
