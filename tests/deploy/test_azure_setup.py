"""`scripts/azure_setup`: a dry run prints the commands, a run executes them, another run creates nothing.

`az` is replaced by a program that records its arguments. `scripts/azure_check` verifies that the real one
accepts every command and argument.
"""

import json
import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.deploy.conftest import ROOT

ARGUMENTS = ["scorebox", "westeurope", "example", "shop"]
# The signature in the relay's callback URL, the only secret that the script handles.
SIGNATURE = "c2lnbmF0dXJl"
FAKE_AZ = f"""#!{sys.executable} -IS
import json, os, sys
from pathlib import Path
state, arguments = Path(os.environ["STATE"]), sys.argv[1:]
with (state / "calls").open("a") as calls:
    print(json.dumps(arguments), file=calls)
option = dict(zip(arguments, arguments[1:]))
words = " ".join(arguments).partition(" --")[0]
made = state / words.replace(" show", " create").replace(" ", "-")
if words in ("acr show", "keyvault show", "keyvault certificate show", "aks show") and not made.exists():
    sys.exit(3)
if words.endswith(" create"):
    made.touch()
body = option.get("--body", "")
if body == "@-":
    (state / "stdin").write_text(sys.stdin.read())
elif body:
    (state / json.loads(body)["name"]).touch()
query = option.get("--query")
if query == "count":
    print(int((state / option["--url"].partition("endpointNames=")[2].partition("&")[0]).exists()))
elif query == "exitCode":
    print(os.environ.get("EXIT_CODE", "0"))
elif "listCallbackUrl" in option.get("--url", ""):
    print("https://relay.example.com/run?sp=%2Ftriggers&sig={SIGNATURE}")
elif query:
    print(query.rpartition(".")[2] + "-of-" + option.get("--name", "account"))
"""


def install_fake_az(path: Path) -> Path:
    """Write the fake `az` into a directory, where it also keeps its records."""
    (path / "az").write_text(FAKE_AZ)
    (path / "az").chmod(0o755)
    return path


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """The directory of a fake `az` for an empty subscription."""
    return install_fake_az(tmp_path)


def setup(state: Path, *args: str, **environ: str) -> "subprocess.CompletedProcess[str]":
    """Run the script with the fake `az`."""
    path = f"{state}:{os.environ['PATH']}"
    return subprocess.run(
        [ROOT / "scripts/azure_setup", *args],
        env=os.environ | {"PATH": path, "STATE": str(state)} | environ,
        capture_output=True,
        text=True,
        timeout=120,
    )


def calls(state: Path) -> list[list[str]]:
    """Return the arguments of each `az` call since the last call of this function."""
    file = state / "calls"
    lines = file.read_text().splitlines() if file.exists() else []
    file.unlink(missing_ok=True)
    return [json.loads(line) for line in lines]


def words(call: list[str]) -> str:
    """Return the command of a call, without its options."""
    return " ".join(call).partition(" --")[0]


@dataclass
class Run:
    """A run of the script on an empty subscription."""

    state: Path
    printed: str
    calls: list[list[str]]


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The first run, which creates everything."""
    state = install_fake_az(tmp_path_factory.mktemp("subscription"))
    done = setup(state, *ARGUMENTS)
    assert done.returncode == 0, done.stderr
    return Run(state, done.stdout + done.stderr, calls(state))


def test_dry_run(state: Path) -> None:
    """The dry run prints valid shell commands, the same each time, and does not call `az`."""
    first, second = (setup(state, "--dry-run", *ARGUMENTS) for _ in range(2))
    assert first.returncode == second.returncode == 0
    assert first.stdout == second.stdout
    assert first.stderr == ""
    assert calls(state) == []
    subprocess.run(["bash", "-n"], input=first.stdout, text=True, check=True)


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


def test_run_equals_dry_run(first: Run) -> None:
    """On an empty subscription, the script runs the commands of the dry run in the same order."""
    script = setup(first.state, "--dry-run", *ARGUMENTS).stdout
    printed = [found.strip() for found in re.findall(r"\baz ((?:[a-z][a-z-]* )+)--", script)]
    wait = "keyvault certificate list"  # repeated until the role assignment takes effect
    assert [words(call) for call in first.calls if words(call) != wait] == printed
    assert "signingKey: kid-of-images" in first.printed


def test_trust(first: Run) -> None:
    """Each identity trusts only its service connections, and the pods' identity only their accounts."""
    trusted = {
        (call[call.index("--identity-name") + 1], call[call.index("--subject") + 1])
        for call in first.calls
        if words(call) == "identity federated-credential create"
    }
    connection = "workloadIdentityFederationSubject-of-account"
    accounts = {f"system:serviceaccount:scorebox-{stage}:scorebox" for stage in ("staging", "production")}
    assert trusted == {
        *(
            (f"scorebox-{identity}", connection)
            for identity in ("build", "staging", "production", "training")
        ),
        *(("scorebox-pods", account) for account in accounts),
    }


def test_roles(first: Run) -> None:
    """No role is an administrator's, each is granted on a single resource, and each is documented."""
    document = (ROOT / "docs/azure.md").read_text()
    grants = [call for call in first.calls if words(call) == "role assignment create"]
    roles = {call[call.index("--role") + 1] for call in grants}
    assert not roles & {"Owner", "Contributor", "User Access Administrator", "Key Vault Administrator"}
    assert [role for role in roles if f"| {role} |" not in document] == []
    # The fake's ids are ids of resources; the id of a resource group or subscription would be spelled out.
    assert all(call[call.index("--scope") + 1].startswith("id-of-scorebox") for call in grants)
    of_pods = [call for call in grants if "principalId-of-scorebox-pods" in call]
    assert of_pods == []


def test_second_run(first: Run) -> None:
    """A second run does not repeat commands that would fail or change an existing resource."""
    done = setup(first.state, *ARGUMENTS)
    assert done.returncode == 0, done.stderr
    second = calls(first.state)
    once_only = {"acr create", "keyvault create", "keyvault certificate create", "aks create"}
    assert once_only <= {words(call) for call in first.calls}
    assert not once_only & {words(call) for call in second}

    def posted(run: list[list[str]]) -> int:
        return sum(words(call) == "rest" and "--body" in call and "@-" not in call for call in run)

    assert (posted(first.calls), posted(second)) == (6, 0)


def test_cluster_command_fails(state: Path) -> None:
    """A failed command in the cluster ends the run, although `az aks command invoke` itself succeeds."""
    done = setup(state, *ARGUMENTS, EXIT_CODE="1")
    assert done.returncode == 1
    assert "kubectl apply --filename cluster.yaml: exit code 1" in done.stderr


@pytest.mark.parametrize(
    "args",
    [[], ARGUMENTS[:3], ["Scorebox", *ARGUMENTS[1:]], ["sb", *ARGUMENTS[1:]], [*ARGUMENTS[:3], "my shop;ls"]],
    ids=str,
)
def test_usage(state: Path, args: list[str]) -> None:
    """Missing arguments, and names that are invalid for a resource, are rejected before any call of `az`."""
    done = setup(state, *args)
    assert done.returncode == 2
    assert "usage: azure_setup" in done.stderr
    assert calls(state) == []
