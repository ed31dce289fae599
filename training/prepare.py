"""The data for a training: checked, combined, and reported on, before anything is fitted."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from model_loader.package import read_json
from model_loader.package.schema import Schema, parse_schema
from training.checks import (
    Check,
    check_columns,
    check_freshness,
    check_leakage,
    check_repeated,
    check_rows,
    refuse_failed,
)
from training.data import Data, columns_of, combine
from training.report import EVALUATION_FILE, write_report
from training.snapshots import SnapshotRows

# The data contract of the model to be trained, which its package gets.
SCHEMA_PATH = Path(__file__).with_name("schema.json")


def checked(
    sample: Data, sample_held_out: Data, snapshots: Sequence[SnapshotRows], report: Path
) -> tuple[Data, Data]:
    """Check all data, write the report, and return the rows for training and the held-out ones.

    Args:
        sample: its rows for training.
        report: directory of the reports; those of an earlier training are removed or overwritten.

    Raises:
        DataError: the data was refused; the report says why.
    """
    (report / EVALUATION_FILE).unlink(missing_ok=True)
    schema = parse_schema(read_json(SCHEMA_PATH), str(SCHEMA_PATH))
    checks, about = _check_each(sample, sample_held_out, snapshots, schema)
    if not all(check.passed for check in checks):
        # Columns that are wrong cannot be combined.
        write_report(report, checks, about)
        refuse_failed(checks)
    training, held_out = sample, sample_held_out
    if snapshots:
        combined = combine(sample, snapshots)
        training, held_out = combined.training, combined.held_out
        rows = len(training.x) - len(sample.x) + combined.repeated
        checks.append(check_repeated("the snapshots", combined.repeated, rows))
        about["repeated"] = combined.repeated
    checks.append(check_rows("held-out rows", len(held_out.x)))
    checks += check_leakage("rows for training", training.features, training.x, training.y)
    write_report(report, checks, about | {"rows": len(training.x), "held_out": len(held_out.x)})
    refuse_failed(checks)
    return training, held_out


def _check_each(
    sample: Data, sample_held_out: Data, snapshots: Sequence[SnapshotRows], schema: Schema
) -> tuple[list[Check], dict[str, Any]]:
    """Check the columns of each source, and return what the report says of these."""
    checks = check_columns("the sample", columns_of(sample), schema)
    checks += check_columns("the held-out sample", columns_of(sample_held_out), schema)
    about: dict[str, Any] = {"sample": len(sample.x)}
    for each in snapshots:
        for part, columns in (("train", each.train), ("test", each.test)):
            checks += check_columns(f"{part} of snapshot {each.snapshot.directory}", columns, schema)
        about[f"snapshot {each.snapshot.directory}"] = each.snapshot.digest
    if snapshots:
        newest = max(int(each.test["time"].max()) for each in snapshots)
        time = datetime.fromtimestamp(newest / 1e6, UTC)
        checks.append(check_freshness("the snapshots", time, datetime.now(UTC)))
    return checks, about
