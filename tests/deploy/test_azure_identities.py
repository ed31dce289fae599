"""What each identity of `scripts/azure_setup` may do, and what the code of a pull request can reach.

No identity that a pull request can reach may push, sign, deploy, or write to the store or to main.
"""

import json
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.deploy.conftest import ROOT
from tests.deploy.dry_run import body, dry_run, option, words

BRANCH_CONTROL = "evaluatebranchProtection"
CONTRIBUTE, BYPASS_ON_PUSH, BYPASS_ON_MERGE = 4, 128, 32768
MODELS = "$storage/blobServices/default/containers/models"
CAPTURED = "$storage/blobServices/default/containers/captured"


@dataclass
class Connection:
    """A service connection: the identity that trusts it, if any, and the checks that protect it."""

    scheme: str
    identity: str = ""
    checks: list[dict[str, Any]] = field(default_factory=list)

    @property
    def names(self) -> list[str]:
        """What the checks are."""
        return [
            check["settings"].get("definitionRef", {}).get("name") or check["type"]["name"]
            for check in self.checks
        ]


@pytest.fixture(scope="module")
def printed() -> list[list[str]]:
    """The calls that a dry run prints, for Azure DevOps and GitHub."""
    return dry_run("--github", "example/shop", "demo", "westeurope", "example", "shop")


@pytest.fixture(scope="module")
def roles(printed: list[list[str]]) -> dict[str, set[tuple[str, str, str]]]:
    """Identity, `$administrator` or `$kubelet` → its (role, scope, condition)."""
    found = defaultdict(set)
    for call in printed:
        if words(call) == "role assignment create":
            identity = option(call, "--assignee-object-id").replace("$principal_", "demo-")
            found[identity].add(
                (option(call, "--role"), option(call, "--scope"), option(call, "--condition"))
            )
    return found


@pytest.fixture(scope="module")
def connections(printed: list[list[str]]) -> dict[str, Connection]:
    """Name → service connection."""
    found: dict[str, Connection] = {}
    endpoint = ""
    for call in printed:
        url, document = option(call, "--url"), body(call)
        if url.endswith("/_apis/serviceendpoint/endpoints?api-version=7.1") and document:
            found[document["name"]] = Connection(document["authorization"]["scheme"])
        elif option(call, "--query") == "value[0].id" and (name := re.search(r"endpointNames=([\w-]+)", url)):
            endpoint = name[1]
        elif document.get("resource", {}).get("id") == "$endpoint":
            found[endpoint].checks.append(document)
        elif option(call, "--issuer") == "$connection_issuer":
            found[option(call, "--name")].identity = option(call, "--identity-name")
    return found


def subjects(printed: list[list[str]]) -> Iterator[tuple[str, str]]:
    """Yield each identity with a subject outside of Azure DevOps that it trusts."""
    for call in printed:
        if words(call) == "identity federated-credential create" and option(call, "--subject")[0] != "$":
            yield option(call, "--identity-name"), option(call, "--subject")


def reachable(printed: list[list[str]], connections: dict[str, Connection]) -> set[str]:
    """Return the identities that the code of a pull request can use.

    In Azure DevOps it can use every connection without branch control, because it can change the pipeline's
    file. In GitHub it gets the subjects of pull requests, and of environments that permit other branches.
    """
    found = {each.identity for each in connections.values() if BRANCH_CONTROL not in each.names}
    protected = set()
    for call in printed:
        path = re.search(
            r"repos/example/shop/environments/([\w-]+)/deployment-branch-policies", " ".join(call)
        )
        if path and option(call, "--raw-field") == "name=main":
            protected.add(f"repo:example/shop:environment:{path[1]}")
    for identity, subject in subjects(printed):
        if subject not in {*protected, "repo:example/shop:ref:refs/heads/main"} and subject.startswith(
            "repo:"
        ):
            found.add(identity)
    return found - {""}


