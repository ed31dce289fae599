"""Lineage: from an id in a response to everything, and each link that somebody tampered with."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import pytest

from tests.monitor.conftest import Monitor
from tests.monitor.released import ID, OTHER_ID, ROOT, Released, release_model
from tests.monitor.spool_writer import SegmentWriter, prediction, write_segment
from tests.release.conftest import docker, engine, registry
from tests.release.environment import Image, ReleaseEnvironment

__all__ = ["engine", "registry"]
LINKS = [
    "prediction", "version", "digest", "samples", "data", "snapshots", "training", "person", "signature",
    "image", "image signature", "SBOM", "release", "pods", "labels",
]  # fmt: skip
Trace = Callable[..., tuple[int, dict[str, Any]]]


@pytest.fixture(autouse=True)
def programs(monkeypatch: pytest.MonkeyPatch, workspace: Path) -> Path:
    """PATH has git without the user's configuration; as in the monitor's image, there is no `release`."""
    for name in ("GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM"):
        monkeypatch.setenv(name, os.devnull)
    for name in ("MODEL_VERIFY_KEY", "MODEL_PUBLISHER"):
        monkeypatch.delenv(name, raising=False)
    directory = workspace / "programs"
    directory.mkdir()
    (directory / "git").symlink_to(str(shutil.which("git")))
    monkeypatch.setenv("PATH", str(directory))
    return directory


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Released:
    """A released model, whose registry and cluster are unavailable."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM"):
            patch.setenv(name, os.devnull)
        path = tmp_path_factory.mktemp("released")
        patch.chdir(path)
        return release_model(path)


@pytest.fixture
def released(template: Released, workspace: Path) -> Released:
    """A copy of it in the working directory."""
    shutil.copytree(template.path, workspace, dirs_exist_ok=True)
    return replace(template, path=workspace, key=workspace / "key.pub")


@pytest.fixture
def trace(monitor: Monitor) -> Trace:
    """A function that runs `lineage --json`: exit code and document."""

    def run(query: str, *options: str) -> tuple[int, dict[str, Any]]:
        given = ("--snapshots", "snapshots", "--verify-key", "key.pub")
        code, out, err = monitor("lineage", query, "--json", *given, *options)
        assert all(json.loads(line)["logger"] == "ship" for line in err.splitlines())
        return code, json.loads(out)

    return run


@pytest.fixture
def deploy(
    workspace: Path, engine: None, registry: str, programs: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Released]]:
    """A function that releases a model in a real image, with labels as keywords, and its bill."""
    for name in ("docker", "sh"):
        (programs / name).symlink_to(str(shutil.which(name, path=os.defpath)))
    (programs / "kubectl").write_text(
        f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -m tests.release.kubectl "$@"\n'
    )
    (programs / "kubectl").chmod(0o755)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("KUBECTL_STATE", f"{workspace}/programs/cluster.json")
    tags = []

    def make_image(digest: str, commit: str, labels: dict[str, str]) -> str:
        tags.append(f"{registry}/lineage:{digest[-12:]}")
        values = {
            "scoring.model.name": "tiny", "scoring.model.version": "1", "scoring.model.digest": digest,
            "org.opencontainers.image.revision": commit,
        } | labels  # fmt: skip
        changes = [f"--change=LABEL {key}={value}" for key, value in values.items()]
        docker("import", *changes, "-", tags[-1], stdin=bytes(10240))
        docker("push", "--quiet", tags[-1])
        return docker("image", "inspect", "--format", "{{index .RepoDigests 0}}", tags[-1])

    def deploy(**labels: str) -> Released:
        released = release_model(workspace, lambda digest, commit: make_image(digest, commit, labels))
        run_pods(released, released.image, released.image)
        bill = [sys.executable, "-m", "scripts.sbom", image_id(released), "model_store/tiny/1"]
        libraries = "numpy\t2.0.0\tBSD-3-Clause\n"
        text = subprocess.run(bill, input=libraries, capture_output=True, text=True, check=True).stdout
        (workspace / "sbom.cdx.json").write_text(text)
        return released

    yield deploy
    for tag in tags:
        docker("rmi", "--force", tag)


def image_id(released: Released) -> str:
    """Return the id of the image, as `scripts/sbom` asks for it."""
    return docker("image", "inspect", "--format", "{{.Id}}", released.image)


def run_pods(released: Released, *images: str) -> None:
    """Run a pod of each image."""
    environment = ReleaseEnvironment(released.path / "programs", [])
    pods = [
        environment.pod(f"demo-{number}", Image(image, released.commit, released.model))
        for number, image in enumerate(images)
    ]
    state = {"real": "", "fail": "", "objects": {}, "pods": pods}
    (released.path / "programs/cluster.json").write_text(json.dumps(state))


