"""What a user sees: of a command, and of the directory that it worked in."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Result:
    """What a command leaves: its exit code and what it printed."""

    code: int
    out: str
    err: str


Loader = Callable[..., Result]
Snapshot = dict[str, bytes]


def snapshot(workspace: Path) -> Snapshot:
    """Every file of `model/`, and `model.lock`."""
    files = [workspace / "model.lock", *(workspace / "model").rglob("*")]
    return {str(file.relative_to(workspace)): file.read_bytes() for file in files if file.is_file()}
