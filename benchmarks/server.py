"""A peer's server: prepared, started on its own core, asked whether it answers right, weighed, stopped."""

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
# What a preparation cannot know.
_UNKNOWN = dict.fromkeys(("port", "port2", "port3", "workers", "pool", "program"), "")


@dataclass(frozen=True)
class Setup:
    """What is served, and how.

    Attributes:
        model: one of `models.MODELS`.
        workers: processes that hold the model.
        environ: settings that differ from the peer's own.
        format: "json" or "binary".
    """

    model: str
    workers: int = 1
    environ: Mapping[str, str] = field(default_factory=dict)
    format: str = "json"


@dataclass(frozen=True)
class Server:
    """A running server that has answered right.

    Attributes:
        name: the peer's.
        port: on loopback.
        headers, body: of the request that it is measured with.
        path: of the URL.
        first_answer_s: from the start of its process to its first right answer.
        pid: of its first process.
        workers: that hold the model.
        core: that it is pinned to.
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
        """What the model takes by itself on the server's core; see `benchmarks.in_process`."""
        python = str(environment("scorebox") / "bin/python")
        command = ["taskset", "--cpu-list", str(self.core), python, "-m", "benchmarks.in_process"]
        done = subprocess.run(
            [*command, self.source, self.format], capture_output=True, text=True, check=True
        )
        return float(done.stdout)

    def pss_mb(self) -> float:
        """Proportional set size of all its processes together, in MB: shared pages count once."""
        return pss_mb(self.pid)


class Field:
    """The place of a benchmark: its models, its prepared peers, the core that serves.

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
        """Starts a peer's server, and stops it at the end.

        Raises:
            BenchmarkError: it does not answer in time, or not what is right.
        """
        peer = PEERS[name]
        how = peer.formats[setup.format]
        values = self._prepared(name, peer, setup.model) | {
            "program": how.program,
            "workers": str(setup.workers),
            "pool": str(setup.workers if setup.workers > 1 else 0),
        }
        ports = _free_ports(3)
        values |= dict(zip(("port", "port2", "port3"), map(str, ports), strict=True))
        command = ["taskset", "--cpu-list", str(self.core), *(part.format(**values) for part in peer.start)]
        log = self.work / f"{name}.log"
        scratch = Path(values["scratch"])
        began = time.perf_counter()
        # To a pipe, as in a container.
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
            headers, body = how.encode(sample["inputs"]["x"])
            reply = _first_answer(process, ports[0], how.path, headers, body)
            took = time.perf_counter() - began
            _check(name, how, reply, sample)
            yield Server(
                name=name,
                port=ports[0],
                path=how.path,
                headers=headers,
                body=body,
                first_answer_s=took,
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
        """What stands for the placeholders that the model and the peer decide."""
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
    """Nothing of the caller's but PATH and HOME: WEB_CONCURRENCY would reach gunicorn and uvicorn."""
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
    """The first of a model's samples: every request is this one."""
    return json.loads((source / "samples.json").read_text())[0]


def _first_answer(
    process: "subprocess.Popen[bytes]", port: int, path: str, headers: Mapping[str, str], body: bytes
) -> bytes:
    deadline = time.monotonic() + START_S
    last = "no connection"
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise BenchmarkError(f"the server exits with {process.returncode}")
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=START_S)
        try:
            connection.request("POST", path, body, dict(headers))
            reply = connection.getresponse()
            answer = reply.read()
        except (OSError, http.client.HTTPException) as exc:
            last = repr(exc)
        else:
            if reply.status == http.HTTPStatus.OK:
                return answer
            last = f"{reply.status} {answer[:300]!r}"
        finally:
            connection.close()
        time.sleep(POLL_S)
    raise BenchmarkError(f"no answer within {START_S} s; the last: {last}")


def _check(name: str, how: Format, answer: bytes, sample: Any) -> None:
    """Holds an answer against the sample's: every output, every number."""
    try:
        outputs = how.decode(answer)
    except (KeyError, TypeError, ValueError) as exc:
        raise BenchmarkError(f"{name}: expected a reply with outputs, got {answer[:300]!r}") from exc
    for output, expected in sample["outputs"].items():
        found, wanted = np.ravel(outputs.get(output, [])), np.ravel(expected)
        if found.shape != wanted.shape or not np.allclose(
            found.astype(float), wanted, sample["rtol"], sample["atol"]
        ):
            raise BenchmarkError(f"{name}: output '{output}': expected {wanted[:4]}…, got {found[:4]}…")