def test_from_an_id(released: Released, trace: Trace) -> None:
    """From the id in a response to everything; what is unavailable is named, and the exit code is 3."""
    code, document = trace(ID)
    links = document["links"]
    assert [*links] == LINKS
    assert code == 3
    assert document["broken"] == []
    assert document["unavailable"] == ["image", "image signature", "SBOM", "pods"]
    assert [row["row"] for row in links["prediction"]["facts"]["rows"]] == [0, 1]
    assert links["prediction"]["facts"]["rows"][0]["caller"] == "shop"
    assert links["version"]["facts"]["stages"] == ["staging", "production"]
    assert links["digest"]["facts"]["digest"] == released.digest
    assert links["samples"]["facts"]["samples"] == 1
    assert links["snapshots"]["state"] == links["signature"]["state"] == "verified"
    assert links["training"]["facts"]["commit"] == released.commit
    assert links["training"]["state"] == "verified"
    assert "No module named release" in links["pods"]["reason"]
    assert links["person"]["facts"]["publisher"] == links["person"]["facts"]["published_by"]
    assert links["release"]["facts"]["releases"][0]["image"] == released.image
    (label,) = links["labels"]["facts"]["labels"]
    assert (label["row"], label["metric"], label["value"]) == (1, "label", "2")


@pytest.mark.parametrize(
    "query", ["1", "production", "short digest", "image", "image digest", "commit", "request"]
)
def test_from_everything(released: Released, trace: Trace, query: str) -> None:
    """Every name of the release leads to the same links; without an id, to all predictions of the version."""
    texts = {
        "short digest": released.digest[:20], "image": released.image,
        "image digest": released.image.partition("@")[2], "commit": released.commit[:12],
        "request": f"request-{OTHER_ID}",
    }  # fmt: skip
    code, document = trace(texts.get(query, query))
    assert (code, document["model"], document["broken"]) == (3, "tiny/1", [])
    assert [*document["links"]][1:] == LINKS[1:]
    if query == "request":
        assert document["links"]["labels"]["reason"] == "none came yet"
    else:
        assert document["links"]["predictions"]["facts"]["rows"] == 3
        assert document["links"]["labels"]["facts"]["label"]["rows"] == 1


def edit_ledger(released: Released) -> None:
    """Replace the digest of the ledger's publish entry."""
    path = released.path / "model_store/tiny/ledger.jsonl"
    first, *others = path.read_text().splitlines(keepends=True)
    path.write_text("".join([first.replace(released.digest, f"sha256:{5:064x}"), *others]))


def edit_publisher(released: Released) -> None:
    """Replace the name of who published in the ledger."""
    path = released.path / "model_store/tiny/ledger.jsonl"
    first, *others = path.read_text().splitlines(keepends=True)
    path.write_text("".join([re.sub(r'"by": "[^"]+"', '"by": "mallory"', first), *others]))


def edit_manifest(released: Released) -> None:
    """Make the metrics of the published manifest better."""
    released.edit("model_store/tiny/1/manifest.json", '"accuracy": 0.97', '"accuracy": 0.99')


def edit_model(released: Released) -> None:
    """Change one byte of the model in the store."""
    path = released.path / "model_store/tiny/1/model.onnx"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def remove_samples(released: Released) -> None:
    """Remove the samples from the store."""
    (released.path / "model_store/tiny/1/samples.json").unlink()


def edit_row(released: Released) -> None:
    """Change one row of a snapshot."""
    path = released.path / "snapshots/week-4/train.parquet"
    changed = path.with_suffix(".new")
    sql = f"SELECT id, row, a, CASE WHEN id = 'id-3' THEN 1 - label ELSE label END AS label FROM '{path}'"
    duckdb.sql(f"COPY ({sql}) TO '{changed}' (FORMAT parquet)")
    changed.rename(path)


def edit_row_and_snapshot(released: Released) -> None:
    """Change one row of a snapshot, and its hash in snapshot.json."""
    path = released.path / "snapshots/week-4/train.parquet"
    before = hashlib.sha256(path.read_bytes()).hexdigest()
    edit_row(released)
    after = hashlib.sha256(path.read_bytes()).hexdigest()
    released.edit("snapshots/week-4/snapshot.json", before, after)


def remove_snapshot(released: Released) -> None:
    """Remove the snapshot."""
    shutil.rmtree(released.path / "snapshots/week-4")


def edit_release(released: Released) -> None:
    """Name another model in the line of the release."""
    released.edit("releases.jsonl", released.digest, f"sha256:{6:064x}")


