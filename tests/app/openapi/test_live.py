"""A live server behaves as its document describes."""

import json
import re
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from tests.app.conftest import ROOT, StartServer
from tests.app.openapi.documents import KEYS

CONFIG = """\
[checks]
negative_data_rejection.expected-statuses = [400, 401, 404, 405, 413, 415, 431]

[[operations]]
include-path-regex = "/(infer|load|unload)$"
checks.positive_data_acceptance.enabled = false
"""


EXAMPLES, ALL_EXAMPLES = 10, 100


@pytest.mark.parametrize("kind", ["wine", "guarded"])
def test_live(
    start_server: StartServer, package: Path, tmp_path: Path, kind: str, request: pytest.FixtureRequest
) -> None:
    """Generated requests get documented responses, from the sample model and from one with API keys.

    All of schemathesis' default checks are on; its stateful phase is left out, as the service has no state.
    Three settings differ from the defaults. The key is configured for its security scheme: as a header of all
    requests it would also be sent by the check that expects an invalid key to be rejected. Status 431 counts
    as a rejection. `positive_data_acceptance` is off for some paths of `/v2`: no schema can state that `data`
    has as many elements as `shape`, and models cannot be loaded or unloaded. CSV is left out, since no schema
    can state what it contains. Without `--all`, an operation gets a tenth of the random requests, and the
    second model none to the paths with a version, which call the same functions as those without.
    """
    every = request.config.getoption("--all")
    (tmp_path / "keys").write_text(KEYS)
    path, keys = {"wine": (ROOT / "model_store/wine/2", ""), "guarded": (package, str(tmp_path / "keys"))}[
        kind
    ]
    server = start_server(path, WEB_CONCURRENCY="1", API_KEYS_FILE=keys).wait_until_ready()
    with closing(server.connect()) as connection:
        connection.request("GET", "/openapi.json", headers={"x-api-key": "key"})
        document = json.loads(connection.getresponse().read())
    for path in document["paths"].values():
        path.get("post", {}).get("requestBody", {}).get("content", {}).pop("text/csv", None)
    (tmp_path / "openapi.json").write_text(json.dumps(document))
    (tmp_path / "schemathesis.toml").write_text(
        CONFIG + ('\n[auth.openapi.key]\napi_key = "key"\n' if keys else "")
    )
    run = subprocess.run(
        [
            Path(sys.executable).with_name("schemathesis"),
            "run",
            "openapi.json",
            f"--url=http://127.0.0.1:{server.port}",
            "--phases=examples,coverage,fuzzing",
            f"--max-examples={ALL_EXAMPLES if every else EXAMPLES}",
            *([] if every or kind == "wine" else ["--exclude-path-regex=/versions/"]),
            "--generation-deterministic",
            "--no-color",
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    cases = re.search(r"(\d+) generated, (\d+) passed", run.stdout)
    assert cases, run.stdout
    assert int(cases[1]) == int(cases[2]) >= 1000, run.stdout
    assert not [line for line in server.lines() if line.get("status", 0) >= 500]
