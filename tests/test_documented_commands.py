"""Every command in the documents is accepted by its own program, and the files that it names exist.

Nothing is run: a program ends as soon as its parser has accepted the arguments.
"""

import argparse
import importlib
import re
import shlex
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, takewhile
from pathlib import Path
from typing import Any

import pytest

from scripts import docs
from scripts.part_tree import read_removed
from tests.frameworks import framework

ROOT = docs.ROOT
PAGES = (*docs.PAGES, *sorted(ROOT.glob("[!.]*/README.md")))
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
ASSIGNMENT = re.compile(r"\w+=")
# A line with a command that is checked; drawings and output have none.
LINE = re.compile(r"(?:^|&& |; |\| )(?:\w+=\S* )*(?:\./scripts/|python -m |pip install |cp )")
# A command in the text, often without its arguments.
MENTION = re.compile(r"(?:\w+=\S* )*((?:\./)?scripts/\w+|python -m [\w.]+)( .*)?")
# The line of a script that passes its arguments to a module: the module, and what comes before the arguments.
PASSED_ON = re.compile(r'python"? -m (\S+)((?: [\w-]+)*)(?: "\$(?:@|\{\w+\[@\]\})")+$', re.MULTILINE)
# These list scripts with what they are for, without arguments.
LISTS = {"README.md": ("Develop", "Operate")}
# What parsers refuse: placeholder → a value.
VALUES = {"REGISTRY/demo@sha256:…": f"registry.example.com/demo@sha256:{'0' * 64}"}
# Paths that commands name: below a directory, or a list of requirements.
PATH = re.compile(r"(?:file:)?([a-z][\w.-]*/[\w./-]*|[\w-]+\.txt)")
# What commands make, and what stands for files of the reader, and for a model's version.
NOT_IN_REPOSITORY = re.compile(r"(build|captured|model|model\.optimized|path/to|rows|scores)/|\w+/\d+$")


class Accepted(Exception):
    """The parser has accepted the arguments."""


@dataclass(frozen=True)
class Command:
    """A command of a page.

    Attributes:
        page: path, relative to the root.
        words: program and arguments, without assignments and redirections.
        values: values of the assignments.
    """

    page: str
    words: tuple[str, ...]
    values: tuple[str, ...] = ()


def commands(page: Path) -> Iterator[Command]:
    """Yield the commands of a page."""
    name = page.relative_to(ROOT).as_posix()
    for section in re.split(r"^## ", page.read_text(), flags=re.MULTILINE):
        if section.partition("\n")[0] in LISTS.get(name, ()):
            continue
        for language, block in BLOCK.findall(section):
            for line in block.replace("\\\n", " ").splitlines():
                if language in ("", "sh") and LINE.search(line):
                    yield from split(name, line)


