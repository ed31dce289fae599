"""Remove the lines that belong to a part from the files that stay.

A comment marks them. At the end of a line it marks that line: `import x  # part: NAME`. On lines of their
own, `# part: NAME` and `# end: NAME` enclose a block. A comment that names several parts marks what needs all
of them, and goes with the first. Markdown and HTML write `<!-- part: NAME -->`, JavaScript `// part: NAME`,
style sheets `/* part: NAME */`.

In Markdown some references to a part need no mark: a link to a file that is gone becomes its text, and lines
of a table or of a code block that begin with a path that is gone are removed, in a code block with the lines
below that have more indentation.
"""

import re
from collections.abc import Collection
from os.path import normpath
from pathlib import Path

OPENING, CLOSING = r"(?:#|//|<!--|/\*) ", r"(?: -->| \*/)?"
NAMES = r"([a-z0-9_]+(?:, [a-z0-9_]+)*)"
LINE = re.compile(rf"\s*\S.*?\s{OPENING}part: {NAMES}{CLOSING}[ |]*$")
BEGIN = re.compile(rf"\s*{OPENING}part: {NAMES}{CLOSING}$")
END = re.compile(rf"\s*{OPENING}end: {NAMES}{CLOSING}$")
LINK = re.compile(r"(?<!!)\[((?:[^\[\]]|\[[^\]]*\])*)\]\((?!https?://)([^)\s#]*)(#[^)\s]*)?\)")
TABLE_PATH = re.compile(r"\| `(?:\./)?([^`\s]+)")
CODE_PATH = re.compile(r"\s*(?:\./)?([\w./-]+)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


class MarkerError(Exception):
    """A marker has no counterpart."""


def names_in(text: str) -> set[str]:
    """Return the parts that the markers of a file name."""
    found: set[str] = set()
    for line in text.splitlines() if "part: " in text else ():
        if match := BEGIN.match(line) or LINE.match(line):
            found |= set(match[1].split(", "))
    return found


def without_parts(text: str, gone: Collection[str]) -> str:
    """Return a file without the lines that are marked with one of the parts.

    Raises:
        MarkerError: a block does not end, or ends without a beginning.
    """
    if "part: " not in text and "end: " not in text:
        return text
    kept: list[str] = []
    blocks: list[str] = []  # the names of the blocks around the line, innermost last
    removed_since = False
    for number, line in enumerate(text.splitlines(keepends=True), 1):
        bare = line.rstrip("\n")
        if end := END.match(bare):
            if not blocks or blocks[-1] != end[1]:
                raise MarkerError(f"line {number}: the end of {end[1]!r}, expected {blocks[-1:] or 'none'}")
            blocks.pop()
            if _is_gone(end[1], gone) or any(_is_gone(names, gone) for names in blocks):
                removed_since = True
                continue
        elif begin := BEGIN.match(bare):
            blocks.append(begin[1])
        if any(_is_gone(names, gone) for names in blocks):
            removed_since = True
            continue
        if (match := LINE.match(bare)) and _is_gone(match[1], gone):
            removed_since = True
            continue
        # What is left of two paragraphs is separated by one empty line, as before.
        if removed_since and not bare and (not kept or not kept[-1].strip()):
            continue
        removed_since = False
        kept.append(line)
    if blocks:
        raise MarkerError(f"no end of {blocks[-1]!r}")
    if removed_since:
        while kept and not kept[-1].strip():
            kept.pop()
    return "".join(kept)


def without_paths(page: str, path: str, gone: Collection[str], lost: Collection[str] = ()) -> str:
    """Return a page of Markdown without what refers to paths that are gone.

    Args:
        path: of the page, relative to the root.
        gone: paths that were removed, relative to the root; directories end with a slash.
        lost: headings that were removed, as `path#anchor`.
    """
    lines: list[str] = []
    in_code, below = False, -1  # below: lines of a code block with more indentation go too
    for line in page.splitlines(keepends=True):
        in_code ^= line.lstrip().startswith("```")
        indentation = len(line) - len(line.lstrip())
        if in_code and 0 <= below < indentation:
            continue
        first = (CODE_PATH if in_code else TABLE_PATH).match(line)
        below = indentation if in_code and first and first[1] in gone else -1
        if not (first and first[1] in gone):
            lines.append(line)

    def unlink(match: re.Match[str]) -> str:
        target = normpath(Path(path).parent / match[2]) if match[2] else path
        is_lost = f"{target}{match[3]}" in lost or not {target, f"{target}/"}.isdisjoint(gone)
        return match[1] if is_lost else match[0]

    return LINK.sub(unlink, "".join(lines))


def anchors(text: str) -> set[str]:
    """Return the anchors of a page's headings."""
    return {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in HEADING.findall(text)}


def _is_gone(names: str, gone: Collection[str]) -> bool:
    return any(name in gone for name in names.split(", "))
