"""The lines that scripts/remove takes out of files that stay."""

import pytest

from scripts.part_markers import MarkerError, names_in, without_parts, without_paths


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("import a\nimport b  # part: x\n", "import a\n"),
        ("    b,  # part: x\n    c,\n", "    c,\n"),
        ("a\n  # part: x\n  b\n\n  c\n  # end: x\nd\n", "a\nd\n"),
        ("a\n\n# part: x\nb\n# end: x\n\nc\n", "a\n\nc\n"),
        ("a\n\n# part: x\nb\n# end: x\n", "a\n"),
        ("# part: x\na\n# part: y\nb\n# end: y\n# end: x\nc\n", "c\n"),
        ("# part: y\na\n# part: x\nb\n# end: x\n# end: y\n", "# part: y\na\n# end: y\n"),
        ("a  # part: x, y\nb  # part: y\n", "b  # part: y\n"),
        ("| a | b <!-- part: x --> |\n| c | d |\n", "| c | d |\n"),
        ("a\n<!-- part: x -->\nb\n<!-- end: x -->\n", "a\n"),
        ("let a;  // part: x\nlet b;\n", "let b;\n"),
        (".a {}  /* part: x */\n.b {}\n", ".b {}\n"),
        ('text = "# part: x"\n', 'text = "# part: x"\n'),
        ("the part: x\n", "the part: x\n"),
    ],
)
def test_without_parts(text: str, expected: str) -> None:
    """Marked lines and blocks go, with an empty line between two that are left; others stay as they are."""
    assert without_parts(text, ["x"]) == expected
    assert without_parts(expected, ["x"]) == expected


@pytest.mark.parametrize(
    "text", ["# part: x\na\n", "a\n# end: x\n", "# part: x\n# part: y\n# end: x\n# end: y\n"]
)
def test_unbalanced(text: str) -> None:
    """A block that does not end, or only ends, is refused with its name, also if its part stays."""
    for gone in (["x"], []):
        with pytest.raises(MarkerError, match=r"'[xy]'"):
            without_parts(text, gone)


def test_names() -> None:
    """The names of all markers are found."""
    assert names_in("a  # part: x, y\n# part: z\n# end: z\n") == {"x", "y", "z"}


@pytest.mark.parametrize(
    ("page", "expected"),
    [
        ("see [the *page*](gone.md).\n", "see the *page*.\n"),
        ("see [here](kept.md#heading), [there](kept.md#gone)\n", "see [here](kept.md#heading), there\n"),
        ("[own](#gone), [own](#kept), [missing](missing.md)\n", "own, [own](#kept), [missing](missing.md)\n"),
        ("[a folder](../gone/), [a file](../kept/gone.md)\n", "a folder, [a file](../kept/gone.md)\n"),
        ("[out](https://example.com/gone.md)\n", "[out](https://example.com/gone.md)\n"),
        ("| `gone/` | x |\n| `kept.md` | in `gone/` |\n", "| `kept.md` | in `gone/` |\n"),
        ("```\n./scripts/gone  # x\n./kept\n```\n./scripts/gone\n", "```\n./kept\n```\n./scripts/gone\n"),
        ("```\ngone/   a\n  b/    c\n    d\nkept/  e\n```\n", "```\nkept/  e\n```\n"),
    ],
)
def test_without_paths(page: str, expected: str) -> None:
    """Links to what is gone become text; lines that begin with a path that is gone are removed."""
    gone = {"gone/", "docs/gone.md", "scripts/gone"}
    assert without_paths(page, "docs/page.md", gone, {"docs/kept.md#gone", "docs/page.md#gone"}) == expected
