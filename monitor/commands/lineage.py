"""`lineage`: from a prediction, a version, a digest, an image or a release to everything."""

import json
import os
from argparse import Namespace
from contextlib import ExitStack
from pathlib import Path

from model_loader.errors import LoaderError
from model_loader.store.atomic import atomic_write
from monitor.commands.arguments import (
    add_data,
    add_models,
    date_argument,
    given_spool,
    known_models,
    opened_lake,
    opened_models,
)
from monitor.commands.data import Add
from monitor.database import open_database
from monitor.errors import MonitorError
from monitor.lineage import (
    LOG_FILE,
    Sources,
    find_subject,
    read_releases,
    render_page,
    to_json,
    to_text,
    trace,
)


def add_commands(add: Add) -> None:
    """Add the command to the parser."""
    text = (
        "follow a prediction, version, digest, image or release to everything; exit code 1: a link is "
        "broken, 3: a source is unavailable"
    )
    lineage = add("lineage", run_lineage, text)
    lineage.add_argument(
        "query",
        metavar="ID|DIGEST|VERSION|IMAGE|RELEASE",
        help="an id of a response; sha256:…; 2, wine/2, latest or a stage; REPOSITORY@sha256:…; a commit",
    )
    add_data(lineage)
    add_models(lineage, has_config=False)
    lineage.add_argument("--since", type=date_argument, help="first day of the captured data; default: all")
    lineage.add_argument("--json", action="store_true", help="print JSON")
    lineage.add_argument("--html", type=Path, metavar="FILE", help="write a page too")
    lineage.add_argument(
        "--releases",
        type=Path,
        default=LOG_FILE,
        metavar="FILE",
        help="in the clone that also has the commits; default: releases.jsonl",
    )
    lineage.add_argument(
        "--snapshots", type=Path, metavar="DIR", help="directory that has a directory for each snapshot"
    )
    lineage.add_argument(
        "--sbom",
        type=Path,
        metavar="FILE",
        help="bill of materials; default: the last build's, if it is of this model",
    )
    lineage.add_argument(
        "--verify-key",
        type=Path,
        metavar="FILE",
        help="public key of the model's signature; default: MODEL_VERIFY_KEY, or model.pub",
    )


def run_lineage(args: Namespace) -> int:
    """Run `lineage`."""
    models = opened_models(args)
    releases = read_releases(args.releases)
    name = args.name or os.environ.get("MODEL_NAME")
    subject = find_subject(args.query, models, name, releases)
    with ExitStack() as stack:
        connection, failure = None, ""
        try:
            lake = opened_lake(args)
            names = [subject.name] if subject.name else [name] if name else known_models(lake)
            connection = stack.enter_context(
                open_database(lake, names, spool=given_spool(), since=args.since or "", memory=args.memory)
            )
        except (MonitorError, LoaderError) as exc:
            if subject.id:
                raise
            failure = str(exc)
        sources = Sources(
            models, connection, failure, args.releases, tuple(releases), args.snapshots, args.sbom,
            args.verify_key,
        )  # fmt: skip
        found = trace(args.query, subject, sources)
    print(json.dumps(to_json(found), indent=2, ensure_ascii=False) if args.json else to_text(found))
    if args.html:
        with atomic_write(args.html) as file:
            file.write(render_page(found).encode())
    return found.exit_code
