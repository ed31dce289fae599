"""Closed-loop load on a server, by wrk."""

import json
import os
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from benchmarks.errors import BenchmarkError
from benchmarks.server import Server

SCRIPT = Path(__file__).parent / "wrk.lua"
TIMEOUT_S = 10


@dataclass(frozen=True)
class Measured:
    """What a load found.

    Attributes:
        rps: answers a second.
        p50_ms, p99_ms: latency that 50 % and 99 % of the answers did not exceed.
    """

    rps: float
    p50_ms: float
    p99_ms: float


def closed_loop(server: Server, connections: int, seconds: float) -> Measured:
    """Each connection sends its next request once it has the answer to the one before.

    Raises:
        BenchmarkError: any answer was not 2xx, was late, or did not come.
    """
    headers = [part for name, value in server.headers.items() for part in ("--header", f"{name}: {value}")]
    command = ["wrk", "--threads", "1", "--connections", str(connections), "--duration", f"{seconds:.0f}s"]
    command += ["--timeout", f"{TIMEOUT_S}s", "--script", str(SCRIPT), *headers]
    command += [f"http://127.0.0.1:{server.port}{server.path}"]
    try:
        with tempfile.NamedTemporaryFile() as body:
            body.write(server.body)
            body.flush()
            output = subprocess.run(
                command,
                env={"PATH": os.environ["PATH"], "BENCH_BODY": body.name},
                capture_output=True,
                text=True,
                check=False,
                timeout=seconds + 3 * TIMEOUT_S,
            )
    except subprocess.TimeoutExpired as exc:
        raise BenchmarkError(f"{connections} connections: {exc}") from exc
    try:
        found = json.loads(output.stdout.splitlines()[-1])
    except (IndexError, ValueError) as exc:
        raise BenchmarkError(f"wrk: exit code {output.returncode}: {output.stdout}{output.stderr}") from exc
    if any(found["errors"].values()) or not found["requests"]:
        raise BenchmarkError(f"{connections} connections: {found['requests']} requests, {found['errors']}")
    return Measured(
        rps=found["requests"] / found["duration_us"] * 1e6,
        p50_ms=found["p50_us"] / 1e3,
        p99_ms=found["p99_us"] / 1e3,
    )
