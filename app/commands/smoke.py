"""`python -m app.commands.smoke URL…`: check that running services serve the locked model correctly.

Each URL must be ready, have the package's digest, reproduce the samples, reject an invalid request and have
the model in its metrics. Several URLs are replicas of one service, and must return identical bytes. The first
difference ends the command with exit code 1. If API_KEY is set, it is sent.
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

from app.errors import RequestError, ServiceError
from app.model.samples import matches, read_samples
from app.tensors.from_json import from_json
from model_loader.package import Package, PackageError, TensorSpec, verify_package
from model_loader.package.samples import Sample

TIMEOUT_S = 30
POLL_S = 0.2


class SmokeError(ServiceError):
    """A service does not behave as expected."""


def smoke(urls: Sequence[str], package: Package, *, wait_s: float = 0) -> int:
    """Check services against the package that they should serve.

    Args:
        urls: of replicas of one service.
        package: the expected package.
        wait_s: time for them to become ready, in seconds.

    Returns:
        the number of samples.

    Raises:
        SmokeError: a service does not behave as expected, or replicas differ.
    """
    samples = read_samples(package)
    deadline = monotonic() + wait_s
    for url in urls:
        _wait_until_ready(url, deadline)
    responses = [_check(url, package, samples) for url in urls]
    for url, others in zip(urls, responses, strict=True):
        for index, (first, other) in enumerate(zip(responses[0], others, strict=True)):
            if first != other:
                raise SmokeError(f"sample {index}: {urls[0]} returned {first!r}, {url} returned {other!r}")
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
    """Check one service, and return the bodies of its responses to the samples."""
    about = _parse(
        url, "GET /model", _expect(url, "GET /model", 200, _request(url, "/model")), "digest", "outputs"
    )
    if about["digest"] != package.digest:
        got = f"{about.get('name')}/{about.get('version')}@{about['digest']}"
        raise SmokeError(f"{url}: expected {package}, got {got}")
    specs = {spec["name"]: TensorSpec(spec["name"], spec["datatype"], None) for spec in about["outputs"]}
    responses = []
    for index, sample in enumerate(samples):
        # The body contains the id, so replicas return identical bytes only for the same id.
        response = _request(url, "/score", {"inputs": sample.inputs}, {"x-request-id": f"smoke-{index}"})
        responses.append(_expect(url, f"sample {index}", 200, response))
        _compare(
            url, index, sample, _parse(url, f"sample {index}", responses[-1], "outputs")["outputs"], specs
        )
    error = _expect(url, "invalid request", 400, _request(url, "/score", {"inputs": {"no such input": 0}}))
    if b"no such input" not in error:
        raise SmokeError(f"{url}: expected an error that names the unknown input, got {error!r}")
    metrics = _expect(url, "GET /metrics", 200, _request(url, "/metrics")).decode()
    if not any(line.startswith("model_info{") and package.digest in line for line in metrics.splitlines()):
        raise SmokeError(f"{url}: /metrics has no model_info with {package.digest}")
    return responses


def _compare(
    url: str, index: int, sample: Sample, outputs: Mapping[str, Any], specs: Mapping[str, TensorSpec]
) -> None:
    for name, expected in sample.outputs.items():
        if name not in specs or name not in outputs:
            raise SmokeError(f"{url}: sample {index}: missing output '{name}'")
        actual = from_json(outputs[name], specs[name])
        if not matches(actual, from_json(expected, specs[name]), sample.rtol, sample.atol):
            raise SmokeError(
                f"{url}: sample {index}: output '{name}': expected {expected}, got {outputs[name]} "
                f"(rtol {sample.rtol}, atol {sample.atol})"
            )


def _request(
    url: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
) -> tuple[int, bytes]:
    """Send a request, and return the response's status and body."""
    data = None if body is None else json.dumps(body).encode()
    key = {"x-api-key": os.environ["API_KEY"]} if os.environ.get("API_KEY") else {}
    request = urllib.request.Request(  # noqa: S310 (main accepts http and https only)
        url + path, data, {"content-type": "application/json", **key, **(headers or {})}
    )
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:  # noqa: S310
            return response.status, response.read()
    except urllib.error.HTTPError as exc:
        with exc:
            return exc.code, exc.read()
    except (OSError, http.client.HTTPException) as exc:
        raise SmokeError(f"{url}{path} cannot be reached: {exc!r}") from exc


def _parse(url: str, what: str, body: bytes, *members: str) -> Any:
    """Return the JSON object in a body.

    Raises:
        SmokeError: the body is not a JSON object with these members.
    """
    try:
        document = json.loads(body)
    except ValueError:
        document = None
    if not isinstance(document, dict) or not document.keys() >= set(members):
        raise SmokeError(f"{url}: {what}: expected JSON with {', '.join(members)}, got {body[:100]!r}")
    return document


def _expect(url: str, what: str, status: int, response: tuple[int, bytes]) -> bytes:
    """Return a response's body.

    Raises:
        SmokeError: the response has another status.
    """
    if response[0] != status:
        raise SmokeError(f"{url}: {what}: expected status {status}, got {response[0]}: {response[1][:300]!r}")
    return response[1]


def _locked_package(model: Path, lock: Path) -> Package:
    """Return the verified package that the services should serve.

    Raises:
        PackageError: the package is not what its manifest lists.
        SmokeError: the lock cannot be read, or names another package.
    """
    package = verify_package(model)
    try:
        locked = json.loads(lock.read_bytes())["digest"]
    except (OSError, ValueError, KeyError) as exc:
        raise SmokeError(f"{lock} cannot be read: {exc!r}") from exc
    if locked != package.digest:
        raise SmokeError(f"expected {locked} of {lock}, got {package} in {model}: run pull --locked")
    return package


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser("smoke", description="Check running services against model.lock.")
    parser.add_argument("urls", metavar="URL", nargs="+", help="http:// or https://, one for each replica")
    parser.add_argument("--model", type=Path, default=Path("model"), help="the package; default: model")
    parser.add_argument("--lock", type=Path, default=Path("model.lock"), help="default: model.lock")
    parser.add_argument(
        "--wait",
        type=float,
        default=0,
        metavar="SECONDS",
        help="time for the services to become ready; default: 0",
    )
    args = parser.parse_args(argv)
    urls = [url.rstrip("/") for url in args.urls]
    for url in urls:
        if not re.fullmatch(r"https?://[^/\s:]+(:\d+)?(/\S*)?", url.replace("[", "").replace("]", "")):
            parser.error("not a URL: " + re.sub(r"//.*@|[?].*", "…", url))  # without password and token
    try:
        package = _locked_package(args.model, args.lock)
        count = smoke(urls, package, wait_s=args.wait)
    except (PackageError, RequestError, SmokeError) as exc:
        print(f"smoke: {exc}", file=sys.stderr)
        return 1
    samples = f"{count} samples passed" if count else "no samples, so its outputs are not verified"
    print(f"{' '.join(urls)}: {package}, {samples}, all other checks passed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
