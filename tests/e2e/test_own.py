"""`scripts/own` and `scripts/update`: a clone is named, gets a model of its own, and takes an update."""

import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from model_loader.package.service_file import read_service_file
from tests.e2e.owned import add_model, clone_template, commit, make_template, run, succeed

PYTHON = ".venv/bin/python"
TEMPLATE_TESTS = ("tests/test_layers.py", "tests/test_docs.py")
WHOLE_SUITE = ("--all", "--ignore=tests/e2e/test_own.py")
# Lint and the tests of a clone run within one test here.
pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The template's repository."""
    return make_template(tmp_path_factory.mktemp("template") / "template")


@pytest.fixture
def fresh(template: Path, tmp_path: Path) -> Path:
    """A fresh clone."""
    return clone_template(template, tmp_path / "fresh")


@pytest.fixture(scope="module")
def owned(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone named fraud, which `scripts/own` has checked."""
    clone = clone_template(template, tmp_path_factory.mktemp("owned") / "fraud")
    printed = succeed(clone, "scripts/own", "fraud")
    assert "Next, as docs/clone.md explains" in printed
    return clone


@pytest.fixture
def team(owned: Path, tmp_path: Path) -> Path:
    """A copy of that clone with a model and a transform of its own."""
    clone = tmp_path / "team"
    shutil.copytree(owned, clone, symlinks=True)
    add_model(clone)
    return clone


def test_named(owned: Path) -> None:
    """The service has its name, one commit has everything, and the sample is out."""
    names = read_service_file(owned / "service.toml")
    assert (names.name, names.registry) == ("fraud", "fraud.azurecr.io")
    assert (names.namespaces.staging, names.namespaces.production) == ("fraud-staging", "fraud-production")
    assert read_service_file(owned / "tests/template/service.toml").name == "demo"
    assert not [name for name in ("model_store", "model.lock", "gate.toml") if (owned / name).exists()]
    assert succeed(owned, "git", "status", "--porcelain") == ""
    assert succeed(owned, "git", "rev-list", "--count", "origin/main..HEAD") == "1\n"


def test_without_model(owned: Path) -> None:
    """Without a model, the service and the own tests say what is missing."""
    done = run(owned, "scripts/serve")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "this clone has no model yet: publish one as docs/clone.md says" in done.stderr
    assert "this clone has no model: no model.lock" in succeed(owned, "scripts/test", "--own")


@pytest.mark.timeout(5 * 3600)  # with --all
def test_own_model(team: Path, request: pytest.FixtureRequest) -> None:
    """With a team's model, transform and README, lint, its tests and the template's are green."""
    succeed(team, "scripts/lint")
    printed = succeed(team, "scripts/test", "--own")
    assert "4 passed, 1 skipped" in printed
    tests = WHOLE_SUITE if request.config.getoption("--all") else TEMPLATE_TESTS
    succeed(team, "scripts/test", *tests, "--junitxml=build/tests.xml", timeout_s=4 * 3600)
    assert (team / "build/tests.xml").exists()
    assert succeed(team, "git", "status", "--porcelain") == ""


def test_failing_sample(team: Path) -> None:
    """If the transform no longer gives the samples' answers, the own tests say it."""
    path = team / "app/transform.py"
    path.write_text(path.read_text().replace('"USD": 0.5', '"USD": 0.6'))
    done = run(team, "scripts/test", "--own", "-k", "samples")
    assert done.returncode == 1
    assert "sample 0: output 'y': expected" in done.stdout


def test_plain_pytest(owned: Path) -> None:
    """The template's tests are not run with a team's files."""
    done = run(owned, PYTHON, "-m", "pytest", "tests/app")
    assert done.returncode == 4
    assert "run them with ./scripts/test PATH…" in done.stderr


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        ((), 2, "expected the service's NAME"),
        (("Fraud",), 1, "NAME: expected 3 to 20 lower-case letters"),
        (("fr",), 1, "NAME: expected 3 to 20"),
        (("demo",), 1, "'demo' is the template's own"),
        (("fraud\n",), 1, "NAME: expected"),
        (("../fraud",), 1, "NAME: expected"),
    ],
)
def test_refused_names(fresh: Path, args: tuple[str, ...], code: int, words: str) -> None:
    """An invalid name is refused, and nothing is changed."""
    done = run(fresh, PYTHON, "-m", "scripts.own", *args)
    assert (done.returncode, words in done.stderr) == (code, True), done.stderr
    assert succeed(fresh, "git", "status", "--porcelain") == ""


def test_dirty_clone(fresh: Path) -> None:
    """A clone with changes is refused, and the first one is named."""
    (fresh / "notes.txt").write_text("mine")
    done = run(fresh, PYTHON, "-m", "scripts.own", "fraud")
    assert done.returncode == 1
    assert "got 1 changed files, 'notes.txt' first" in done.stderr
    assert not (fresh / "tests/template").exists()


def test_twice(owned: Path) -> None:
    """A second run with the same name only checks; another name is refused."""
    before = succeed(owned, "git", "rev-parse", "HEAD")
    assert "is fraud already" in succeed(owned, PYTHON, "-m", "scripts.own", "fraud")
    done = run(owned, PYTHON, "-m", "scripts.own", "churn")
    assert (done.returncode, "is fraud already: to rename it" in done.stderr) == (1, True)
    assert succeed(owned, "git", "rev-parse", "HEAD") == before


