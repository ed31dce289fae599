"""`retrain`: decide whether a model is trained again, for a pipeline."""

import os
import re
from argparse import ArgumentTypeError, Namespace
from contextlib import AbstractContextManager, ExitStack
from datetime import UTC, datetime
from typing import get_args

from model_loader.registry.ledger import read_ledger
from model_loader.registry.versions import choose
from model_loader.text_tables import printable
from monitor.commands.arguments import add_data, add_models, given_spool, opened_lake, opened_models
from monitor.commands.data import Add
from monitor.config import read_config
from monitor.database import Connection, open_database
from monitor.errors import MonitorError, TrainingRefused
from monitor.evidence import Evidence
from monitor.firing_alerts import firing_alerts
from monitor.retraining import Reason, Request, request_training


def add_commands(add: Add) -> None:
    """Add the command to the parser."""
    text = "decide whether to train again, record it in the ledger, and print train=true or train=false"
    retrain = add("retrain", run_retrain, text)
    add_data(retrain)
    add_models(retrain)
    retrain.add_argument(
        "--reason",
        choices=get_args(Reason),
        required=True,
        help="who asks; the rules of [retraining] are for alert and cadence, not for what people decided",
    )
    asking = retrain.add_mutually_exclusive_group()
    asking.add_argument("--alert", type=_alert, metavar="NAME", help="the alert that asks")
    asking.add_argument(
        "--prometheus",
        type=_url,
        metavar="URL",
        help='ask this server which alerts with the label retrain="yes" are firing; default: what captured '
        "data shows",
    )


def run_retrain(args: Namespace) -> int:
    """Run `retrain`."""
    if args.reason != "alert" and (args.alert or args.prometheus):
        raise MonitorError("--alert and --prometheus are for --reason alert")
    models, config, at = opened_models(args), read_config(args.config), args.at or datetime.now(UTC)
    name = choose(models, args.name or os.environ.get("MODEL_NAME"))
    alerts: tuple[str, ...] = (args.alert,) if args.alert else ()
    if args.prometheus:
        alerts = tuple(firing_alerts(args.prometheus, name))
        if not alerts:
            return _answer(f"{name}: no alert that asks for a training is firing", train=False)
    request = Request(args.reason, alerts)
    with ExitStack() as stack:
        evidence = Evidence(lambda: stack.enter_context(_database(args, name)), name, models, config, at)
        lines = [evidence.summary(read_ledger(models, name))] if args.reason == "cadence" else []
        try:
            granted = request_training(models, name, request, config.retraining, evidence, at)
        except TrainingRefused as exc:
            return _answer(f"{name}: asked by {request}, refused: {exc}", *lines, train=False)
    entry = granted.entry
    what = f"{name}/{entry.version} is trained again" if entry else f"{name} is trained for the first time"
    return _answer(
        f"{name}: asked by {entry.reason if entry else request}: {what}", granted.why, *lines, train=True
    )


def _database(args: Namespace, name: str) -> AbstractContextManager[Connection]:
    return open_database(opened_lake(args), [name], spool=given_spool(), memory=args.memory)


def _answer(*lines: str | None, train: bool) -> int:
    for line in filter(None, lines):
        print(printable(line))
    print(f"train={str(train).lower()}")
    return 0


def _alert(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z_]\w{0,99}", text, re.ASCII):
        raise ArgumentTypeError(f"expected the name of an alert, got {text!r:.40}")
    return text


def _url(text: str) -> str:
    if not re.fullmatch(r"https?://[A-Za-z0-9.\[\]:-]+(/[\w./-]*)?", text, re.ASCII):
        raise ArgumentTypeError("expected http://HOST:PORT or https://HOST, without user or query")
    return text.rstrip("/")
