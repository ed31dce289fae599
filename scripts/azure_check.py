"""Check the `az` commands of a script on stdin with the Azure CLI's own parser, without network access.

The parser checks the command, its arguments, their choices, and which of them are required.
"""

import re
import shlex
import sys
from collections import Counter
from collections.abc import Iterator

from azure.cli.core import AzCli, __version__, get_default_cli


def az_commands(script: str) -> Iterator[list[str]]:
    """Yield the arguments of every call of `az` in a shell script."""
    for line in script.splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars="()|<>&;")
        lexer.whitespace_split = True
        arguments: list[str] | None = None
        for word in [*lexer, ";"]:
            if word == "az" and not arguments:
                arguments = []
            elif re.fullmatch(r"[()|<>&;]+", word):
                if arguments and word.startswith(">") and arguments[-1] == "2":
                    arguments.pop()
                if arguments:
                    yield arguments
                arguments = None
            elif arguments is not None:
                arguments.append(word)


def parse_error(cli: AzCli, arguments: list[str]) -> str | None:
    """Return why the CLI rejects a command, or None."""
    # The same calls as in `az` itself, up to the point where it would run the command.
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
        return f"unknown command: {name}"
    loader.load_arguments(name)
    invocation.parser.load_command_table(loader)
    try:
        invocation.parser.parse_args(arguments)
    except SystemExit:
        return "rejected by the parser, see above"
    # The parser accepts abbreviated options; this check does not.
    known = {
        str(option)
        for argument in loader.command_table[name].arguments.values()
        for option in argument.options_list or []
    }
    known |= {"--output", "--query"}
    unknown = [argument for argument in arguments if argument.startswith("--") and argument not in known]
    return f"unknown options: {', '.join(unknown)}" if unknown else None


def main() -> None:
    """Check all commands and print the counts; exit with 1 if the CLI rejects one."""
    counts: Counter[str] = Counter()
    for arguments in az_commands(sys.stdin.read()):
        counts["commands"] += 1
        counts["arguments"] += sum(argument.startswith("--") for argument in arguments)
        if error := parse_error(get_default_cli(), arguments):
            counts["refused"] += 1
            print(f"{shlex.join(arguments)}: {error}", file=sys.stderr)
    summary = ", ".join(f"{counts[kind]} {kind}" for kind in ("commands", "arguments", "refused"))
    print(f"azure-cli {__version__}: {summary}")
    sys.exit(1 if counts["refused"] or not counts["commands"] else 0)


if __name__ == "__main__":
    main()