def edit_release_and_commit(released: Released) -> None:
    """Replace who released, and commit that."""
    released.edit("releases.jsonl", '"pipeline"', '"mallory"')
    released.commit_all("Correct a name")


def edit_captured(released: Released) -> None:
    """Capture a row that another package answered."""
    row = prediction(ID, 2, name="tiny", version=1, digest=f"sha256:{8:064x}")
    write_segment(released.path / "captured/spool", "prediction", [row], name="tiny")


def replace_signature(released: Released) -> None:
    """Copy the signature of another package."""
    (released.path / "model_store/tiny/1/model.sig").write_text("{}")


def remove_production(released: Released) -> None:
    """Remove the entry that put the version into production."""
    path = released.path / "model_store/tiny/ledger.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(line for line in lines if '"production"' not in line))


@pytest.mark.parametrize(
    ("tamper", "broken", "what"),
    [
        (edit_ledger, ["digest"], r"ledger\.jsonl, publish of \S+"),
        (edit_publisher, ["person"], "ledger.jsonl, publish: by"),
        (edit_manifest, ["digest", "prediction", "release", "signature"], r"ledger\.jsonl, publish of \S+"),
        (edit_model, ["samples", "signature"], "tiny/1/model.onnx"),
        (remove_samples, ["samples", "signature"], "tiny/1/samples.json"),
        (edit_row, ["snapshots"], "week-4/train.parquet"),
        (edit_row_and_snapshot, ["snapshots"], r"snapshots/\*/snapshot\.json"),
        (remove_snapshot, ["snapshots"], r"snapshots/\*/snapshot\.json"),
        (edit_release, ["release"], "releases.jsonl, line 1: model"),
        (edit_release_and_commit, ["release"], "releases.jsonl"),
        (edit_captured, ["prediction"], f"captured row {ID}/2: digest"),
        (replace_signature, ["signature"], "model.sig"),
        (remove_production, ["release"], "ledger.jsonl"),
    ],
)
def test_tampered(
    released: Released,
    trace: Trace,
    tamper: Callable[[Released], None],
    broken: list[str],
    what: str,
) -> None:
    """A link that somebody tampered with is broken and named, with what was expected and found."""
    tamper(released)
    code, document = trace(ID)
    assert (code, document["broken"]) == (1, broken)
    problems = [problem for link in document["links"].values() for problem in link["problems"]]
    assert any(re.fullmatch(what, problem["what"]) for problem in problems), problems
    assert all(problem["expected"] != problem["found"] for problem in problems)


def test_deployed(deploy: Callable[..., Released], trace: Trace) -> None:
    """With a registry and a cluster, image, bill of materials and pods are verified too."""
    released = deploy()
    code, document = trace(ID, "--sbom", "sbom.cdx.json")
    links = document["links"]
    assert document["broken"] == []
    # The signature needs scripts/verify_image, which this clone does not have.
    assert (code, document["unavailable"]) == (3, ["image signature"])
    assert links["image"]["facts"]["model"] == released.model
    assert links["SBOM"]["facts"]["libraries"] == 1
    assert [pod["name"] for pod in links["pods"]["facts"]["pods"]] == ["demo-0", "demo-1"]


def test_other_image(deploy: Callable[..., Released], monitor: Monitor) -> None:
    """An image of another model and commit than the release's is found and named."""
    labels = {"scoring.model.digest": f"sha256:{9:064x}", "org.opencontainers.image.revision": "7" * 40}
    deploy(**labels)
    code, out, _ = monitor("lineage", "production", "--sbom", "sbom.cdx.json")
    assert code == 1
    for message in (
        "label scoring.model: expected tiny/1@.*, found tiny/1@sha256:0{63}9",
        "label org.opencontainers.image.revision, line 1 of releases.jsonl: expected .*, found 7{40}",
    ):
        assert re.search(f"^broken: image: {message}$", out, re.MULTILINE), out


def test_other_pods_and_bill(deploy: Callable[..., Released], trace: Trace) -> None:
    """A pod with another image than the last release, and an edited bill of materials, are found."""
    released = deploy()
    run_pods(released, released.image, f"registry/demo@sha256:{4:064x}")
    manifest = json.loads((released.path / "model_store/tiny/1/manifest.json").read_text())
    released.edit("sbom.cdx.json", manifest["files"]["model.onnx"]["sha256"], "0" * 64)
    code, document = trace("production", "--sbom", "sbom.cdx.json")
    assert (code, document["broken"]) == (1, ["SBOM", "pods"])
    (pod,) = document["links"]["pods"]["problems"]
    assert (pod["what"], pod["found"]) == ("pod demo-1: image of the last release", f"sha256:{4:064x}")
    (file,) = document["links"]["SBOM"]["problems"]
    assert (file["what"], file["found"]) == ("sbom.cdx.json: model.onnx", "0" * 64)


