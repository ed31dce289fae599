"""What the tests of this package share: its commands, run as a user runs them."""

import contextlib
import io
from dataclasses import dataclass

from release.__main__ import main


@dataclass(frozen=True)
class Result:
    """What a command did."""

    code: int
    out: str
    err: str


def release(*argv: str) -> Result:
    """Runs `python -m release`, to its end, whatever that is."""
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
        try:
            code = main(argv)
        except SystemExit as exc:
            code = int(exc.code or 0)
    return Result(code, out.getvalue(), err.getvalue())