def test_pull_request(
    printed: list[list[str]],
    connections: dict[str, Connection],
    roles: dict[str, set[tuple[str, str, str]]],
) -> None:
    """A pull request reaches one identity, which reads the models and has no other permission anywhere."""
    assert reachable(printed, connections) == {"demo-read"}
    assert roles["demo-read"] == {("Storage Blob Data Reader", MODELS, "")}
    in_cluster = [option(call, "--command") for call in printed if words(call) == "aks command invoke"]
    assert not any("principal_read" in command for command in in_cluster)


def test_branch_control(printed: list[list[str]], connections: dict[str, Connection]) -> None:
    """Only runs of main, while a policy protects it, use a connection or the key of the models."""
    without = {name for name, each in connections.items() if BRANCH_CONTROL not in each.names}
    # The webhooks have no identity and no secret.
    webhooks = {"demo-model-published", "demo-retraining"}
    assert without == {"demo-read", *webhooks}
    assert all(connections[name] == Connection("None") for name in webhooks)
    on_files = [
        each for call in printed if (each := body(call)).get("resource", {}).get("type") == "securefile"
    ]
    controls = [check for each in connections.values() for check in each.checks] + on_files
    inputs = [check["settings"]["inputs"] for check in controls if "inputs" in check["settings"]]
    assert len(inputs) == len(connections) - len(without) + 1
    expected = {"allowedBranches": "refs/heads/main", "ensureProtectionOfBranch": "true"}
    assert all(each == expected | {"allowUnknownStatusBranch": "false"} for each in inputs)


def test_protected_before_use(printed: list[list[str]]) -> None:
    """A pipeline is permitted to use a connection or file after its checks exist, GitHub is trusted after its
    environments are protected."""
    last_gh = max(at for at, call in enumerate(printed) if call[0] == "gh")
    first_trust = min(at for at, call in enumerate(printed) if option(call, "--subject").startswith("repo:"))
    assert last_gh < first_trust
    permitted = False
    for call in printed:
        if option(call, "--query") == "value[0].id":
            permitted = False
        permitted = permitted or "/pipelinepermissions/" in option(call, "--url")
        assert not (permitted and body(call).get("resource"))


def test_approvals_and_locks(connections: dict[str, Connection]) -> None:
    """Production needs an approval; releases of a stage run one after the other."""
    assert [name for name, each in connections.items() if "Approval" in each.names] == ["demo-production"]
    locked = [name for name, each in connections.items() if "ExclusiveLock" in each.names]
    assert locked == ["demo-staging", "demo-production"]
    several = dry_run("--approval", "staging,training", "demo", "westeurope", "example", "shop")
    assert sum('"name": "Approval"' in option(call, "--body") for call in several) == 2


def test_trust(printed: list[list[str]], connections: dict[str, Connection]) -> None:
    """Each identity trusts its own connection, the jobs of its own environment, and nothing else."""
    trusted = {name: each.identity for name, each in connections.items() if each.identity}
    names = ("read", "build", "staging", "production", "record", "training")
    assert trusted == {f"demo-{name}": f"demo-{name}" for name in names} | {"demo-registry": "demo-build"}
    stages = ("build", "staging", "production")
    accounts = {
        "pods": "demo",
        "capture": "demo",
        "monitor": "demo-monitor",
        "compact": "demo-compact",
    }
    assert set(subjects(printed)) == {
        *(
            (f"demo-{name}", f"system:serviceaccount:demo-{stage}:{account}")
            for name, account in accounts.items()
            for stage in stages[1:]
        ),
        *((f"demo-{stage}", f"repo:example/shop:environment:{stage}") for stage in (*stages, "training")),
        *(("demo-record", f"repo:example/shop:environment:{stage}") for stage in stages),
        ("demo-production", "repo:example/shop:environment:production-clean-up"),
        ("demo-read", "repo:example/shop:pull_request"),
        ("demo-read", "repo:example/shop:ref:refs/heads/main"),
    }


