"""Text that is printed to a terminal, or into a pipeline's log."""

import pytest

from model_loader.text_tables import printable, table


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("\x1b[1mbold\n", "\\x1b[1mbold\\n"),
        ("a ##vso[task.setvariable variable=train]true", "a #\\x23vso[task.setvariable variable=train]true"),
        ("##[error]no", "#\\x23[error]no"),
        (" ::error::no", " :\\x3aerror::no"),
        ("## a::b [1]", "## a::b [1]"),
    ],
)
def test_printable(text: str, printed: str) -> None:
    """Somebody's text controls neither a terminal nor a pipeline, and stays readable."""
    assert printable(text) == printed
    assert table(["HEAD"], [[text]]).endswith(printed)
