"""The links of a lineage: what is known of each, and where one is broken."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

# verified: compared with another source. stated: only one source has it. none: there is nothing, such as no
# release yet. unavailable: the source did not answer, or was not given.
State = Literal["verified", "stated", "none", "unavailable", "broken"]
BROKEN, UNAVAILABLE = 1, 3
MAX_REASON = 260


@dataclass(frozen=True)
class Problem:
    """One difference that breaks a link."""

    what: str
    expected: str
    found: str

    def __str__(self) -> str:
        return f"{self.what}: expected {self.expected}, found {self.found}"


@dataclass(frozen=True)
class Link:
    """One link.

    Attributes:
        name: such as `prediction` or `image`.
        text: one line for people.
        facts: the same for programs.
        problems: make the link broken.
        reason: why the source is unavailable, or why there is nothing.
    """

    name: str
    state: State
    text: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()
    reason: str = ""


@dataclass(frozen=True)
class Lineage:
    """All links of what was asked for, in order."""

    query: str
    model: str
    links: tuple[Link, ...]

    @property
    def broken(self) -> list[tuple[str, Problem]]:
        """Each difference, with the name of its link."""
        return [(link.name, problem) for link in self.links for problem in link.problems]

    @property
    def unavailable(self) -> list[Link]:
        """The links whose source is unavailable."""
        return [link for link in self.links if link.state == "unavailable"]

    @property
    def exit_code(self) -> int:
        """1 if a link is broken, 3 if a source is unavailable, otherwise 0."""
        return BROKEN if self.broken else UNAVAILABLE if self.unavailable else 0


def checked(
    name: str,
    text: str,
    facts: Mapping[str, Any],
    problems: Sequence[Problem] = (),
    state: State = "verified",
) -> Link:
    """Return a link that is broken if it has problems, and otherwise in a state."""
    return Link(name, "broken" if problems else state, text, facts, tuple(problems))


def absent(name: str, reason: str) -> Link:
    """Return the link of something that does not exist."""
    return Link(name, "none", reason=reason)


def unavailable(name: str, reason: str, text: str = "", facts: Mapping[str, Any] | None = None) -> Link:
    """Return the link of a source that is unavailable, with what other sources say of it."""
    return Link(name, "unavailable", text, facts or {}, reason=_shortened(" ".join(reason.split())))


def counted(count: int, noun: str) -> str:
    """Return a count with its noun, such as `2 rows`."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def compare(what: str, expected: object, found: object) -> list[Problem]:
    """Return the difference of two values, if they differ."""
    return [] if expected == found else [Problem(what, str(expected), str(found))]


def _shortened(text: str) -> str:
    """Return begin and end of a long text: kubectl repeats its error five times."""
    return text if len(text) <= MAX_REASON else f"{text[:100]} … {text[-MAX_REASON + 103 :]}"
