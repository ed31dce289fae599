"""Faults that a scenario injects into calls of kubectl."""

import re
from dataclasses import asdict, dataclass

from tests.rehearsal.cluster.state import State

ACTIONS = ("fail", "lose", "hang", "kill")


@dataclass(frozen=True)
class Fault:
    """What happens to the next calls that match a pattern.

    Attributes:
        pattern: regular expression, searched in the arguments of kubectl, joined by spaces.
        action: `fail`: the call does nothing and fails; `lose`: it is executed, but its response is lost;
            `hang`: it never ends; `kill`: the process that called kubectl is killed before the call.
        times: number of calls to which it happens.
        skip: number of matching calls before them that succeed.
    """

    pattern: str
    action: str = "fail"
    times: int = 1
    skip: int = 0


def inject(state: State, fault: Fault) -> None:
    """Add a fault.

    Raises:
        ValueError: the action is unknown.
    """
    if fault.action not in ACTIONS:
        raise ValueError(f"fault: {fault.action!r} is not one of {', '.join(ACTIONS)}")
    state["faults"].append(asdict(fault))


def take(state: State, command: str) -> str:
    """Return the action of the first fault that matches a call, and count it; empty if there is none."""
    for fault in state["faults"]:
        if fault["times"] and re.search(fault["pattern"], command):
            if fault["skip"]:
                fault["skip"] -= 1
                continue
            fault["times"] -= 1
            return str(fault["action"])
    return ""
