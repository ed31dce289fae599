"""Images, releases and pods of a version. The package `release` is asked as another process."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from model_loader.text_tables import short
from monitor.errors import MonitorError
from monitor.lineage.git import edited_lines
from monitor.lineage.links import Link, Problem, absent, checked, compare, counted, unavailable
from monitor.lineage.published import Published
from monitor.releases import LOG_FILE, ReleaseLine

PRODUCTION, STABLE = "production", "stable"
TIMEOUT_S = 900
# Part of the evidence → what it says.
Evidence = Mapping[str, Mapping[str, Any]]


def ask_evidence(image: str | None) -> Evidence:
    """Ask registry and cluster about an image; see release/evidence.py.

    A part that is unavailable has `error`; so has each, if there is no package `release` here.
    """
    command = [sys.executable, "-m", "release", "evidence", *(["--image", image] if image else [])]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, encoding="utf-8", errors="replace",
            env=dict(os.environ), timeout=TIMEOUT_S, check=True,
        )  # fmt: skip
        found: Evidence = json.loads(done.stdout)
    except subprocess.CalledProcessError as exc:
        error = (exc.stderr.strip().splitlines() or [f"exit code {exc.returncode}"])[-1]
    except (OSError, ValueError, subprocess.TimeoutExpired) as exc:
        error = str(exc)
    else:
        return found
    failed = {"error": f"python -m release evidence: {error}"}
    return {"image": failed, "signature": failed, "pods": failed}


def releases_of(
    releases: Sequence[ReleaseLine], published: Published, image: str | None
) -> list[ReleaseLine]:
    """Return the releases of a version; if an image was asked for, those of the image."""
    if image:
        return [each for each in releases if each.image == image]
    return [each for each in releases if each.model_version == published.path]


def release_link(path: Path, own: Sequence[ReleaseLine], published: Published) -> Link:
    """Return the link of the releases: each line compared with manifest and ledger, and with its own history.

    Args:
        path: of releases.jsonl.
        own: the lines of the version, or of the image.
    """
    if not own:
        return absent("release", f"{path} has no line of {published.path}")
    problems: list[Problem] = []
    for each in own:
        expected = f"{published.path}@{published.digest}"
        problems += compare(f"{path.name}, line {each.number}: model", expected, each.model)
    staged = [entry for entry in published.entries if entry.stage == PRODUCTION]
    if not staged:
        problems.append(
            Problem("ledger.jsonl", f"an entry that puts {published.path} in {PRODUCTION}", "none")
        )
    last = own[-1]
    facts = {"releases": [vars(each) for each in own]}
    text = f"{last.time} by {last.who}, commit {last.commit[:12]}, line {last.number} of {path.name}"
    try:
        edited = edited_lines(path)
    except MonitorError as exc:
        missing = unavailable("release", f"whether {path.name} was edited: {exc}", text, facts)
        return checked("release", text, facts, problems) if problems else missing
    problems += [Problem(path.name, "lines that are only appended", f"one changed in {at}") for at in edited]
    return checked("release", text, facts, problems)


def image_link(
    image: str | None, own: Sequence[ReleaseLine], published: Published, evidence: Evidence
) -> Link:
    """Return the link of the image: its labels compared with the manifest, and with the release's commit."""
    if image is None:
        return absent("image", f"no release of {published.path} names one")
    labels, facts = evidence["image"], {"image": image, **evidence["image"]}
    if "error" in labels:
        return unavailable("image", labels["error"], image, {"image": image})
    problems = compare("label scoring.model", f"{published.path}@{published.digest}", labels["model"])
    if own:
        what = f"label org.opencontainers.image.revision, line {own[-1].number} of {LOG_FILE}"
        problems += compare(what, own[-1].commit, labels["commit"])
    return checked("image", f"{image}, commit {labels['commit'][:12]}", facts, problems)


def image_signature_link(image: str | None, evidence: Evidence) -> Link:
    """Return the link of the image's signature."""
    name = "image signature"
    if image is None:
        return absent(name, "there is no image")
    found = evidence["signature"]
    if "error" in found:
        return unavailable(name, found["error"])
    problems = (
        [Problem("notation", "a signature by images.crt", found["problem"])] if "problem" in found else []
    )
    return checked(name, "signed, by images.crt", {}, problems)


def pods_link(
    image: str | None, releases: Sequence[ReleaseLine], published: Published, evidence: Evidence
) -> Link:
    """Return the link of the pods that run the image; of the last release, all stable pods must.

    Args:
        releases: all lines of the log.
    """
    found = evidence["pods"]
    if "error" in found:
        return unavailable("pods", found["error"])
    digest = (image or "").rpartition("@")[2]
    pods = found["pods"]
    # A model that was not released yet may be in a canary.
    own = [
        pod
        for pod in pods
        if (pod["image"] == digest if digest else pod["model"].startswith(f"{published.path}@"))
    ]
    problems: list[Problem] = []
    for pod in own:
        what = f"pod {pod['name']}: labels of the model"
        problems += compare(what, f"{published.path}@{published.digest}", pod["model"])
    if digest and releases and releases[-1].image_digest == digest:
        stable = [pod for pod in pods if pod["track"] == STABLE]
        for pod in stable:
            problems += compare(f"pod {pod['name']}: image of the last release", digest, pod["image"])
        if not stable:
            problems.append(Problem("pods", f"pods with the image of the last release, {digest}", "none"))
    names = ", ".join(pod["name"] for pod in own)
    if not own and not problems:
        others = ", ".join(sorted({short(pod["image"]) for pod in pods})) or "nothing"
        return absent("pods", f"none runs it; {PRODUCTION} runs {others}")
    return checked("pods", f"{counted(len(own), 'pod')}: {names}", {"pods": own}, problems)
