"""Prepare a peer's server, start it on its own core, verify its response, and stop it."""

import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread
from typing import IO, Any

import numpy as np

from benchmarks.environments import environment
from benchmarks.errors import BenchmarkError
from benchmarks.models import make
from benchmarks.peer import PEERS, Format, Peer
from benchmarks.processes import adopt_orphans, pss_mb, stop

START_S = 120
POLL_S = 0.005
# Placeholders that have no value yet when `prepare` runs.
_UNKNOWN = dict.fromkeys(("port", "port2", "port3", "workers", "pool", "program"), "")


@dataclass(frozen=True)
class Setup:
    """A model and how it is served.

    Attributes:
        model: one of `models.MODELS`.
        workers: number of processes that load the model.
        environ: environment variables in addition to the peer's own.
        format: "json" or "binary".
    """

    model: str
    workers: int = 1
    environ: Mapping[str, str] = field(default_factory=dict)
    format: str = "json"


@dataclass(frozen=True)
class Server:
    """A running server whose response has been verified.

    Attributes:
        name: name of the peer.
        port: port on loopback.
        path: path of the URL.
        headers, body: the request to measure with.
        first_answer_s: time from the start of its process to its first correct response.
        pid: pid of its first process.
        workers: number of processes that load the model.
        core: number of the CPU that it is pinned to.
        source: the model's directory.
        format: "json" or "binary".
    """

    name: str
    port: int
    path: str
    headers: Mapping[str, str]
    body: bytes
    first_answer_s: float
    pid: int
    workers: int
    core: int
    source: Path
    format: str

    def in_process_ms(self) -> float:
        """Measure the model without a service, on the server's core; see `benchmarks.in_process`."""
        python = str(environment("service") / "bin/python")
        command = ["taskset", "--cpu-list", str(self.core), python, "-m", "benchmarks.in_process"]
        done = subprocess.run(
            [*command, self.source, self.format], capture_output=True, text=True, check=True
        )
        return float(done.stdout)

    def pss_mb(self) -> float:
        """Return the proportional set size of all its processes in MB; shared pages count once."""
        return pss_mb(self.pid)


