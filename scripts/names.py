"""Put the values of `service.toml` in place of the tokens in files, such as `$SERVICE`."""

import re
import sys
from argparse import ArgumentParser
from collections.abc import Mapping, Sequence
from pathlib import Path

from model_loader.errors import ServiceFileError
from model_loader.package.service_file import STAGES, TEMPLATE_VERSION, ServiceFile, service

# Not `$labels` of Prometheus, `$namespace` of Grafana, `$(NAME)` of Kubernetes or `${NAME}` of a shell.
# `$$NAME` stands for `$NAME` itself.
TOKEN = re.compile(r"\$(\$?)([A-Z]+(?:_[A-Z]+)*)")


def token_values(found: ServiceFile) -> dict[str, str]:
    """Return the values of the tokens."""
    return {
        "SERVICE": found.name,
        # Azure DevOps and Prometheus allow no hyphen and no dot in these names.
        "SERVICE_ID": found.name.replace("-", "_"),
        "LABEL_DOMAIN": found.label_domain,
        "LABEL_DOMAIN_ID": re.sub("[.-]", "_", found.label_domain),
        "ORGANIZATION": found.organization,
        "REGISTRY": found.registry,
        "PORT": str(found.port),
        "CONTACT": found.contact,
        "STAGING_NAMESPACE": found.namespaces.staging,
        "PRODUCTION_NAMESPACE": found.namespaces.production,
    }


def key_values(found: ServiceFile) -> dict[str, str]:
    """Return the values that `--get` prints, by their keys in `service.toml`."""
    keys = ("name", "organization", "label_domain", "registry", "port", "contact")
    return {
        **{key: str(getattr(found, key)) for key in keys},
        **{f"namespaces.{stage}": getattr(found.namespaces, stage) for stage in STAGES},
        "removed": " ".join(found.removed),
        "template_version": TEMPLATE_VERSION,
    }


def substitute(text: str, values: Mapping[str, str], source: str) -> str:
    """Return a text with values in place of its tokens.

    Raises:
        ValueError: the text has an unknown token.
    """

    def value(match: re.Match[str]) -> str:
        if match[1]:
            return match[0][1:]
        if match[2] not in values:
            line = text.count("\n", 0, match.start()) + 1
            known = ", ".join(f"${name}" for name in values)
            raise ValueError(f"{source}:{line}: unknown token {match[0]}; the tokens are {known}")
        return values[match[2]]

    return TOKEN.sub(value, text)


def named_text(path: Path) -> str:
    """Return the text of a file with the clone's values in place of its tokens.

    Raises:
        ServiceFileError: `service.toml` is invalid.
        ValueError: the file is not text, or has an unknown token.
        OSError: the file cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as exc:
        raise ValueError(f"{path} is not text in UTF-8") from exc
    return substitute(text, token_values(service()), str(path))


def write_into(directory: Path, paths: Sequence[Path]) -> None:
    """Write files, and all files below directories, with values in place of their tokens.

    Raises:
        ServiceFileError, ValueError, OSError: see `named_text`.
    """
    for path in paths:
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            target = directory / file.relative_to(path.parent)
            if not file.is_dir():
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text(named_text(file), encoding="utf-8")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return the exit code."""
    parser = ArgumentParser("names", description=__doc__, allow_abbrev=False)
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--get", metavar="KEY", help="print the value of a key instead")
    what.add_argument("--into", type=Path, metavar="DIRECTORY", help="write the files there")
    parser.add_argument("paths", nargs="*", type=Path, metavar="FILE", help="files to print")
    args = parser.parse_args(argv)
    if bool(args.paths) == (args.get is not None):
        parser.error("expected FILE…, or --get KEY")
    try:
        if args.get is not None:
            values = key_values(service())
            if args.get not in values:
                parser.error(f"unknown key {args.get}; the keys are {', '.join(values)}")
            print(values[args.get])
        elif args.into:
            write_into(args.into, args.paths)
        else:
            sys.stdout.write("".join([named_text(path) for path in args.paths]))
    except (ServiceFileError, OSError, ValueError) as exc:
        print(f"names: {exc}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
