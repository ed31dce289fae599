"""Check the files of the repository against .editorconfig, as editors apply it.

https://spec.editorconfig.org. It knows charset, end_of_line, indent_style, insert_final_newline and
trim_trailing_whitespace; patterns are names, paths with `*`, and one `{a,b}`.
"""

import argparse
import configparser
import fnmatch
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
CONFIG = ".editorconfig"
TRAILING = re.compile(r"[ \t]+$", re.MULTILINE)
Rules = dict[str, str]


def read_sections(root: Path) -> list[tuple[list[str], Rules]]:
    """Return the sections of .editorconfig in their order: the patterns of each, and its rules."""
    parser = configparser.ConfigParser(interpolation=None)
    preamble = "[preamble]\n"  # the parser needs a section for `root = true`
    parser.read_string(preamble + (root / CONFIG).read_text())
    return [(expand_braces(name), dict(parser[name])) for name in parser.sections()[1:]]


def expand_braces(pattern: str) -> list[str]:
    """Return the patterns that a pattern with one `{a,b}` stands for."""
    head, brace, rest = pattern.partition("{")
    if not brace:
        return [pattern]
    choices, _, tail = rest.partition("}")
    return [f"{head}{choice}{tail}" for choice in choices.split(",")]


def rules_for(path: str, sections: list[tuple[list[str], Rules]]) -> Rules:
    """Return the rules of a file. Later sections win; a pattern without a slash applies to the name."""
    rules: Rules = {}
    for patterns, section in sections:
        names = [path if "/" in pattern else Path(path).name for pattern in patterns]
        if any(map(fnmatch.fnmatchcase, names, patterns)):
            rules |= section
    return {key: value for key, value in rules.items() if value != "unset"}


def violations(data: bytes, rules: Rules) -> Iterator[str]:
    """Say what in a file breaks its rules."""
    if rules.get("charset") == "utf-8":
        try:
            data.decode()
        except UnicodeDecodeError as error:
            yield f"expected UTF-8, found byte {data[error.start]:#04x} at offset {error.start}"
            return
    text = data.decode("latin-1")
    if rules.get("end_of_line") == "lf" and "\r" in text:
        yield f"line {text[: text.index(chr(13))].count(chr(10)) + 1}: expected LF, found CR"
    if rules.get("trim_trailing_whitespace") == "true" and (found := TRAILING.search(text)):
        yield f"line {text[: found.start()].count(chr(10)) + 1}: ends with whitespace"
    if rules.get("indent_style") == "space" and (tab := re.search(r"^ *\t", text, re.MULTILINE)):
        yield f"line {text[: tab.start()].count(chr(10)) + 1}: expected spaces, found a tab"
    if rules.get("insert_final_newline") == "true" and text and not text.endswith("\n"):
        yield "expected a newline at the end"


def correct(data: bytes, rules: Rules) -> bytes:
    """Return a file with the line ends and whitespace that its rules ask for."""
    text = data.decode("latin-1")
    if rules.get("end_of_line") == "lf":
        text = text.replace("\r\n", "\n")
    if rules.get("trim_trailing_whitespace") == "true":
        text = TRAILING.sub("", text)
    if rules.get("insert_final_newline") == "true" and text and not text.endswith("\n"):
        text += "\n"
    return text.encode("latin-1")


def text_files(root: Path) -> Iterator[str]:
    """Return the repository's text files, also new ones; as in git, a NUL byte makes a file binary."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    for name in subprocess.check_output(command, cwd=root, text=True).split("\0"):  # noqa: S603
        path = root / name
        if name and path.is_file() and not path.is_symlink() and b"\0" not in path.read_bytes()[:8000]:
            yield name


def main(argv: Sequence[str] | None = None, root: Path = ROOT) -> int:
    """Print every violation; return 1 if there is one."""
    parser = argparse.ArgumentParser(prog="editorconfig", description=__doc__.partition("\n")[0])
    parser.add_argument("--fix", action="store_true", help="correct what can be corrected first")
    fix = parser.parse_args(argv).fix
    sections = read_sections(root)
    count = 0
    for name in text_files(root):
        path, rules = root / name, rules_for(name, sections)
        if fix and (corrected := correct(path.read_bytes(), rules)) != path.read_bytes():
            path.write_bytes(corrected)
        for violation in violations(path.read_bytes(), rules):
            print(f"{name}: {violation}", file=sys.stderr)
            count += 1
    return 1 if count else 0


if __name__ == "__main__":
    sys.exit(main())