def test_page(released: Released, monitor: Monitor) -> None:
    """The table and the page name the broken link; the page has no script, and nothing of other hosts."""
    edit_row(released)
    code, out, _ = monitor("lineage", ID, "--snapshots", "snapshots", "--html", "lineage.html")
    assert code == 1
    assert re.search(
        r"^broken: snapshots: week-4/train\.parquet: expected sha256 \w{64}, found sha256", out, re.MULTILINE
    )
    assert re.search(r"^unavailable: signature: signed, but there is no key", out, re.MULTILINE)
    assert out.splitlines()[-1] == "tiny/1: 1 of 15 links broken"
    page = (released.path / "lineage.html").read_text()
    assert "week-4/train.parquet" in page
    assert not re.search(r"<script|src=|href=.https?:|@import|url\(", page)


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("nobody", "no captured row has the prediction or request id 'nobody'"),
        ("99", "no captured row has the prediction or request id '99', and nothing else has this name"),
        ("", "expected an id, digest, version, image or release, got an empty text"),
        (
            "sha256:1234567",
            "no model in the store file:model_store and no line of releases.jsonl has the digest",
        ),
        (
            f"127.0.0.1:1/other@sha256:{3:064x}",
            "is in no line of releases.jsonl, and its labels: python -m release evidence: ",
        ),
    ],
)
def test_unknown(released: Released, monitor: Monitor, query: str, message: str) -> None:
    """A name that nothing has is refused."""
    code, out, err = monitor("lineage", query)
    assert (code, out) == (1, "")
    assert message in err


def test_numbers(released: Released, trace: Trace) -> None:
    """A number that no version has is a client's request id, or begins the commit of a release."""
    row = prediction("b" * 32, name="tiny", version=1, digest=released.digest, request_id="20260102")
    write_segment(released.path / "captured/spool", "prediction", [row], name="tiny")
    facts = trace("20260102")[1]["links"]["prediction"]["facts"]
    assert [each["request_id"] for each in facts["rows"]] == ["20260102"]
    log = released.path / "releases.jsonl"
    log.write_text(log.read_text().replace(released.commit, "1234567" + released.commit[7:]))
    assert "1234567" in trace("1234567")[1]["links"]["release"]["text"]


def test_unpublished_version(released: Released, trace: Trace) -> None:
    """A version without a manifest is a broken link, not an error."""
    (released.path / "model_store/tiny/1/manifest.json").unlink()
    code, document = trace("tiny/1")
    assert (code, document["broken"]) == (1, ["version"])
    assert document["links"]["version"]["problems"][0]["what"] == "tiny/1/manifest.json"


def test_snapshot_of_the_last_training(released: Released, monitor: Monitor) -> None:
    """Without `--snapshots`, the snapshot that the last training left in the clone is checked."""
    key = ("--verify-key", "key.pub")
    assert "unavailable: snapshots: give --snapshots DIR" in monitor("lineage", "1", *key)[1]
    (released.path / "build").mkdir()
    (released.path / "snapshots/week-4").rename(released.path / "build/snapshot")
    assert "unavailable: snapshots" not in monitor("lineage", "1", *key)[1]
    assert monitor("lineage", "1", "--snapshots", "build/snapshot", *key)[0] == 3


def test_several_versions(released: Released, monitor: Monitor) -> None:
    """A client's request id of requests to two versions is refused, with the way out."""
    row = prediction("a" * 32, name="tiny", version=2, request_id=f"request-{ID}")
    write_segment(released.path / "captured/spool", "prediction", [row], name="tiny")
    code, _, err = monitor("lineage", f"request-{ID}")
    assert code == 1
    assert f"request-{ID} is the id of requests to tiny/1, tiny/2: give an x-prediction-id" in err


def test_open_segment(released: Released, trace: Trace) -> None:
    """A row is found before its segment is closed and shipped, when there is no other data."""
    shutil.rmtree(released.path / "captured")
    row = prediction(ID, name="tiny", version=1, digest=released.digest)
    with SegmentWriter(released.path / "captured/spool", "prediction", "tiny") as writer:
        writer.write([row])
        assert trace(ID)[1]["links"]["prediction"]["state"] == "verified"


def test_no_capture_store(released: Released, trace: Trace) -> None:
    """Without the captured data, the rest of a version's lineage is followed nevertheless."""
    (released.path / "captured").rename(released.path / "moved")
    (released.path / "captured").write_text("not a directory")
    code, document = trace("production")
    assert (code, document["broken"]) == (3, [])
    assert {"predictions", "labels"} <= set(document["unavailable"])