def test_store(roles: dict[str, set[tuple[str, str, str]]]) -> None:
    """No role can delete a model; recording writes ledgers only, training no manifest that exists."""
    in_store = {
        identity: {(role, condition) for role, scope, condition in granted if scope == MODELS}
        for identity, granted in roles.items()
    }
    path = "@Resource[Microsoft.Storage/storageAccounts/blobServices/containers/blobs:path]"
    reader = ("Storage Blob Data Reader", "")
    assert {identity: granted for identity, granted in in_store.items() if granted} == {
        "demo-read": {reader},
        "demo-build": {reader},
        "demo-monitor": {reader},
        "demo-record": {reader, ("demo blob writer", f"({path} StringLike '*/ledger.jsonl')")},
        "demo-training": {
            reader,
            ("demo blob creator", ""),
            ("demo blob writer", f"({path} StringNotLike '*/manifest.json')"),
        },
    }
    resources = json.loads((ROOT / "deploy/azure/roles.json").read_text())["resources"]
    permissions = [each["properties"]["permissions"] for each in resources]
    blobs = "Microsoft.Storage/storageAccounts/blobServices/containers/blobs"
    nothing: dict[str, list[str]] = {"actions": [], "notActions": [], "notDataActions": []}
    assert permissions == [
        [nothing | {"dataActions": [f"{blobs}/add/action"]}],
        [nothing | {"dataActions": [f"{blobs}/write"]}],
        [nothing | {"dataActions": [f"{blobs}/write", f"{blobs}/delete"]}],
    ]


def test_captured(roles: dict[str, set[tuple[str, str, str]]]) -> None:
    """Pods only add captured data; monitor, training, build and a group read it; the daily job deletes."""
    granted = {
        identity: {role for role, scope, _ in found if scope == CAPTURED} for identity, found in roles.items()
    }
    assert {identity: found for identity, found in granted.items() if found} == {
        "demo-build": {"Storage Blob Data Reader"},
        "demo-capture": {"demo blob creator"},
        "demo-monitor": {"Storage Blob Data Reader"},
        "demo-training": {"Storage Blob Data Reader"},
        "demo-compact": {"Storage Blob Data Reader", "demo blob keeper"},
    }
    assert {scope for found in roles.values() for _, scope, _ in found if "$storage" in scope} == {
        MODELS,
        CAPTURED,
    }
    group = "01234567-89ab-cdef-0123-456789abcdef"
    with_readers = dry_run("--readers", group, "demo", "westeurope", "example", "shop")
    (assigned,) = [call for call in with_readers if option(call, "--assignee-object-id") == group]
    assert option(assigned, "--assignee-principal-type") == "Group"
    assert (option(assigned, "--role"), option(assigned, "--scope")) == ("Storage Blob Data Reader", CAPTURED)


def test_retention(printed: list[list[str]]) -> None:
    """Captured data is deleted after 180 days, its earlier versions after one, and nothing else is."""
    (created,) = [call for call in printed if words(call) == "storage account management-policy create"]
    file = option(created, "--policy").removeprefix("@")
    (rule,) = json.loads((ROOT / file).read_text())["rules"]
    assert rule["enabled"]
    assert rule["definition"]["filters"] == {"blobTypes": ["blockBlob"], "prefixMatch": ["captured/"]}
    days = {kind: each["delete"] for kind, each in rule["definition"]["actions"].items()}
    assert days == {
        "baseBlob": {"daysAfterCreationGreaterThan": 180},
        "version": {"daysAfterCreationGreaterThan": 1},
    }


def test_data_config(printed: list[list[str]]) -> None:
    """Each namespace has the ConfigMap that the components read, with a part of the store of its own."""
    commands = [option(call, "--command") for call in printed if words(call) == "aks command invoke"]
    made = [command for command in commands if "create configmap demo-data" in command]
    assert len(made) == 2
    for command, stage in zip(made, ("staging", "production"), strict=True):
        blobs = "https://demo.blob.core.windows.net"
        values = dict(re.findall(r"--from-literal (\w+)=(\S+)", command))
        assert values == {
            "CAPTURE_STORE": f"{blobs}/captured/{stage}",
            "MODEL_STORE": f"{blobs}/models",
            "CAPTURE_CLIENT_ID": "$client_capture",
        }
        assert f"--namespace demo-{stage} " in command


