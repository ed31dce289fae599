"""Runs git, docker and kubectl, whichever are first on PATH."""

import os
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

from release.errors import ReleaseError

TIMEOUT_S = 900
LINES = 10


def run(
    *command: str, text: str | None = None, cwd: Path | None = None, environ: Mapping[str, str] | None = None
) -> str:
    """What a program prints.

    Args:
        text: for its standard input; None gives it none.
        cwd: where it runs; None is here.
        environ: what it gets beside our environment.

    Raises:
        ReleaseError: it is not there, fails, or does not end; the message has its last lines, without what
            stands before `@` in a URL, which may be a password.
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
        said = " ".join((exc.stderr or exc.stdout).strip().splitlines()[-LINES:])
        said = re.sub(r"//[^/\s@]*@", "//", said)
        raise ReleaseError(f"{name} failed: {said or f'exit code {exc.returncode}'}") from exc
    return done.stdout