class Workbench:
    """The models and prepared peers of a benchmark, and the core for the server.

    Attributes:
        work: a temporary directory.
        core: number of the CPU that servers run on.
    """

    def __init__(self, work: Path, core: int) -> None:
        self.work = work
        self.core = core
        adopt_orphans()

    @contextmanager
    def serving(self, name: str, setup: Setup) -> Iterator[Server]:
        """Start a peer's server, and stop it at the end.

        Raises:
            BenchmarkError: the server does not respond in time, or its response is wrong.
        """
        peer = PEERS[name]
        request_format = peer.formats[setup.format]
        values = self._prepared(name, peer, setup.model) | {
            "program": request_format.program,
            "workers": str(setup.workers),
            "pool": str(setup.workers if setup.workers > 1 else 0),
        }
        ports = _free_ports(3)
        values |= dict(zip(("port", "port2", "port3"), map(str, ports), strict=True))
        command = ["taskset", "--cpu-list", str(self.core), *(part.format(**values) for part in peer.start)]
        log = self.work / f"{name}.log"
        scratch = Path(values["scratch"])
        start = time.perf_counter()
        # Standard output is a pipe, as in a container.
        process = subprocess.Popen(
            command,
            cwd=peer.directory.format(**values) if peer.directory else scratch,
            env=_environ(peer, values) | dict(setup.environ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        reader = Thread(target=_copy, args=(process.stdout, log))
        reader.start()
        try:
            sample = _sample(Path(values["source"]))
            headers, body = request_format.encode(sample["inputs"]["x"])
            response = _first_response(process, ports[0], request_format.path, headers, body)
            first_answer_s = time.perf_counter() - start
            _check(name, request_format, response, sample)
            yield Server(
                name=name,
                port=ports[0],
                path=request_format.path,
                headers=headers,
                body=body,
                first_answer_s=first_answer_s,
                pid=process.pid,
                workers=setup.workers,
                core=self.core,
                source=Path(values["source"]),
                format=setup.format,
            )
        except (BenchmarkError, OSError) as exc:
            lines = log.read_text(errors="replace").splitlines()[-20:]
            raise BenchmarkError("\n".join([f"{peer.title}, {setup}: {exc}", *lines])) from exc
        finally:
            stop(process)
            reader.join()

    def _prepared(self, name: str, peer: Peer, model: str) -> dict[str, str]:
        """Prepare the model for the peer; return the values of the placeholders that depend on them."""
        source = self.work / "models" / model
        if not source.exists():
            print(f"making the model {model}", file=sys.stderr)
            make(model, source)
        folder = self.work / "peers" / name / model
        bin_directory = environment(name) / "bin"
        values = {
            "python": str(bin_directory / "python"),
            "bin": str(bin_directory),
            "here": str(Path(__file__).parent / "peers" / name),
            "root": str(Path(__file__).parents[1]),
            "source": str(source),
            "served": str(folder / "served"),
            "scratch": str(folder / "scratch"),
        }
        if not folder.exists():
            (folder / "scratch").mkdir(parents=True)
            for command in peer.prepare:
                _run([part.format(**values) for part in command], peer, values)
        return values


def _copy(output: IO[bytes], log: Path) -> None:
    with output, log.open("wb") as file:
        shutil.copyfileobj(output, file)


def _run(command: list[str], peer: Peer, values: Mapping[str, str]) -> None:
    done = subprocess.run(
        command,
        cwd=peer.directory.format(**values) if peer.directory else values["scratch"],
        env=_environ(peer, _UNKNOWN | dict(values)),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise BenchmarkError(f"{' '.join(command)}: exit code {done.returncode}\n{done.stdout}{done.stderr}")


def _environ(peer: Peer, values: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a peer's processes.

    Only PATH and HOME are inherited: a WEB_CONCURRENCY, for example, would change gunicorn and uvicorn.
    """
    own = {key: value.format(**values) for key, value in peer.environ.items()}
    path = f"{values['bin']}:{os.environ['PATH']}"
    return {"PATH": path, "HOME": os.environ["HOME"], "TMPDIR": values["scratch"], "LANG": "C.UTF-8"} | own


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def _sample(source: Path) -> Any:
    """Return the model's first sample, which every request sends."""
    return json.loads((source / "samples.json").read_text())[0]


def _first_response(
    process: "subprocess.Popen[bytes]", port: int, path: str, headers: Mapping[str, str], body: bytes
) -> bytes:
    deadline = time.monotonic() + START_S
    last = "no connection"
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise BenchmarkError(f"the server exited with {process.returncode}")
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=START_S)
        try:
            connection.request("POST", path, body, dict(headers))
            response = connection.getresponse()
            answer = response.read()
        except (OSError, http.client.HTTPException) as exc:
            last = repr(exc)
        else:
            if response.status == http.HTTPStatus.OK:
                return answer
            last = f"{response.status} {answer[:300]!r}"
        finally:
            connection.close()
        time.sleep(POLL_S)
    raise BenchmarkError(f"no response within {START_S} s; last attempt: {last}")


def _check(name: str, request_format: Format, response: bytes, sample: Any) -> None:
    """Compare all outputs of a response with the sample's.

    Raises:
        BenchmarkError: an output is missing or differs by more than the tolerance.
    """
    try:
        outputs = request_format.decode(response)
    except (KeyError, TypeError, ValueError) as exc:
        raise BenchmarkError(f"{name}: expected a response with outputs, got {response[:300]!r}") from exc
    for output, expected in sample["outputs"].items():
        found, wanted = np.ravel(outputs.get(output, [])), np.ravel(expected)
        if found.shape != wanted.shape or not np.allclose(
            found.astype(float), wanted, sample["rtol"], sample["atol"]
        ):
            raise BenchmarkError(f"{name}: output '{output}': expected {wanted[:4]}…, got {found[:4]}…")
