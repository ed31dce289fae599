"""`python -m app.commands.smoke URL…`: whether running services serve the locked model, and serve it right.

Every URL is asked for readiness, for the model's digest, for every sample's answer, for its metrics, and for
the refusal of a bad request; several URLs, the replicas of one service, must also give the same bytes. The
first difference ends it with exit code 1. API_KEY is sent where it is set.
"""

import argparse
import http.client
import json
import os
import re
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import monotonic, sleep
from typing import Any

from app.errors import RequestError, ScoreboxError
from app.model.samples import Sample, matches, read_samples
from app.tensors.from_json import from_json
from model_loader.package import Package, PackageError, TensorSpec, verify_package

TIMEOUT_S = 30
POLL_S = 0.2


class SmokeError(ScoreboxError):
    """A service does not do what it should."""


def smoke(urls: Sequence[str], package: Package, *, wait_s: float = 0) -> int:
    """Checks services against the package that they should serve; gives the number of samples.

    Args:
        urls: of replicas of one service.
        package: what they should serve.
        wait_s: how long they may take to become ready.

    Raises:
        SmokeError: the first difference, with the URL, what was expected and what came.
    """
    samples = read_samples(package)
    deadline = monotonic() + wait_s
    for url in urls:
        _wait_until_ready(url, deadline)
    answers = [_check(url, package, samples) for url in urls]
    for url, answer in zip(urls, answers, strict=True):
        for index, (one, other) in enumerate(zip(answers[0], answer, strict=True)):
            if one != other:
                raise SmokeError(f"sample {index}: {urls[0]} answers {one!r}, {url} answers {other!r}")
    return len(samples)


def _wait_until_ready(url: str, deadline: float) -> None:
    while True:
        try:
            _expect(url, "GET /readyz", 200, _request(url, "/readyz"))
        except SmokeError:
            if monotonic() > deadline:
                raise
            sleep(POLL_S)
        else:
            return


def _check(url: str, package: Package, samples: Sequence[Sample]) -> list[bytes]:
    """Checks one service, and gives its answers."""
    about = _parse(
        url, "GET /model", _expect(url, "GET /model", 200, _request(url, "/model")), "digest", "outputs"
    )
    if about["digest"] != package.digest:
        found = f"{about.get('name')}/{about.get('version')}@{about['digest']}"
        raise SmokeError(f"{url}: expected {package}, got {found}")
    specs = {spec["name"]: TensorSpec(spec["name"], spec["datatype"], None) for spec in about["outputs"]}
    answers = []
    for index, sample in enumerate(samples):
        # The id is echoed in the body: with the same one, replicas must give the same bytes.
        reply = _request(url, "/score", {"inputs": sample.inputs}, {"x-request-id": f"smoke-{index}"})
        answers.append(_expect(url, f"sample {index}", 200, reply))
        _compare(url, index, sample, _parse(url, f"sample {index}", answers[-1], "outputs")["outputs"], specs)
    refusal = _expect(url, "a bad request", 400, _request(url, "/score", {"inputs": {"no such input": 0}}))
    if b"no such input" not in refusal:
        raise SmokeError(f"{url}: expected the refusal to name the input, got {refusal!r}")
    metrics = _expect(url, "GET /metrics", 200, _request(url, "/metrics")).decode()
    if not any(line.startswith("model_info{") and package.digest in line for line in metrics.splitlines()):
        raise SmokeError(f"{url}: /metrics has no model_info with {package.digest}")
    return answers


def _compare(
    url: str, index: int, sample: Sample, outputs: Mapping[str, Any], specs: Mapping[str, TensorSpec]
) -> None:
    for name, expected in sample.outputs.items():
        if name not in specs or name not in outputs:
            raise SmokeError(f"{url}: sample {index}: there is no output '{name}'")
        got, wanted = from_json(outputs[name], specs[name]), from_json(expected, specs[name])
        if not matches(got, wanted, sample.rtol, sample.atol):
            raise SmokeError(
                f"{url}: sample {index}: output '{name}': expected {expected}, got {outputs[name]} "
                f"(rtol {sample.rtol}, atol {sample.atol})"
            )


def _request(
    url: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
) -> tuple[int, bytes]:
    """Status and body of a reply."""
    data = None if body is None else json.dumps(body).encode()
    key = {"x-api-key": os.environ["API_KEY"]} if os.environ.get("API_KEY") else {}
    request = urllib.request.Request(  # noqa: S310 (the command line takes http and https only)
        url + path, data, {"content-type": "application/json", **key, **(headers or {})}
    )
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as reply:  # noqa: S310
            return reply.status, reply.read()
    except urllib.error.HTTPError as exc:
        with exc:
            return exc.code, exc.read()
    except (OSError, http.client.HTTPException) as exc:
        raise SmokeError(f"{url}{path} does not answer: {exc!r}") from exc


def _parse(url: str, what: str, body: bytes, *members: str) -> Any:
    """The JSON object in a reply, which must have these members."""
    try:
        document = json.loads(body)
    except ValueError:
        document = None
    if not isinstance(document, dict) or not document.keys() >= set(members):
        raise SmokeError(f"{url}: {what}: expected JSON with {', '.join(members)}, got {body[:100]!r}")
    return document


def _expect(url: str, what: str, status: int, reply: tuple[int, bytes]) -> bytes:
    if reply[0] != status:
        raise SmokeError(f"{url}: {what}: expected status {status}, got {reply[0]}: {reply[1][:300]!r}")
    return reply[1]


def _locked(model: Path, lock: Path) -> Package:
    """The package that the services should serve, if the lock names it."""
    package = verify_package(model)
    try:
        locked = json.loads(lock.read_bytes())["digest"]
    except (OSError, ValueError, KeyError) as exc:
        raise SmokeError(f"{lock} cannot be read: {exc!r}") from exc
    if locked != package.digest:
        raise SmokeError(f"{lock} says {locked}, {model} is {package}: pull --locked")
    return package


def main(argv: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser("smoke", description="Check running services against model.lock.")
    parser.add_argument("urls", metavar="URL", nargs="+", help="http:// or https://, one for each replica")
    parser.add_argument("--model", type=Path, default=Path("model"), help="the package; default: model")
    parser.add_argument("--lock", type=Path, default=Path("model.lock"), help="default: model.lock")
    parser.add_argument("--wait", type=float, default=0, metavar="SECONDS", help="for readiness; default: 0")
    args = parser.parse_args(argv)
    urls = [url.rstrip("/") for url in args.urls]
    for url in urls:
        if not re.fullmatch(r"https?://[^/\s:]+(:\d+)?(/\S*)?", url.replace("[", "").replace("]", "")):
            parser.error(f"not a URL: {url}")
    try:
        package = _locked(args.model, args.lock)
        count = smoke(urls, package, wait_s=args.wait)
    except (PackageError, RequestError, SmokeError) as exc:
        print(f"smoke: {exc}", file=sys.stderr)
        return 1
    proof = f"{count} samples right" if count else "no samples, so that nothing proves its answers"
    print(f"{' '.join(urls)}: {package}, {proof}, the rest as it should be")
    return 0


if __name__ == "__main__":
    sys.exit(main())
