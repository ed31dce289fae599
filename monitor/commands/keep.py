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
from monitor.errors import MonitorError
from monitor.feedback_file import import_feedback
from monitor.forget import MIN_KEY_CHARACTERS, forget, key_forms


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
    """Run `forget`.

    Raises:
        MonitorError: no row has the key, which is more often a wrong key than one that is forgotten already.
    """
    lake = opened_lake(args)
    models = [args.name] if args.name else lake.models()
    forms = key_forms(args.key)
    # The form of `7.000` is too short to be a key in plain text, where it would match too much.
    keys = {args.key, *(form for form in forms if len(form) >= MIN_KEY_CHARACTERS)}
    if args.hash_key_file:
        secret = read_hash_key(args.hash_key_file)
        keys |= {hash_value(secret, form) for form in forms}
    found = forget(lake, models, keys, given_spool())
    if not found.rows:
        advice = "" if args.hash_key_file else "; give --hash-key-file if only its hash is kept"
        raise MonitorError(
            f"nothing was deleted: no row has the key, in {found.searched} files of "
            f"{', '.join(models) or 'no model'}{advice}"
        )
    done = f"deleted {found.rows} rows from {found.files} files"
    print(f"{done}; searched {found.searched} files again: none left")
    return 0


def run_feedback(args: Namespace) -> int:
    """Run `feedback`."""
    lake = opened_lake(args)
    name = chosen_model(args, lake)
    config = read_config(args.config)
    count = import_feedback(lake, name, opened_models(args), config, args.file, args.version)
    print(f"added {count} labels of {name} to {lake.store.url}")
    return 0
