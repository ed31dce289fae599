"""The queries of docs/data.md run as they stand."""

import re
import tomllib
from datetime import UTC, datetime
from pathlib import Path

import pytest

from monitor.__main__ import build_parser
from monitor.config import parse_config
from monitor.database import open_database, rows
from monitor.exporter import HELP
from monitor.lake import Lake
from monitor.ship import ship_once
from tests.monitor.spool_writer import feedback, prediction, write_segment

PAGE = (Path(__file__).parents[2] / "docs/data.md").read_text()
QUERIES = re.findall(r"```sql\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def filled(file_lake: Lake, spool: Path) -> Lake:
    """A store with two predictions, a failure, and labels that contradict each other."""
    start = datetime(2026, 1, 2, tzinfo=UTC)
    failure = prediction("c", status=500, reason="model_error", inputs=None, outputs=None)
    write_segment(spool, "prediction", [prediction("a"), prediction("b"), failure], start=start)
    labels = [feedback("a", 0), feedback("b", 0), feedback("b", 1, time="2026-01-03T00:00:00Z")]
    write_segment(spool, "feedback", labels, start=start)
    assert ship_once(spool, file_lake.store).failure is None
    return file_lake


def test_ten() -> None:
    """There are ten queries."""
    assert len(QUERIES) == 10


@pytest.mark.parametrize("sql", QUERIES, ids=range(len(QUERIES)))
def test_query(filled: Lake, sql: str) -> None:
    """A query runs, and finds something."""
    with open_database(filled, ["wine"]) as connection:
        assert rows(connection, sql)


def test_accuracy(filled: Lake) -> None:
    """The query for the accuracy takes the last label."""
    with open_database(filled, ["wine"]) as connection:
        assert rows(connection, next(sql for sql in QUERIES if "AS accuracy" in sql)) == [(2, 2, 0.5)]


def test_configuration() -> None:
    """The example of monitor.toml is valid."""
    (example,) = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    assert parse_config(tomllib.loads(example)).target is not None


def test_commands_and_metrics() -> None:
    """Every command and every metric is described."""
    commands = re.findall(r"\{(.*?)\}|^    (\w+) ", build_parser().format_help(), re.MULTILINE)
    names = {name for _, name in commands if name}
    assert names >= {"ship", "forget"}
    for name in (*names, *HELP):
        assert f"`{name}" in PAGE, name
