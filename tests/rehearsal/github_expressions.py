"""Evaluation of GitHub Actions' expressions, as far as the workflows use them.

https://docs.github.com/actions/reference/workflows-and-actions/expressions
"""

import re
from collections.abc import Mapping
from typing import Any

from tests.rehearsal.errors import RehearsalError

TOKEN = re.compile(
    r"\s*(?:(?P<string>'(?:[^']|'')*')|(?P<name>[A-Za-z_][\w-]*)|(?P<sign>==|!=|&&|\|\||[!()\[\].]))"
)
LITERALS = {"true": True, "false": False, "null": None}


def evaluate(text: str, context: Mapping[str, Any], functions: Mapping[str, bool]) -> Any:
    """Return the value of an expression.

    Args:
        context: name → value, such as `github` and `needs`; a missing key below is "", as on a runner.
        functions: name → value of the status functions, such as `success`.

    Raises:
        RehearsalError: the expression is invalid, or uses an unsupported function or name.
    """
    return _Parser(text.strip().removeprefix("${{").removesuffix("}}").strip(), context, functions).parse()


def as_text(value: Any) -> str:
    """Return a value as it is inserted into text."""
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else str(value)


class _Parser:
    """A parser by precedence: `||`, `&&`, comparisons, `!`, values."""

    def __init__(self, text: str, context: Mapping[str, Any], functions: Mapping[str, bool]) -> None:
        self.text, self.context, self.functions = text, context, functions
        self.tokens: list[str] = []
        position = 0
        while position < len(text):
            if not (match := TOKEN.match(text, position)):
                raise self.error(f"unexpected {text[position:]!r}")
            self.tokens.append(match[0].strip())
            position = match.end()

    def parse(self) -> Any:
        value = self.either()
        if self.tokens:
            raise self.error(f"unexpected {self.tokens[0]!r}")
        return value

    def error(self, reason: str) -> RehearsalError:
        return RehearsalError(f"expression {self.text!r}: {reason}")

    def take(self, *expected: str) -> str:
        """Remove the next token if it is one of `expected`; return it, or ""."""
        return self.tokens.pop(0) if self.tokens[:1] and self.tokens[0] in expected else ""

    def require(self, expected: str) -> None:
        if not self.take(expected):
            raise self.error(f"missing {expected!r}")

    def either(self) -> Any:
        value = self.both()
        while self.take("||"):
            other = self.both()
            value = value or other
        return value

    def both(self) -> Any:
        value = self.comparison()
        while self.take("&&"):
            other = self.comparison()
            value = value and other
        return value

    def comparison(self) -> Any:
        value = self.negation()
        if operator := self.take("==", "!="):
            other = self.negation()
            # Comparisons of text are not case-sensitive, as on a runner.
            equal = as_text(value).lower() == as_text(other).lower()
            return equal if operator == "==" else not equal
        return value

    def negation(self) -> Any:
        return not self.negation() if self.take("!") else self.value()

    def value(self) -> Any:
        if self.take("("):
            value = self.either()
            self.require(")")
            return value
        if not self.tokens:
            raise self.error("it ends too early")
        head = self.tokens.pop(0)
        if head.startswith("'"):
            return head[1:-1].replace("''", "'")
        if head in LITERALS:
            return LITERALS[head]
        if self.take("("):
            self.require(")")
            if head not in self.functions:
                raise self.error(f"{head}() is not supported")
            return self.functions[head]
        if head not in self.context:
            raise self.error(f"{head!r} is not supported")
        return self.member(self.context[head])

    def member(self, value: Any) -> Any:
        while sign := self.take(".", "["):
            if sign == ".":
                if not self.tokens:
                    raise self.error("it ends too early")
                key = self.tokens.pop(0)
            else:
                key = self.either()
                self.require("]")
            value = value.get(key, "") if isinstance(value, Mapping) else ""
        return value
