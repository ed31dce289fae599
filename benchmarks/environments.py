"""An environment for each peer, kept in the user's cache under its requirements' hash."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.errors import BenchmarkError
from benchmarks.peer import PEERS, PROGRAMS, ROOT

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "scorebox/bench"


def environment(name: str) -> Path:
    """The directory of a peer's environment, made where it is missing; Scorebox's own is the clone's."""
    requirements = PROGRAMS / name / "requirements.txt"
    if not requirements.exists():
        return ROOT / ".venv"
    key = hashlib.sha256(sys.version.encode() + requirements.read_bytes()).hexdigest()[:12]
    path = CACHE / name / key
    # Written last: an installation that was broken off begins anew.
    complete = path / "complete"
    if not complete.exists():
        print(f"installing {name} into {path}", file=sys.stderr)
        shutil.rmtree(path, ignore_errors=True)
        _uv("venv", "--python", sys.executable, str(path))
        _uv("pip", "install", "--python", str(path / "bin/python"), "--requirements", str(requirements))
        complete.touch()
    return path


def versions(name: str) -> dict[str, str]:
    """Package → version, of the packages that a peer asks for, and of its Python."""
    requirements = PROGRAMS / name / "requirements.txt"
    names: Sequence[str] = PEERS[name].packages
    if requirements.exists():
        names = [re.split(r"[=\[]", line)[0] for line in requirements.read_text().split()]
    code = (
        "import json, platform, sys; from importlib.metadata import version; "
        "print(json.dumps({n: version(n) for n in sys.argv[1:]} | {'Python': platform.python_version()}))"
    )
    command = [str(environment(name) / "bin/python"), "-c", code, *names]
    found: dict[str, str] = json.loads(subprocess.check_output(command, text=True))
    return found


def _uv(*arguments: str) -> None:
    try:
        subprocess.run([sys.executable, "-m", "uv", "--quiet", *arguments], check=True)
    except subprocess.CalledProcessError as exc:
        raise BenchmarkError(f"uv {' '.join(arguments)}: exit code {exc.returncode}") from exc
