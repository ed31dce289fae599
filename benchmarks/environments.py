"""Python environments of the peers, kept in the user's cache by a hash of their requirements."""

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

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "scoring/bench"


def environment(name: str) -> Path:
    """Return the directory of a peer's environment, and create it if necessary.

    A peer without a requirements.txt uses the clone's environment.
    """
    requirements = PROGRAMS / name / "requirements.txt"
    return install(name, requirements) if requirements.exists() else ROOT / ".venv"


def install(name: str, requirements: Path) -> Path:
    """Return the directory of an environment with the requirements, and create it if necessary.

    Args:
        name: of its place in the cache.

    Raises:
        BenchmarkError: the packages cannot be installed.
    """
    key = hashlib.sha256(sys.version.encode() + requirements.read_bytes()).hexdigest()[:12]
    path = CACHE / name / key
    # Written last, so that an interrupted installation is repeated.
    complete = path / "complete"
    if not complete.exists():
        print(f"installing {name} into {path}", file=sys.stderr)
        shutil.rmtree(path, ignore_errors=True)
        _uv("venv", "--python", sys.executable, str(path))
        _uv("pip", "install", "--python", str(path / "bin/python"), "--requirements", str(requirements))
        complete.touch()
    return path


def versions(name: str) -> dict[str, str]:
    """Return package → version for the packages that a peer requires, and for its Python."""
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
