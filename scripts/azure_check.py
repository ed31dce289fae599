"""Whether the Azure CLI knows every command of a script that is read from stdin; no network is needed.

Each is parsed by the CLI's own parser: the command, its arguments, their choices, and which are required.
"""

import re
import shlex
import sys
from collections import Counter
from collections.abc import Iterator

from azure.cli.core import AzCli, __version__, get_default_cli


def commands(script: str) -> Iterator[list[str]]:
    """The arguments of every call of `az` in a shell script."""
    for line in script.splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars="()|<>&;")
        lexer.whitespace_split = True
        arguments: list[str] | None = None
        for word in [*lexer, ";"]:
            if word == "az" and not arguments:
                arguments = []
            elif re.fullmatch(r"[()|<>&;]+", word):
                if arguments:
                    yield arguments
                arguments = None
            elif arguments is not None:
                arguments.append(word)


def fault(cli: AzCli, arguments: list[str]) -> str | None:
    """What the CLI has against a command, or None."""
    # As `az` itself goes about it, up to the point where it would run the command.
    invocation = cli.invocation_cls(
        cli_ctx=cli,
        parser_cls=cli.parser_cls,
        commands_loader_cls=cli.commands_loader_cls,
        help_cls=cli.help_cls,
    )
    cli.invocation = invocation
    loader = invocation.commands_loader
    loader.load_command_table(arguments)
    invocation.commands_loader.command_name = name = invocation._rudimentary_get_command(arguments)
    invocation.data["command_string"] = name
    if name not in loader.command_table:
        return f"there is no such command: {name}"
    loader.load_arguments(name)
    invocation.parser.load_command_table(loader)
    try:
        invocation.parser.parse_args(arguments)
    except SystemExit:
        return "refused, see above"
    # The parser would take an option's beginning for the option.
    known = {
        str(option)
        for argument in loader.command_table[name].arguments.values()
        for option in argument.options_list or []
    }
    known |= {"--output", "--query"}
    unknown = [argument for argument in arguments if argument.startswith("--") and argument not in known]
    return f"unknown: {', '.join(unknown)}" if unknown else None


def main() -> None:
    """Exit code 1 if the CLI would refuse a command; the last line has the counts."""
    counts: Counter[str] = Counter()
    for arguments in commands(sys.stdin.read()):
        counts["commands"] += 1
        counts["arguments"] += sum(argument.startswith("--") for argument in arguments)
        if found := fault(get_default_cli(), arguments):
            counts["refused"] += 1
            print(f"{shlex.join(arguments)}: {found}", file=sys.stderr)
    what = ", ".join(f"{counts[kind]} {kind}" for kind in ("commands", "arguments", "refused"))
    print(f"azure-cli {__version__}: {what}")
    sys.exit(1 if counts["refused"] or not counts["commands"] else 0)


if __name__ == "__main__":
    main()
