"""Evaluation of Azure Pipelines' expressions, as far as the pipelines use them.

https://learn.microsoft.com/azure/devops/pipelines/process/expressions
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

from tests.rehearsal.errors import RehearsalError

TOKEN = re.compile(r"\s*(?:(?P<string>'(?:[^']|'')*')|(?P<name>[A-Za-z_]\w*)|(?P<sign>[()\[\],.]))")

# Comparisons of text are not case-sensitive, as on an agent.
FUNCTIONS: Mapping[str, Callable[..., bool]] = {
    "and": lambda *values: all(values),
    "or": lambda *values: any(values),
    "not": lambda value: not value,
    "eq": lambda lhs, rhs: str(lhs).lower() == str(rhs).lower(),
    "ne": lambda lhs, rhs: str(lhs).lower() != str(rhs).lower(),
    "in": lambda value, *others: str(value).lower() in [str(other).lower() for other in others],
}
Status = Mapping[str, bool]


def evaluate(text: str, context: Mapping[str, Any], status: Status) -> Any:
    """Return the value of an expression.

    Args:
        context: name → mapping, such as `variables` and `dependencies`; a missing key is "", as on an agent.
        status: name → value of the status functions, such as `succeeded`.

    Raises:
        RehearsalError: the expression is invalid or uses an unsupported function or name.
    """
    tokens = _tokens(text)
    value, rest = _value(text, tokens, context, status)
    if rest:
        raise RehearsalError(f"expression {text!r}: unexpected {rest[0]!r}")
    return value


def _tokens(text: str) -> list[str]:
    tokens, position = [], 0
    text = text.strip()
    while position < len(text):
        if not (match := TOKEN.match(text, position)):
            raise RehearsalError(f"expression {text!r}: unexpected {text[position:]!r}")
        tokens.append(match[0].strip())
        position = match.end()
    return tokens


def _value(text: str, tokens: list[str], context: Mapping[str, Any], status: Status) -> tuple[Any, list[str]]:
    head, *rest = tokens or [""]
    if head.startswith("'"):
        return head[1:-1].replace("''", "'"), rest
    if rest[:1] == ["("]:
        return _call(text, head, rest[1:], context, status)
    if head not in context:
        raise RehearsalError(f"expression {text!r}: {head!r} is not supported")
    value = context[head]
    while rest[:1] in (["."], ["["]):
        if rest[0] == ".":
            key, rest = rest[1], rest[2:]
        else:
            key, rest = _value(text, rest[1:], context, status)
            rest = rest[1:]
        value = value.get(key, "") if isinstance(value, Mapping) else ""
    return value, rest


def _call(
    text: str, name: str, tokens: list[str], context: Mapping[str, Any], status: Status
) -> tuple[Any, list[str]]:
    arguments = []
    while tokens[:1] != [")"]:
        if not tokens:
            raise RehearsalError(f"expression {text!r}: missing ')'")
        value, tokens = _value(text, tokens, context, status)
        arguments.append(value)
        if tokens[:1] == [","]:
            tokens = tokens[1:]
    if name in status:
        return status[name], tokens[1:]
    if name not in FUNCTIONS:
        raise RehearsalError(f"expression {text!r}: {name}() is not supported")
    return FUNCTIONS[name](*arguments), tokens[1:]
