"""Results of commands, for people and for machines."""

from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from model_loader.registry.versions import PublishedVersion


@dataclass(frozen=True)
class CommandResult:
    """The result of a command.

    Attributes:
        text: for people.
        data: for machines, as JSON.
        failure: the reason to exit with 1 after printing the result, if any.
    """

    text: str
    data: Any
    failure: str | None = None


Run: TypeAlias = Callable[[Namespace], CommandResult]


class AddCommand(Protocol):
    """Adds a command to the command line, and returns its parser."""

    def __call__(self, name: str, run: Run, text: str) -> ArgumentParser: ...


def identity(published: PublishedVersion) -> dict[str, Any]:
    """Return the name, version and digest of a version."""
    manifest = published.manifest
    return {"name": manifest.name, "version": manifest.version, "digest": published.digest}
