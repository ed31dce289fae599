"""`scripts/azure_setup`: a dry run prints the commands, a run executes them, another run creates nothing.

`az` and `gh` are replaced by a program that records its arguments. `scripts/azure_check` verifies that the
real `az` accepts every command and argument.
"""

import ast
import json
import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.deploy.clones import WINE, write_clone
from tests.deploy.conftest import ROOT
from tests.deploy.dry_run import body, dry_run, option, words

ARGUMENTS = ["demo", "westeurope", "example", "shop"]
# The content of the key does not matter here.
KEY = ROOT / "model.lock"
OPTIONS = ["--github", "example/shop", "--model-key", str(KEY)]
# The signature in the relay's callback URL, the only secret that the script handles.
SIGNATURE = "c2lnbmF0dXJl"
FAKE = f"""#!{sys.executable} -IS
# It runs hundreds of times: importing json and pathlib would take longer than all that it does.
import os, sys
state, arguments = os.environ["STATE"], [os.path.basename(sys.argv[0]), *sys.argv[1:]]
with open(state + "/calls", "a") as calls:
    print(ascii(arguments), file=calls)
option = dict(zip(arguments, arguments[1:]))
words = " ".join(arguments[1:]).partition(" --")[0]
body, url = option.get("--body", ""), option.get("--url", "")

def key(name):
    return state + "/made-" + "".join(c if c.isalnum() else "-" for c in name)[:150]

def exists(path):
    return os.path.exists(path)

def touch(path):
    open(path, "a").close()

made = key(words.replace(" show", " create"))
if words in ("acr show", "keyvault show", "keyvault certificate show", "aks show") and not exists(made):
    sys.exit(3)
if words == "role assignment create" and exists(state + "/problem"):
    print(open(state + "/problem").read(), file=sys.stderr)
    os.remove(state + "/problem")
    sys.exit(1)
if words.endswith(" create"):
    touch(made)
if arguments[0] == "gh":
    path = next(each for each in arguments if each.startswith("repos/"))
    if option.get("--method"):
        touch(key(path))
    elif "--jq" in arguments:
        print(int("==" in option["--jq"] and exists(key(path))))
    else:
        sys.exit(0 if exists(key(path)) else 1)
    sys.exit(0)
if body == "@-":
    open(state + "/stdin", "w").write(sys.stdin.read())
elif body.startswith("@"):
    touch(key("securefiles"))
elif body and option.get("--method") == "post":
    import json
    document = json.loads(body)
    kind = document.get("type")
    kind = kind["id"] if isinstance(kind, dict) else ""
    kind = document.get("settings", {{}}).get("definitionRef", {{}}).get("id", kind)
    resource = document.get("resource", {{}}).get("id", "")
    touch(key(url.partition("?")[0].rpartition("/")[2] + resource + kind + document.get("name", "")))
query = option.get("--query")
if query in ("count", "length(value)") or (query or "").startswith("length(value[?"):
    last = url.partition("?")[0].rpartition("/")[2]
    asked = dict(pair.split("=") for pair in url.partition("?")[2].split("&"))
    quoted = query.split("'")[1] if "'" in query else asked.get("policyType", "")
    name = last + asked.get("resourceId", "") + quoted + asked.get("endpointNames", "")
    print(int(exists(key(name))))
elif query == "exitCode":
    print(os.environ.get("EXIT_CODE", "0"))
elif (query or "").startswith("length("):
    print(0)
elif query == "accessLevel.accountLicenseType":
    if not exists(key("serviceprincipalentitlements")):
        sys.exit(1)
    print("express")
elif query and query.endswith(".id | [0]"):
    print(len(query))
elif query == "value[0].id":
    name = url.partition("endpointNames=")[2] or url.partition("namePattern=")[2]
    print("id-of-" + name.partition("&")[0])
elif words == "group exists":
    print(os.environ.get("GROUP_EXISTS", "true"))
elif "listCallbackUrl" in url:
    print("https://relay.example.com/run?sp=%2Ftriggers&sig={SIGNATURE}")
elif query:
    print(query.rpartition(".")[2] + "-of-" + option.get("--name", "account"))
"""