@pytest.mark.parametrize("delay_s", [0.2, 0.5, 1.0, 1.5])
def test_killed(fresh: Path, delay_s: float) -> None:
    """Killed half-way, the clone is as it was or complete, and a second run finishes."""
    process = subprocess.Popen([PYTHON, "-m", "scripts.own", "fraud"], cwd=fresh, start_new_session=True)
    time.sleep(delay_s)
    process.send_signal(signal.SIGKILL)
    process.wait(10)
    succeed(fresh, PYTHON, "-m", "scripts.own", "fraud")
    assert succeed(fresh, "git", "status", "--porcelain") == ""
    assert succeed(fresh, "git", "rev-list", "--count", "origin/main..HEAD") == "1\n"


def test_update(template: Path, team: Path, tmp_path: Path) -> None:
    """A newer template is merged without conflicts: the team's files stay, its edits of others too."""
    newer = clone_template(template, tmp_path / "newer")
    for name, line in (
        ("training/data.py", "# newer\n"),
        ("training/extra.py", '"""New."""\n'),
        ("README.md", "Newer.\n"),
        ("app/transform.py", "# newer\n"),
        ("model.lock", "\n"),
        ("app/errors.py", "\n\n# newer\n"),
    ):
        with (newer / name).open("a") as file:
            file.write(line)
    for name, old, new in (
        ("azure-pipelines-train.yml", "connection: demo-retraining", "connection: demo-renewed"),
        ("CHANGELOG.md", "### Changed\n", "### Changed\n- New. **What to do**: turn it.\n"),
        ("model_loader/package/service_file.py", 'VERSION = "1.0.0"', 'VERSION = "1.1.0"'),
    ):
        path = newer / name
        path.write_text(path.read_text().replace(old, new, 1))
    commit(newer, "A newer template")
    path = team / "app/__init__.py"
    path.write_text(path.read_text().replace("The scoring service", "Our scoring service"))
    commit(team, "Edit a file of the template")
    kept = {name: (team / name).read_bytes() for name in ("README.md", "app/transform.py", "model.lock")}
    succeed(team, "git", "remote", "set-url", "template", str(newer))

    printed = succeed(team, "scripts/update", "main", "--", "tests/test_layers.py")
    assert "- New. **What to do**: turn it." in printed
    assert "- `README.md`: `git diff " in printed
    assert kept == {name: (team / name).read_bytes() for name in kept}
    assert "Our scoring service" in (team / "app/__init__.py").read_text()
    assert (team / "app/errors.py").read_text().endswith("# newer\n")
    assert (team / "tests/template/training/extra.py").exists()
    assert not (team / "training/extra.py").exists()
    assert "connection: fraud-renewed" in (team / "azure-pipelines-train.yml").read_text()
    assert succeed(team, "git", "status", "--porcelain") == ""
    assert "Update the template to 1.1.0" in succeed(team, "git", "log", "-1", "--format=%s")
    assert "has the template's main already" in succeed(team, "scripts/update", "main")


def test_conflict(template: Path, team: Path, tmp_path: Path) -> None:
    """If both have changed the same line, the update stops, names the file, and can be undone."""
    newer = clone_template(template, tmp_path / "newer")
    for clone, text in ((newer, "Their service"), (team, "Our service")):
        path = clone / "app/__init__.py"
        path.write_text(path.read_text().replace("The scoring service", text))
        # A key that the team's version of the parser does not know.
        if clone == newer:
            (newer / "service.toml").write_text((newer / "service.toml").read_text() + "\n[newer]\nkey = 1\n")
            (newer / "app/newer.py").write_text("")
        commit(clone, text)
    succeed(team, "git", "remote", "set-url", "template", str(newer))
    succeed(team, "git", "config", "commit.gpgSign", "true")
    succeed(team, "git", "config", "gpg.program", "/bin/false")
    before = succeed(team, "git", "rev-parse", "HEAD")
    (team / "app/newer.py").write_text("ours, not committed")
    done = run(team, "scripts/update")
    assert done.returncode == 1
    assert "git cannot merge, and has changed nothing: " in done.stderr
    assert "app/newer.py" in done.stderr
    assert succeed(team, "git", "status", "--porcelain") == "?? app/newer.py\n"
    (team / "app/newer.py").unlink()
    done = run(team, "scripts/update")
    assert done.returncode == 1
    assert "1 files have conflicts: app/__init__.py. Resolve them" in done.stderr
    succeed(team, "git", "merge", "--abort")
    assert succeed(team, "git", "status", "--porcelain") == ""
    assert succeed(team, "git", "rev-parse", "HEAD") == before


def test_update_refused(fresh: Path) -> None:
    """A clone that nobody owns, and one without the remote, are not updated."""
    done = run(fresh, "scripts/update")
    assert (done.returncode, "run ./scripts/own NAME" in done.stderr) == (1, True)
    succeed(fresh, PYTHON, "-m", "scripts.own", "fraud")
    succeed(fresh, "git", "remote", "remove", "template")
    done = run(fresh, "scripts/update")
    assert (done.returncode, "there is no remote 'template'" in done.stderr) == (1, True)
