"""Run git, docker and kubectl, as found on PATH."""

import os
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

from release.errors import ReleaseError

TIMEOUT_S = 900
MAX_ERROR_LINES = 10


def run(
    *command: str, text: str | None = None, cwd: Path | None = None, environ: Mapping[str, str] | None = None
) -> str:
    """Run a program and return its standard output.

    Args:
        text: standard input; None for an empty one.
        cwd: working directory; None for the current one.
        environ: variables to add to the current environment.

    Raises:
        ReleaseError: the program is missing, fails or times out. The message has the last lines of its
            output, with users and passwords removed from URLs.
    """
    name = " ".join(command[:2])
    try:
        done = subprocess.run(
            command,
            input=text,
            stdin=subprocess.DEVNULL if text is None else None,
            cwd=cwd,
            env=os.environ | dict(environ or {}),
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=TIMEOUT_S,
            check=True,
        )
    except OSError as exc:
        raise ReleaseError(f"{name} cannot be run: {exc.strerror}") from exc
    except subprocess.TimeoutExpired as exc:
        raise ReleaseError(f"{name} did not end within {TIMEOUT_S} s") from exc
    except subprocess.CalledProcessError as exc:
        output = " ".join((exc.stderr or exc.stdout).strip().splitlines()[-MAX_ERROR_LINES:])
        output = re.sub(r"//[^/\s@]*@", "//", output)
        raise ReleaseError(f"{name} failed: {output or f'exit code {exc.returncode}'}") from exc
    return done.stdout