def install_fakes(path: Path) -> Path:
    """Write the fake `az` and `gh` into a directory, where they also keep their records."""
    for name, text in {"az": FAKE, "gh": FAKE, "sleep": "#!/bin/sh\n"}.items():
        (path / name).write_text(text)
        (path / name).chmod(0o755)
    return path


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """The directory of the fakes for an empty subscription."""
    return install_fakes(tmp_path)


def environ_of(state: Path) -> dict[str, str]:
    """Return the environment in which the fakes are found."""
    return os.environ | {"PATH": f"{state}:{os.environ['PATH']}", "STATE": str(state)}


def setup(state: Path, *args: str, stdin: str = "", **environ: str) -> "subprocess.CompletedProcess[str]":
    """Run the script with the fakes."""
    return subprocess.run(
        [ROOT / "scripts/azure_setup", *args],
        env=environ_of(state) | environ,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=300,
    )


def calls(state: Path) -> list[list[str]]:
    """Return the arguments of each call of a fake since the last call of this function."""
    file = state / "calls"
    lines = file.read_text().splitlines() if file.exists() else []
    file.unlink(missing_ok=True)
    return [ast.literal_eval(line) for line in lines]


def without_output(call: list[str]) -> list[str]:
    """Return a call without `--output`, which a dry run does not print for commands that print nothing."""
    at = call.index("--output") if "--output" in call else len(call)
    return call[:at] + call[at + 2 :]


@dataclass
class Run:
    """A run of the script on an empty subscription."""

    state: Path
    printed: str
    calls: list[list[str]]


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The first run, which creates everything."""
    state = install_fakes(tmp_path_factory.mktemp("subscription"))
    done = setup(state, *OPTIONS, *ARGUMENTS)
    assert done.returncode == 0, done.stderr
    return Run(state, done.stdout + done.stderr, calls(state))


def test_dry_run(state: Path) -> None:
    """The dry run prints the same commands each time, and calls nothing."""
    first, second = (setup(state, "--dry-run", *OPTIONS, *ARGUMENTS) for _ in range(2))
    assert first.returncode == second.returncode == 0
    assert first.stdout == second.stdout
    assert first.stderr == ""
    assert calls(state) == []


def test_run_equals_dry_run(first: Run, state: Path) -> None:
    """The script and what its dry run prints, run by a shell, make the same calls in the same order."""
    script = setup(state, "--dry-run", *OPTIONS, *ARGUMENTS).stdout
    subprocess.run(
        ["bash", "-euo", "pipefail"],
        env=environ_of(state),
        input=script,
        text=True,
        check=True,
        timeout=300,
        cwd=ROOT,
    )
    ran, printed = ([without_output(call) for call in found] for found in (first.calls, calls(state)))
    # The two calls of the pipe run at the same time.
    piped = [call for call in ran if "listCallbackUrl" in str(call) or "@-" in call]
    assert len(piped) == 2
    assert all(call in printed for call in piped)
    assert [call for call in ran if call not in piped] == [call for call in printed if call not in piped]


def test_values(first: Run) -> None:
    """The run ends with the values to put into the pipelines, and with what remains for a person."""
    values = first.printed.partition("# Values for the pipelines\n")[2]
    for line in (
        "modelStore: https://demo.blob.core.windows.net/models",
        "signingKey: kid-of-images",
        "AZURE_CLIENT_ID_RECORD: clientId-of-demo-record",
        "add approvers to the service connection demo-production",
        "publish a first model",
    ):
        assert line in values


def test_no_secret(first: Run) -> None:
    """No secret is created, printed or passed as an argument; the relay's signed URL goes through a pipe."""
    dry = setup(first.state, "--dry-run", *ARGUMENTS).stdout
    commands = "\n".join(shlex.join(call) for call in first.calls)
    for text in (dry, commands, first.printed):
        assert not re.search(r"password|credential reset|account-key|connection-string|keys list|sig=", text)
        assert SIGNATURE not in text
    event = json.loads((first.state / "stdin").read_text())["properties"]
    assert event["destination"]["properties"]["endpointUrl"].endswith(f"%2Ftriggers&sig={SIGNATURE}")
    assert event["filter"]["subjectEndsWith"] == "/manifest.json"