def split(page: str, line: str) -> Iterator[Command]:
    """Yield the commands of a line, which `&&`, `;` and `|` separate."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars="&;|")
    lexer.whitespace_split = True
    for is_separator, group in groupby(lexer, lambda word: set(word) <= set("&;|")):
        if is_separator:
            continue
        words = [word for word in group if not word.startswith(">")]
        values = []
        while words and ASSIGNMENT.match(words[0]):
            values.append(words.pop(0).partition("=")[2])
        yield Command(page, tuple(words), tuple(values))


OURS = [
    command
    for page in PAGES
    for command in commands(page)
    if command.words[0] == "python" or command.words[0].startswith("./scripts/")
]


@pytest.fixture
def only_parse(monkeypatch: pytest.MonkeyPatch) -> None:
    """Raise `Accepted` after a parser has accepted its arguments."""
    parse_args = argparse.ArgumentParser.parse_args

    def parse(parser: argparse.ArgumentParser, *args: Any, **options: Any) -> None:
        parse_args(parser, *args, **options)
        raise Accepted

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse)


def program_path(words: Sequence[str]) -> Path:
    """Return the path of the script, module or package that a command runs."""
    if words[0] != "python":
        return ROOT / words[0]
    path = ROOT / words[2].replace(".", "/")
    return path if path.is_dir() else path.with_suffix(".py")


def find_main(module: str) -> Callable[[Sequence[str]], object] | None:
    """Return the function `main` of a module or package of the repository; None for another's.

    Without a framework that the module imports, skip the test, or fail it in CI.
    """
    path = ROOT / module.replace(".", "/")
    if path.is_dir():
        module += ".__main__"
    elif not path.with_suffix(".py").exists():
        return None
    try:
        main: Callable[[Sequence[str]], object] = importlib.import_module(module).main
    except ModuleNotFoundError as exc:
        framework(str(exc.name))
        raise
    return main


def resolve(words: Sequence[str]) -> tuple[Callable[[Sequence[str]], object] | None, list[str]]:
    """Return the function that parses the arguments of a command, or None, and the arguments."""
    if words[0] == "python":
        return find_main(words[2]), [*words[3:]]
    script = (ROOT / words[0]).read_text()
    if passed_on := PASSED_ON.search(script):
        module = passed_on[1].strip('"')
        if module.startswith("$"):
            module = re.findall(rf"^{module[1:]}=(\S+)", script, re.MULTILINE)[0]
        return find_main(module), [*passed_on[2].split(), *words[1:]]
    return None, [*words[1:]]


def check(words: Sequence[str]) -> None:
    """Assert that the program of a command accepts its arguments."""
    main, arguments = resolve(words)
    if main is None:
        script = (ROOT / words[0]).read_text()
        for option in (word.partition("=")[0] for word in arguments if word.startswith("-")):
            assert re.search(rf"(?<![\w-]){option}(?![\w-])", script), option
        return
    try:
        main(arguments)
    except Accepted:
        return
    except SystemExit:
        raise AssertionError(f"{' '.join(words)}: its parser refuses the arguments") from None
    raise AssertionError(f"{' '.join(words)}: it has no parser")


def test_found() -> None:
    """The pages have commands of scripts and of modules."""
    assert len(OURS) > 50
    assert {"python", "./scripts/serve"} <= {command.words[0] for command in OURS}


@pytest.mark.parametrize(
    "command", OURS, ids=lambda command: f"{command.page}-{' '.join(command.words)[:60]}"
)
def test_accepted(command: Command, only_parse: None) -> None:
    """The program knows the options and gets the arguments that it needs."""
    check([VALUES.get(word, word) for word in command.words])


@pytest.mark.parametrize(
    "line",
    [
        "./scripts/monitor quality --jsn",  # part: monitor
        "./scripts/monitor snapshot --since 28d",  # part: monitor
        "./scripts/build --lock",
        "python -m model_loader publish",
        "python -m training.train --champions build/champion",  # part: training
    ],
)
def test_refused(line: str, only_parse: None) -> None:
    """An unknown option and a missing argument are found."""
    (command,) = split("page.md", line)
    with pytest.raises(AssertionError):
        check(command.words)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_mentioned(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Commands in the text exist, and their options are in the program's help or in the script."""
    for span in re.findall(r"`([^`]+)`", BLOCK.sub("", page.read_text())):
        mention = MENTION.fullmatch(" ".join(span.split()))
        if not mention:
            continue
        words = [*mention[1].split(), *shlex.split(mention[2] or "")]
        # The text may name what a clone has removed.
        if read_removed(ROOT) and not program_path(words).exists():
            continue
        main, arguments = resolve(words)
        if main is None:
            text = (ROOT / words[0]).read_text()
        else:
            subcommands = takewhile(re.compile(r"[a-z][a-z-]*").fullmatch, arguments)
            with pytest.raises(SystemExit, match="0"):
                main([*subcommands, "--help"])
            text = capsys.readouterr().out
        for option in filter(re.compile(r"--[a-z-]+").fullmatch, arguments):
            # Options after "$@" are those of another program.
            assert option in text or (main is None and '"$@"' in text), span


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_paths(page: Path) -> None:
    """Every path that a command names exists, unless a command makes it or it is the reader's."""
    for command in commands(page):
        for word in (*command.values, *command.words[1:]):
            path = PATH.fullmatch(word.rpartition("=")[2])
            if path and not NOT_IN_REPOSITORY.match(path[1]):
                assert (ROOT / path[1]).exists(), command
