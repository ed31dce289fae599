"""`draft`."""

from argparse import Namespace
from pathlib import Path

from model_loader.commands.result import AddCommand, CommandResult


def add_commands(add: AddCommand) -> None:
    """Add `draft`."""
    parser = add("draft", _draft, "make the draft of a package from a model and data that it is evaluated on")
    parser.add_argument(
        "model", metavar="MODEL", type=Path, help="ONNX file, package, or MLflow model with an ONNX flavor"
    )
    parser.add_argument(
        "--data",
        metavar="FILE",
        type=Path,
        help="rows that the model was not trained on: CSV, Parquet, JSON Lines or .npz; "
        "default: the input example of an MLflow model",
    )
    parser.add_argument("--target", metavar="COLUMN", help="the column with the truth, for metrics")
    parser.add_argument("--name", required=True, help="name of the model")
    parser.add_argument("--out", required=True, metavar="DIR", type=Path, help="directory of the draft")
    parser.add_argument(
        "--predictions",
        metavar="FILE",
        type=Path,
        help="outputs of the training framework for the rows of the data, a column each",
    )
    parser.add_argument(
        "--features",
        metavar="COLUMN",
        nargs="+",
        help="columns of the model's only input, in its order; default: all but the target",
    )
    parser.add_argument(
        "--rtol", type=float, metavar="NUMBER", help="relative tolerance of the samples; default: 0.001"
    )
    parser.add_argument(
        "--atol",
        type=float,
        metavar="NUMBER",
        help="absolute tolerance of the samples; default: what float32 takes for the outputs' size",
    )


def _draft(args: Namespace) -> CommandResult:
    """Run `draft MODEL`."""
    # NumPy takes a while to load, and only this command needs it.
    from model_loader.drafting.draft import Options
    from model_loader.drafting.files import draft_file

    options = Options(args.name, args.out, args.target, args.rtol, args.atol)
    report = draft_file(args.model, args.data, options, predictions=args.predictions, features=args.features)
    return CommandResult(str(report), report.to_json())
