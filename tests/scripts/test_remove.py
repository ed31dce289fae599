"""`scripts/remove`: refusals, what needs what, and the requirements."""

import subprocess
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from scripts import remove
from scripts.own import TRAINING
from scripts.part_catalog import PartError, read_parts, with_dependents
from scripts.part_locks import listed, packages, pruned
from scripts.part_tree import read_removed

PARTS = """\
[a]
what = "the first"
paths = ["a/", "a*.txt"]

[b]
what = "needs the first"
needs = ["a"]
paths = ["b.txt"]

[c]
what = "needs one of both"
needs_any = ["a", "d"]
paths = ["c.txt"]

[d]
what = "the last"
paths = ["d.txt"]
"""


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with four parts, without documents to generate."""
    (tmp_path / "a").mkdir()
    files = {
        "parts.toml": PARTS,
        "service.toml": "name = 'x'\nremoved = []  # parts\n",
        "a/one.py": "ONE = 1\n",
        "a1.txt": "",
        "b.txt": "",
        "c.txt": "",
        "d.txt": "",
        "main.py": "import os\n\nfrom a import one  # part: a\n\nprint(1)\n",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "a/__pycache__").mkdir()
    (tmp_path / ".gitignore").write_text("__pycache__\n")
    commit(tmp_path, "init")
    monkeypatch.setattr(remove, "ROOT", tmp_path)
    monkeypatch.setattr(remove, "_tidy", lambda *_: None)
    return tmp_path


def commit(path: Path, first: str = "") -> None:
    """Commit everything."""
    commands = [["init", "--quiet"]] if first else []
    commands += [
        ["add", "--all"],
        ["-c", "user.name=t", "-c", "user.email=t@example.com", "commit", "-qm", "x"],
    ]
    for command in commands:
        subprocess.run(["git", *command], cwd=path, check=True)


def test_removed(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Files, lines and empty directories of a part go, and what needs it, with a message."""
    assert remove.main(["a"]) == 0
    out = capsys.readouterr().out
    assert "b is removed too: it needs a\n" in out
    assert "removed a, b: 3 files, lines of 1 others\n" in out
    assert sorted(path.name for path in root.iterdir() if path.name[0] != ".") == [
        "c.txt", "d.txt", "main.py", "parts.toml", "service.toml",
    ]  # fmt: skip
    assert (root / "main.py").read_text() == "import os\n\nprint(1)\n"
    assert (root / "service.toml").read_text() == 'name = \'x\'\nremoved = ["a", "b"]  # parts\n'


def test_last_of_several(root: Path) -> None:
    """What needs one of several parts goes with the last of them."""
    assert remove.main(["d"]) == 0
    assert (root / "c.txt").exists()
    commit(root)
    assert remove.main(["a"]) == 0
    assert not (root / "c.txt").exists()
    assert read_removed(root) == ["d", "a", "b", "c"]


