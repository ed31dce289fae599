"""The clone in which the scenarios commit: this work tree, with shorter times, and keys of its own."""

import os
import re
import subprocess
from pathlib import Path

from tests.rehearsal.errors import RehearsalError
from tests.rehearsal.parts import ROOT

# Text of deploy/base/deployment.yaml → a replacement with which pods end sooner: nginx routes at once.
FASTER = (
    ("                seconds: 5\n", "                seconds: 1\n"),
    ("          env:\n", '          env:\n            - name: DRAIN_DELAY_S\n              value: "1"\n'),
)
# Adapted to watches of a few seconds. A busy machine delays several requests of one container together, while
# the tests assume that each is delayed by itself.
THRESHOLDS = (("watch", "min_requests", 30), ("latency", "max_p99_seconds", 0.5), ("latency", "odds", 2.0))
IDENTITY = {
    "GIT_AUTHOR_NAME": "rehearsal",
    "GIT_AUTHOR_EMAIL": "rehearsal@example.com",
    "GIT_COMMITTER_NAME": "rehearsal",
    "GIT_COMMITTER_EMAIL": "rehearsal@example.com",
}


def create_clone(clone: Path, origin: Path, key: Path, unknown_key: Path) -> None:
    """Create a clone of this work tree without commits, its empty origin, and two keys for models.

    Args:
        key: path of the key whose public part is in the clone.
        unknown_key: path of the other one.
    """
    files = git(ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard").split("\0")
    for name in filter(None, files):
        if (ROOT / name).exists():
            (clone / name).parent.mkdir(parents=True, exist_ok=True)
            (clone / name).write_bytes((ROOT / name).read_bytes())
            (clone / name).chmod((ROOT / name).stat().st_mode)
    for path in (key, unknown_key):
        run_command("openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", str(path))
    run_command("openssl", "ec", "-in", str(key), "-pubout", "-out", str(clone / "model.pub"))
    # The replacement of notation reads no certificate.
    (clone / "images.crt").write_text("none\n")
    for table, rule, value in THRESHOLDS:
        set_limit(clone / "monitoring/canary.toml", table, rule, value)
    for old, new in FASTER:
        replace_text(clone / "deploy/base/deployment.yaml", old, new)
    git(clone, "init", "--quiet", "--initial-branch=main")
    git(clone, "remote", "add", "origin", str(origin))
    run_command("git", "init", "--quiet", "--bare", "--initial-branch=main", str(origin))


def replace_text(path: Path, old: str, new: str) -> None:
    """Replace a text that a file has once.

    Raises:
        RehearsalError: it has another number of them.
    """
    text = path.read_text()
    if text.count(old) != 1:
        raise RehearsalError(f"{path.name}: expected {old!r} once")
    path.write_text(text.replace(old, new))


def set_limit(path: Path, table: str, rule: str, value: float) -> None:
    """Set a number in a table of a TOML file.

    Raises:
        RehearsalError: the table has no such number.
    """
    pattern = rf"(?s)(\[{re.escape(table)}\][^\[]*?\n{rule} = )[0-9.]+"
    text, count = re.subn(pattern, rf"\g<1>{value}", path.read_text(), count=1)
    if not count:
        raise RehearsalError(f"{path.name} has no '{rule}' in [{table}]")
    path.write_text(text)


def git(directory: Path, *args: str) -> str:
    """Run git in a directory, and return what it prints.

    Raises:
        RehearsalError: it fails.
    """
    return run_command("git", "-C", str(directory), *args)


def run_command(*command: str) -> str:
    """Run a command as the rehearsal's author of commits, and return what it prints.

    Raises:
        RehearsalError: it fails.
    """
    done = subprocess.run(command, env=os.environ | IDENTITY, check=False, capture_output=True, text=True)
    if done.returncode:
        raise RehearsalError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout
