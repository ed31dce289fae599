"""The command line: output, errors, exit codes and settings."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from model_loader.__main__ import build_parser
from model_loader.registry.versions import PublishedVersion
from tests.model_loader.command_line import ROOT, Loader, Snapshot, start
from tests.model_loader.drafts import write_draft

DIGEST = r"sha256:[0-9a-f]{64}"
FILES = r"FILE +BYTES\nmodel.onnx +150\nsamples.json +88\n"
TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"


def test_from_publish_to_rollback(draft: Path, store_url: str, loader: Loader) -> None:
    """Each command ends with a line about what it did; `check` and `publish` list the files before."""
    for command, line in (
        (("check", "draft"), rf"{FILES}draft can be published"),
        (("publish", "draft"), rf"{FILES}published tiny/1@{DIGEST} in {store_url}"),
        (("publish", "draft", "--reason", "more data"), rf"{FILES}published tiny/2@{DIGEST} in {store_url}"),
        (("pull",), rf"pulled tiny/2@{DIGEST} into model"),
        (("pull",), rf"model is tiny/2@{DIGEST} already"),
        (("verify",), rf"model is tiny/2@{DIGEST}, complete and unchanged"),
        (("promote", "1", "--stage", "production"), rf"tiny/1 is in production: promote by tester at {TIME}"),
        (
            ("promote", "latest", "--stage", "production"),
            rf"tiny/2 is in production: promote by .* at {TIME}",
        ),
        (("rollback", "--stage", "production"), rf"tiny/1 is in production: rollback by tester at {TIME}"),
        (("pull", "--version", "production"), rf"pulled tiny/1@{DIGEST} into model"),
        (("pull", "--locked"), rf"model is tiny/1@{DIGEST} already"),
        (
            ("withdraw", "2", "--reason", "leaks"),
            rf"tiny/2 is withdrawn: by tester at {TIME}; latest is now 1",
        ),
        (
            ("pull", "--version", "2"),
            rf"pulled tiny/2@{DIGEST} into model\nwarning: it was withdrawn by tester at {TIME}: leaks",
        ),
        (("publish", "--repair"), rf"nothing to repair for tiny in {store_url}"),
    ):
        result = loader(*command)
        assert (result.code, result.err) == (0, "")
        assert re.fullmatch(line + "\n", result.out), result.out


def test_history(draft: Path, store_url: str, loader: Loader) -> None:
    """The history is a table of who did what, when and why; the name of an only model can be omitted."""
    loader("publish", "draft", "--reason", "first try")
    loader("promote", "1", "--stage", "production")
    table = loader("history", "tiny").out
    assert re.fullmatch(
        r"TIME +ACTION +MODEL +STAGE +DIGEST +BY +REASON\n"
        rf"{TIME} +publish +tiny/1 +sha256:[0-9a-f]{{12}} +tester +first try\n"
        rf"{TIME} +promote +tiny/1 +production +sha256:[0-9a-f]{{12}} +tester\n",
        table,
    )
    assert loader("history").out == table
    entries = json.loads(loader("history", "tiny", "--json").out)
    assert [entry["action"] for entry in entries] == ["publish", "promote"]
    assert [entry.get("reason") for entry in entries] == ["first try", None]


def test_list(draft: Path, store_url: str, loader: Loader) -> None:
    """The list has every version of every model with its stages and metrics."""
    loader("publish", "draft")
    loader("publish", "draft", "--name", "other")
    loader("promote", "1", "--stage", "staging", "--name", "tiny")
    assert re.fullmatch(
        r"MODEL +CREATED +STATE +DIGEST +METRICS\n"
        rf"other/1 +{TIME} +sha256:[0-9a-f]{{12}} +accuracy 0.97, log_loss 0.1\n"
        rf"tiny/1 +{TIME} +staging +sha256:[0-9a-f]{{12}} +accuracy 0.97, log_loss 0.1\n",
        loader("list").out,
    )
    (row,) = json.loads(loader("list", "--name", "tiny", "--json").out)
    assert row["stages"] == ["staging"]
    assert row["metrics"] == {"accuracy": 0.97, "log_loss": 0.1}


def test_show(published: PublishedVersion, loader: Loader) -> None:
    """The manifest of a version is printed as it is in the store."""
    assert loader("show").out == f"{published}\n{published.text.decode()}"
    document = json.loads(loader("show", "1", "--json").out)
    assert document == {"digest": published.digest, "manifest": published.manifest.document}


@pytest.mark.parametrize(
    "command",
    [
        ("publish", "draft"),
        ("pull",),
        ("verify", "model"),
        ("list",),
        ("show",),
        ("promote", "latest", "--stage", "staging"),
        ("history",),
        ("gate",),
    ],
)
def test_json(pulled: Snapshot, loader: Loader, command: tuple[str, ...]) -> None:
    """With --json, stdout is one JSON document."""
    Path("gate.toml").write_text("[accuracy]\nmin = 0.9\n")
    result = loader(*command, "--json")
    assert result.code == 0
    assert "tiny" in json.dumps(json.loads(result.out)) or command == ("history",)
    assert not result.err


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (("pull",), "the store file:store has other, tiny: choose one with --name"),
        (("pull", "--name", "none"), "no version of none is published in the store file:store"),
        (("pull", "--name", "../tiny"), "expected the name of a model"),
        (
            ("pull", "--name", "tiny", "--version", "7"),
            "tiny/7 is not published in the store file:store; vers",
        ),
        (("verify",), "no model package in model: No such file or directory (manifest.json)"),
        (("verify", "draft"), "draft/manifest.json: expected 'schema' to be 1, got nothing"),
        (("publish", "nowhere"), "no directory nowhere"),
        (("pull", "--name", "tiny", "--lock", "nowhere/lock"), "nowhere/.lock"),
    ],
)
def test_failure(
    draft: Path, loader: Loader, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...], message: str
) -> None:
    """A failure prints one line to stderr that names the cause; the exit code is 1."""
    monkeypatch.setenv("MODEL_STORE", "file:store")
    assert loader("publish", "draft").code == 0
    assert loader("publish", "draft", "--name", "other").code == 0
    result = loader(*command)
    assert result.code == 1
    assert not result.out
    (line,) = result.err.splitlines()
    assert line.startswith("model_loader: ")
    assert message in line


@pytest.mark.parametrize(
    "command",
    [
        (),
        ("delete",),
        ("pull", "--locked", "--version", "1"),
        ("promote", "1"),
        ("promote", "1", "--stage", "canary"),
        ("rollback",),
        ("withdraw", "1"),
        ("publish",),
        ("publish", "draft", "--repair"),
        ("publish", "draft", "--parent", "none"),
        ("pull", "--versio", "1"),
        ("pull", "--storage", "https://account.blob.core.windows.net/models?sv=1&sig=secret"),
    ],
)
def test_usage(loader: Loader, command: tuple[str, ...]) -> None:
    """Wrong usage exits with 2 and prints the usage, without secrets from the command line."""
    result = loader(*command)
    assert result.code == 2
    assert result.err.startswith("usage: python -m model_loader")
    assert "secret" not in result.err


def test_help_has_every_command(loader: Loader) -> None:
    """The help lists every command, every setting and the exit codes."""
    result = loader("--help")
    assert result.code == 0
    commands = [
        "check",
        "publish",
        "pull",
        "verify",
        "list",
        "show",
        "promote",
        "rollback",
        "withdraw",
        "history",
        "gate",
    ]
    for word in (
        *commands,
        "MODEL_STORE",
        "MODEL_NAME",
        "MODEL_PUBLISHER",
        "MODEL_SIGN_KEY_PASSWORD",
        "MODEL_VERIFY_KEY",
        "AZURE_STORAGE_KEY",
        "exit codes",
    ):
        assert word in build_parser().format_help()
        assert word in result.out


def test_settings(draft: Path, loader: Loader, monkeypatch: pytest.MonkeyPatch) -> None:
    """Arguments take precedence over the environment; the default is the store in the repository."""
    assert "published tiny/1@" in loader("publish", "draft").out
    assert Path("model_store/tiny/1/manifest.json").is_file()
    loader("publish", "draft", "--name", "other")
    monkeypatch.setenv("MODEL_NAME", "other")
    assert "pulled other/1@" in loader("pull").out
    assert "pulled tiny/1@" in loader("pull", "--name", "tiny").out
    monkeypatch.setenv("MODEL_STORE", "file:elsewhere")
    assert "file:elsewhere" in loader("pull").err
    assert "pulled other/1@" in loader("pull", "--store", "file:model_store").out


def test_control_characters(draft: Path, loader: Loader) -> None:
    """A reason neither breaks the table of the history nor controls the terminal."""
    loader("publish", "draft", "--reason", "two\nlines \x1b[31mred")
    _, line = loader("history").out.splitlines()
    assert line.endswith(r"two\nlines \x1b[31mred")
    loader("withdraw", "1", "--reason", "\x1b[2J")
    assert r"\x1b[2J" in loader("withdraw", "1", "--reason", "again").err


@pytest.mark.parametrize(
    "command", [("list", "--name", "tinny"), ("history", "tinny"), ("publish", "--repair", "--name", "tinny")]
)
def test_unknown_name(command: tuple[str, ...], draft: Path, loader: Loader) -> None:
    """A name that the store does not have is an error, not an empty table or a healthy ledger."""
    loader("publish", "draft")
    done = loader(*command)
    assert (done.code, done.out) == (1, "")
    assert "the store file:model_store has no model tinny; it has tiny" in done.err


def test_module(draft: Path) -> None:
    """`python -m model_loader` runs the command line."""
    process = start("publish", str(draft))
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    assert "published tiny/1@sha256:" in out
    process = start("history", "tiny")
    assert process.communicate(timeout=60)[0].startswith("TIME")


@pytest.fixture
def _interruptible() -> Iterator[None]:
    """Restore the handler of SIGINT, which a shell disables for processes in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("_interruptible")
def test_interrupted() -> None:
    """Ctrl-C during a transfer prints one word and exits with 130, without a traceback."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        process = start("list", "--store", f"http://127.0.0.1:{port}/devstoreaccount1/models")
        connection, _ = server.accept()
        with connection:
            connection.recv(1)
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err) == (130, "", "model_loader: interrupted\n")


def test_imports(draft: Path, loader: Loader) -> None:
    """A pull from a directory imports neither Azure's packages nor ONNX Runtime, so it is fast."""
    loader("publish", "draft")
    code = "import sys; from model_loader.__main__ import main; main(['pull']); print(*sys.modules)"
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert time.monotonic() - started < 5
    assert not {name.split(".")[0] for name in done.stdout.split()} & {"azure", "onnxruntime", "numpy"}


def test_progress_on_a_terminal(draft: Path, loader: Loader) -> None:
    """On a terminal, a transfer prints each file and how much of it is done."""
    pty = pytest.importorskip("pty")
    write_draft(draft)
    master, slave = pty.openpty()
    process = start("publish", "draft", stderr=slave)
    process.communicate(timeout=60)
    os.close(slave)
    printed = os.read(master, 10_000).decode()
    os.close(master)
    assert re.search(r"\rmodel.onnx  0.0 of 0.0 MB\r?\n", printed)