def test_second_run(first: Run) -> None:
    """A second run does not repeat commands that would fail or change an existing resource."""
    done = setup(first.state, *OPTIONS, *ARGUMENTS)
    assert done.returncode == 0, done.stderr
    second = calls(first.state)
    once_only = {"acr create", "keyvault create", "keyvault certificate create", "aks create"}
    assert once_only <= {words(call) for call in first.calls}
    assert not once_only & {words(call) for call in second}

    def created(run: list[list[str]]) -> set[str]:
        posts = [call for call in run if option(call, "--method").lower() in ("post", "put")]
        return {option(call, "--url").partition("?")[0].rpartition("/")[2] for call in posts}

    # What remains is idempotent: it looks an identity up, and writes permissions and the subscription.
    repeated = {
        "serviceprincipals",
        "2e9eb7ed-3c0a-47d4-87c1-0ffdd275fd87",
        "listCallbackUrl",
        "model-published",
    }
    added = {"pipelines", "configurations", "endpoints", "securefiles", "serviceprincipalentitlements", ""}
    assert created(first.calls) == repeated | added
    assert created(second) == repeated


def test_second_service(tmp_path: Path) -> None:
    """Two services in one subscription, project and cluster have no name in common."""

    def names(*args: str, root: Path = ROOT) -> set[str]:
        found = set()
        for call in dry_run(*args, "westeurope", "example", "shop", root=root):
            document = body(call)
            if "create" in words(call) and "role assignment" not in words(call):
                found.add(" ".join((words(call), option(call, "--name"), option(call, "--resource-group"))))
            if "name" in document and "resource" not in document:
                found.add(document["name"])
            if webhook := document.get("authorization", {}).get("parameters", {}).get("webhookname"):
                found.add(webhook)
            found.update(re.findall(r"--namespace \S+", option(call, "--command")))
        return found

    ours = names("demo")
    write_clone(tmp_path, WINE)
    theirs = names("--shared", "demo", "winestore", root=tmp_path)
    # A certificate has the name of its vault's key, which is unique by the vault.
    assert {name.split()[:3] != ["keyvault", "certificate", "create"] and name for name in ours & theirs} == {
        False
    }
    assert {"demo-build", "demo", "demo_model_published", "--namespace demo-staging"} <= ours
    assert {
        "wine-scorer-build",
        "wine-scorer",
        "wine_scorer_model_published",
        "--namespace wine-test",
    } <= theirs
    assert not any(name.startswith(("aks create", "acr create", "monitor account create")) for name in theirs)


def test_cluster_command_fails(state: Path) -> None:
    """A failed command in the cluster ends the run, although `az aks command invoke` itself succeeds."""
    done = setup(state, *ARGUMENTS, EXIT_CODE="1", AZURE_SETUP_WAIT_S="0")
    assert done.returncode == 1
    assert "RBAC Cluster Admin: not in effect after 0 seconds; run azure_setup again" in done.stderr


def test_teardown_again(state: Path) -> None:
    """Without the resource group, only what is outside of it is looked for."""
    done = setup(state, "--teardown", "--yes", *ARGUMENTS, GROUP_EXISTS="false")
    assert done.returncode == 0, done.stderr
    assert "There is no resource group demo" in done.stdout
    assert not [call for call in calls(state) if words(call) in ("group delete", "role assignment delete")]


