"""`forget`, `feedback`: rows are deleted, and labels are added from a file."""

from argparse import Namespace
from pathlib import Path

from model_loader.package.hashed_values import hash_value, read_hash_key
from monitor.commands.arguments import (
    add_data,
    add_models,
    chosen_model,
    given_spool,
    opened_lake,
    opened_models,
)
from monitor.commands.data import Add
from monitor.config import read_config
from monitor.feedback_file import import_feedback
from monitor.forget import forget


def add_commands(add: Add) -> None:
    """Add the commands to the parser."""
    text = "delete the rows of a key from every file, and verify that none is left"
    forgetting = add("forget", run_forget, text)
    add_data(forgetting)
    forgetting.add_argument(
        "--key",
        required=True,
        help="id of a prediction or request, a caller, or a value",
    )
    forgetting.add_argument(
        "--hash-key-file",
        metavar="FILE",
        type=Path,
        help="CAPTURE_HASH_KEY_FILE of the service, to find the value where only its hash is kept",
    )

    text = "add labels from a CSV or Parquet file, validated by the schema"
    feedback = add("feedback", run_feedback, text)
    add_data(feedback)
    add_models(feedback, has_time=False)
    feedback.add_argument("file", metavar="FILE", type=Path, help="columns: id, row, time, and metrics")
    feedback.add_argument("--version", type=int, help="version whose schema validates; default: the latest")


def run_forget(args: Namespace) -> int:
    """Run `forget`."""
    lake = opened_lake(args)
    models = [args.name] if args.name else lake.models()
    keys = [args.key]
    if args.hash_key_file:
        keys.append(hash_value(read_hash_key(args.hash_key_file), args.key))
    found = [forget(lake, models, key, given_spool()) for key in keys]
    deleted, files = sum(each.rows for each in found), sum(each.files for each in found)
    print(f"deleted {deleted} rows from {files} files; searched {found[-1].searched} files again: none left")
    return 0


def run_feedback(args: Namespace) -> int:
    """Run `feedback`."""
    lake = opened_lake(args)
    name = chosen_model(args, lake)
    config = read_config(args.config)
    count = import_feedback(lake, name, opened_models(args), config, args.file, args.version)
    print(f"added {count} labels of {name} to {lake.store.url}")
    return 0
