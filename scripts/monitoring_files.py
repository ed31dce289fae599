"""Print Prometheus's rules or Grafana's dashboard for the service in `service.toml`.

The files in `monitoring/` are written as if Prometheus had one service. Here every selector gets the
service's jobs, and every aggregation of a rule keeps the job, so that two services in one Prometheus neither
count each other's requests nor write the same series.

https://prometheus.io/docs/prometheus/latest/querying/basics/
"""

import json
import re
import sys
from argparse import ArgumentParser
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from model_loader.errors import ServiceFileError
from model_loader.package.service_file import ServiceFile, service
from scripts.names import substitute, token_values

MONITORING = Path(__file__).parents[1] / "monitoring"
RUNBOOK = "https://example.com/docs/operations.md#"
STRING = r"""(?:"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')"""
EXPRESSION = re.compile(
    rf"""
    (?P<skipped> {STRING} | \[[^]]*\] | \d[\w.]*(?:(?<=e)[+-]\d+)? )
    | \b(?P<clause> by | on | ignoring | without | group_left | group_right ) \s* \( (?P<labels> [^)]* ) \)
    | (?P<name> [A-Za-z_:][\w:]* )? (?P<matchers> \{{ (?: [^}}"'] | {STRING} )* \}} )
    | (?P<metric> [A-Za-z_:][\w:]* ) (?! [\w:]* \s* \( )
    | [A-Za-z_:][\w:]* \s* \(
    """,
    re.VERBOSE,
)
AGGREGATIONS = "sum min max avg group stddev stdvar count count_values bottomk topk quantile"
WORDS = {
    *AGGREGATIONS.split(),
    *["and", "or", "unless", "offset", "bool", "inf", "nan", "by", "without", "group_left", "group_right"],
}


def jobs(found: ServiceFile) -> str:
    """Return the matcher of the jobs that scrape the service and its monitor."""
    return f'job=~"{found.name}|{found.name}-monitor"'


def scope(expression: str, matcher: str, *, keep_job: bool) -> str:
    """Return a PromQL expression whose selectors have a matcher of the job.

    Args:
        keep_job: also keep the label `job` in aggregations.
    """

    def scoped(match: re.Match[str]) -> str:
        if match["clause"] == "by" and keep_job:
            labels = re.findall(r"\w+", match["labels"])
            return f"by ({', '.join(dict.fromkeys(['job', *labels]))})"
        if match["matchers"] and not re.search(r"\bjob\s*(=|!)", match["matchers"]):
            return f"{match['name'] or ''}{{{', '.join(filter(None, (matcher, match['matchers'][1:-1])))}}}"
        if match["metric"] and match["metric"].lower() not in WORDS:
            return f"{match['metric']}{{{matcher}}}"
        return match[0]

    return EXPRESSION.sub(scoped, expression)


def rules(found: ServiceFile, runbook: str) -> str:
    """Return the rules, with comments, for a service.

    Args:
        runbook: address of the runbook's alerts, in place of the placeholder.
    """
    path = MONITORING / "rules.yaml"
    text = substitute(path.read_text(), token_values(found), str(path))
    parts, end = [], 0
    for node in sorted(_expressions(yaml.compose(text)), key=lambda node: node.start_mark.index):
        start, last = node.start_mark.index, node.end_mark.index
        parts += [text[end:start], scope(text[start:last], jobs(found), keep_job=True)]
        end = last
    return "".join([*parts, text[end:]]).replace(RUNBOOK, runbook)


def _expressions(node: yaml.Node | None) -> Iterator[yaml.ScalarNode]:
    """Yield the values of the keys `expr`."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.value == "expr":
                yield value
            else:
                yield from _expressions(value)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from _expressions(item)


def dashboard(found: ServiceFile) -> str:
    """Return the dashboard for a service."""
    path = MONITORING / "dashboard.json"
    document = json.loads(substitute(path.read_text(), token_values(found), str(path)))
    for panel in document["panels"]:
        for target in panel.get("targets", []):
            target["expr"] = scope(target["expr"], jobs(found), keep_job=False)
    for variable in document["templating"]["list"]:
        if isinstance(variable["query"], dict):
            variable["query"]["query"] = _scoped_variable(variable["query"]["query"], jobs(found))
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _scoped_variable(query: str, matcher: str) -> str:
    """Return `label_values(SELECTOR, LABEL)` with a matcher of the job."""
    parts: Any = re.fullmatch(r"label_values\((.*), (\w+)\)", query)
    return f"label_values({scope(parts[1], matcher, keep_job=False)}, {parts[2]})"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return the exit code."""
    parser = ArgumentParser("monitoring_files", description=__doc__, allow_abbrev=False)
    parser.add_argument("file", choices=("rules", "dashboard"))
    parser.add_argument(
        "--runbook", default=RUNBOOK, metavar="PREFIX", help="address of the runbook's alerts"
    )
    args = parser.parse_args(argv)
    try:
        text = rules(service(), args.runbook) if args.file == "rules" else dashboard(service())
    except (ServiceFileError, ValueError) as exc:
        print(f"{args.file}: {exc}", file=sys.stderr)
        return 1
    sys.stdout.write(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