def test_again(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What a merge brings back is removed again, in a work tree with changes; twice changes nothing."""
    assert remove.main(["a"]) == 0
    commit(root)
    assert remove.main(["a"]) == 0
    assert capsys.readouterr().out.endswith("a: removed before\n")
    (root / "b.txt").write_text("from a newer template\n")
    (root / "main.py").write_text("import os\n\nfrom a import two  # part: a\n")
    subprocess.run(["git", "add", "--all"], cwd=root, check=True)
    for _ in range(2):
        assert remove.main(["--again"]) == 0
        assert not (root / "b.txt").exists()
        assert (root / "main.py").read_text() == "import os\n"
    assert read_removed(root) == ["a", "b"]


def test_own_files(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What a team has written itself stays; what `scripts/own` has left as the template's goes."""
    text = PARTS.replace('["b.txt"]', '["training/"]')
    files = {
        "parts.toml": text,
        "training/train.py": "print('ours')\n",
        "training/README.md": TRAINING,
        "training/requirements.in": "numpy\n",
        "tests/template/training/train.py": "print('theirs')\n",
        "tests/template/training/requirements.in": "numpy\n",
    }
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    commit(root)
    assert remove.main(["a"]) == 0
    assert "left, as they are yours: training/train.py\n" in capsys.readouterr().out
    assert [path.name for path in (root / "training").iterdir()] == ["train.py"]
    assert not (root / "tests").exists()


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        (
            "service.toml",
            "removed=[]\n",
            "service.toml: expected one line that begins with `removed = [`, got 0",
        ),
        ("service.toml", "removed = [\n", "cannot read service.toml: "),
        ("parts.toml", "[a\n", "cannot read parts.toml: "),
        ("main.py", "import os\n# part: a\n", "main.py: no end of 'a'"),
    ],
)
@pytest.mark.parametrize("arguments", [["a"], ["--list"]])
def test_invalid_files(
    root: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], file: str, text: str, message: str
) -> None:
    """A file that cannot be read, or lacks what it needs, is named, and nothing is changed."""
    (root / file).write_text(text)
    commit(root)
    code, err = remove.main(arguments), capsys.readouterr().err
    if arguments == ["--list"] and text == "removed=[]\n":
        assert code == 0  # read as any TOML
        return
    assert code == 1
    assert message.rpartition(": ")[2] in err
    assert subprocess.run(["git", "status", "--short"], cwd=root, capture_output=True).stdout == b""


def test_refused(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A change that is not committed, an unknown part and an unbalanced marker change nothing."""
    assert remove.main(["e"]) == 1
    assert "no part is named 'e': expected one of a, b, c, d" in capsys.readouterr().err
    (root / "d.txt").write_text("changed\n")
    assert remove.main(["a"]) == 1
    assert "uncommitted changes, such as d.txt: commit them first" in capsys.readouterr().err
    (root / "d.txt").write_text("# part: d\n")
    commit(root)
    assert remove.main(["a"]) == 1
    assert "d.txt: no end of 'd'" in capsys.readouterr().err
    assert subprocess.check_output(["git", "status", "--porcelain"], cwd=root) == b""
    for arguments in ([], ["a", "--list"], ["--list", "--again"]):
        with pytest.raises(SystemExit, match="2"):
            remove.main(arguments)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ('what = "x"\npaths = []\nneed = []', "a has the unknown key 'need': expected what, paths, needs"),
        ('what = "x"\npaths = "a"', "a.paths is 'a': expected a list"),
        ('what = "x"', "a lacks what or paths"),
        ('what = "x"\npaths = []\nneeds = ["b"]', "a needs b, which is not a part"),
    ],
)
def test_catalog(tmp_path: Path, entry: str, message: str) -> None:
    """A mistake in parts.toml is named."""
    (tmp_path / "parts.toml").write_text(f"[a]\n{entry}\n")
    with pytest.raises(PartError, match=message):
        read_parts(tmp_path)


def test_dependents(root: Path) -> None:
    """The reasons name what is missing; a part that is named itself has none."""
    parts = read_parts(root)
    assert with_dependents(parts, ["a", "d"], []) == {"a": "", "d": "", "b": "a", "c": "a, d"}
    assert with_dependents(parts, ["d"], ["a", "b"]) == {"d": "", "c": "a, d"}


def test_lock(tmp_path: Path) -> None:
    """A lock loses what only a removed requirement needs, and keeps what another one needs too."""
    pins = ("flask==3.1", "itsdangerous==2", "yamllint==1", "pyyaml==6")
    lock = "".join(f"{pin} \\\n    --hash=sha256:1\n" for pin in pins)
    before = [Requirement(name) for name in ("flask", "yamllint", "pyyaml")]
    after = [Requirement("flask"), Requirement("pyyaml")]
    text, gone = pruned(lock, before, after)
    assert gone == ["yamllint"]
    assert packages(text) == {"flask", "itsdangerous", "pyyaml"}
    assert text == lock.replace("yamllint==1 \\\n    --hash=sha256:1\n", "")
    (tmp_path / "more.in").write_text("jinja2\n")
    found = listed("# why\n-c other.txt\nflask[async]  # part: x\n-r more.in\n", tmp_path / "x.in")
    assert [str(item) for item in found] == ["flask[async]", "jinja2"]