def test_role_not_known_yet(state: Path) -> None:
    """A role is assigned again if Azure does not know the identity yet."""
    (state / "problem").write_text(
        "ERROR: (PrincipalNotFound) Principal 0123 does not exist in the directory"
    )
    done = setup(state, *ARGUMENTS, EXIT_CODE="1", AZURE_SETUP_WAIT_S="3")
    assert "RBAC Cluster Admin: not in effect after 3 seconds" in done.stderr
    first, second, *_ = (call for call in calls(state) if words(call) == "role assignment create")
    assert first == second


def test_role_refused(state: Path) -> None:
    """Any other problem ends the run with the role and Azure's message."""
    (state / "problem").write_text("ERROR: (AuthorizationFailed) The client lacks roleAssignments/write")
    done = setup(state, *ARGUMENTS)
    assert done.returncode == 1
    assert "Key Vault Certificates Officer: ERROR: (AuthorizationFailed) The client lacks" in done.stderr
    assert words(calls(state)[-1]) == "role assignment create"


def test_github_only(state: Path) -> None:
    """Without an organization of Azure DevOps, nothing is asked of it."""
    done = setup(state, "--github", "example/shop", "demo", "westeurope")
    assert done.returncode == 0, done.stderr
    assert "dev.azure.com" not in str(calls(state))
    assert "require reviewers in the environment production of example/shop" in done.stdout


@pytest.mark.parametrize(
    "args",
    [
        [],
        ARGUMENTS[:3],
        ARGUMENTS[:2],
        ["Demo", *ARGUMENTS[1:]],
        ["sb", *ARGUMENTS[1:]],
        [*ARGUMENTS[:3], "my shop;ls"],
        ["--github", "shop", *ARGUMENTS],
        ["--approval", "everything", *ARGUMENTS],
        ["--readers", "analysts", *ARGUMENTS],
        ["--force", *ARGUMENTS],
        ["--shared"],
    ],
    ids=str,
)
def test_usage(state: Path, args: list[str]) -> None:
    """Missing arguments, and names that are invalid for a resource, are rejected before any call of `az`."""
    done = setup(state, *args)
    assert done.returncode == 2
    assert "usage: azure_setup" in done.stderr
    assert calls(state) == []


def test_missing_model_key(state: Path, tmp_path: Path) -> None:
    """A key file that does not exist is named before any call of `az`."""
    done = setup(state, "--model-key", str(tmp_path / "model.key"), *ARGUMENTS)
    assert (done.returncode, calls(state)) == (2, [])
    assert f"there is no file {tmp_path / 'model.key'}" in done.stderr


def test_teardown(first: Run) -> None:
    """Deletes after the name was typed, connections and roles before the resource group with the rest."""
    refused = setup(first.state, "--teardown", *ARGUMENTS, stdin="no\n")
    assert (refused.returncode, calls(first.state)) == (1, [])
    assert "the store, all models and all captured data" in refused.stderr
    done = setup(first.state, "--teardown", *ARGUMENTS, stdin="demo\n")
    assert done.returncode == 0, done.stderr
    deleting = [call for call in calls(first.state) if words(call).endswith("delete") or "delete" in call]
    assert words(deleting[-1]) == "group delete"
    assert option(deleting[-1], "--name") == "demo"
    urls = " ".join(option(call, "--url") for call in deleting)
    connections = (
        "read",
        "build",
        "staging",
        "production",
        "record",
        "training",
        "registry",
        "model-published",
    )
    assert all(f"id-of-demo-{connection}?" in urls for connection in connections)
    shared = setup(first.state, "--teardown", "--yes", "--shared", "platform", *ARGUMENTS)
    assert shared.returncode == 0, shared.stderr
    assert {option(call, "--name") for call in calls(first.state) if words(call) == "group delete"} == {
        "demo"
    }