def test_main(printed: list[list[str]]) -> None:
    """Only the recording identity pushes to main past the policy; the token of a build cannot push."""
    entries = [
        (body(call)["token"], entry["descriptor"], entry["allow"], entry["deny"])
        for call in printed
        if "/accesscontrolentries/" in option(call, "--url")
        for entry in body(call)["accessControlEntries"]
    ]
    writers = {descriptor for _, descriptor, allow, _ in entries if allow & ~2}
    assert writers == {"$recorder"}
    main = "repoV2/$project_id/$repository_id/refs/heads/" + "main".encode("utf-16-le").hex()
    assert all(token == main for token, _, allow, _ in entries if allow & ~2)
    denied = [
        deny for token, descriptor, allow, deny in entries if descriptor == "$build_service" and token == main
    ]
    assert len(denied) == 2
    forbidden = CONTRIBUTE | BYPASS_ON_PUSH | BYPASS_ON_MERGE
    assert all(deny & forbidden == forbidden for deny in denied)
    lookups = [option(call, "--url") for call in printed if "Build%20Service" in option(call, "--url")]
    assert [re.search(r"filterValue=([\w%]+)", url)[1] for url in lookups] == [  # type: ignore[index]
        "shop%20Build%20Service%20",
        "Project%20Collection%20Build%20Service%20",
    ]


def test_cluster(printed: list[list[str]]) -> None:
    """Each deploying identity has the role in its own namespace; the recording one reads pods in both."""
    commands = [option(call, "--command") for call in printed if words(call) == "aks command invoke"]
    binding = re.compile(
        r"create rolebinding \w+ --role (\w+) --user \$principal_(\w+) --namespace demo-(\w+)"
    )
    bound = {found.groups() for command in commands if (found := binding.search(command))}
    assert bound == {
        ("pipeline", "staging", "staging"),
        ("pipeline", "production", "production"),
        ("reader", "record", "staging"),
        ("reader", "record", "production"),
    }
    assert sum("rolebinding" in command for command in commands) == len(bound)


def test_roles(roles: dict[str, set[tuple[str, str, str]]]) -> None:
    """No role is an administrator's, each is granted on a single resource, and each is documented."""
    document = (ROOT / "docs/azure.md").read_text()
    granted = {each for identity in roles.values() for each in identity}
    names = {role for role, _, _ in granted}
    assert not names & {"Owner", "Contributor", "User Access Administrator", "Key Vault Administrator"}
    custom = {f"demo blob {kind}": f"`NAME blob {kind}`" for kind in ("creator", "writer", "keeper")}
    assert [name for name in names if f"| {custom.get(name, name)} |" not in document] == []
    resources = {"$registry", "$cluster", "$vault", "$workspace", "$storage"}
    assert {scope.partition("/")[0] for _, scope, _ in granted} <= resources
    assert "demo-pods" not in roles


def test_documented_reach(printed: list[list[str]], connections: dict[str, Connection]) -> None:
    """The table of what a pull request can reach has every identity and connection, with the right answer."""
    section = (ROOT / "docs/azure.md").read_text().partition("### What a pull request can reach")[2]
    rows = dict(re.findall(r"^\| `(demo-[\w-]+)` \| (yes|no) \|", section, re.MULTILINE))
    identities = {option(call, "--name") for call in printed if words(call) == "identity create"}
    within = {name for name, each in connections.items() if BRANCH_CONTROL not in each.names}
    assert rows.keys() == identities | connections.keys()
    assert {name for name, answer in rows.items() if answer == "yes"} == reachable(
        printed, connections
    ) | within
