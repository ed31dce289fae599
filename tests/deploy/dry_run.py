"""The commands that `scripts/azure_setup --dry-run` prints."""

import json
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

from tests.deploy.conftest import ROOT


def dry_run(*args: str, root: Path = ROOT) -> list[list[str]]:
    """Return the arguments of each call of `az` and `gh` that a dry run prints, in order."""
    done = subprocess.run(
        [root / "scripts/azure_setup", "--dry-run", *args],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    return [call for line in done.stdout.splitlines() for call in _calls(line)]


def _calls(line: str) -> list[list[str]]:
    if line.startswith("#"):
        return []
    lexer = shlex.shlex(line, posix=True, punctuation_chars="()|<>&;")
    lexer.whitespace_split = True
    found: list[list[str]] = []
    inside = False
    for word in lexer:
        if re.fullmatch(r"[()|<>&;]+", word):
            if inside and word.startswith(">") and found[-1][-1] == "2":
                found[-1].pop()
            inside = False
        elif inside:
            found[-1].append(word)
        elif word in ("az", "gh"):
            found.append([word])
            inside = True
    return found


def words(call: list[str]) -> str:
    """Return the command of a call, without its options."""
    return " ".join(call[1:]).partition(" --")[0]


def option(call: list[str], name: str) -> str:
    """Return the value of an option of a call, or an empty string."""
    return call[call.index(name) + 1] if name in call else ""


def body(call: list[str]) -> dict[str, Any]:
    """Return the JSON that a call sends, or an empty document. Numbers that are variables become strings."""
    text = option(call, "--body")
    document: dict[str, Any] = {}
    if text.startswith("{"):
        document = json.loads(re.sub(r": (\$\w+)", r': "\1"', text))
    return document
