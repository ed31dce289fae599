"""The tour tells the whole story, and the model gets worse and better as it says."""

import re
import subprocess
from pathlib import Path

from tests.e2e.conftest import copy_work_tree


def test_tour(tmp_path: Path) -> None:
    """All steps pass; the change makes the model worse, and the retrained one is as good as the first was."""
    clone = copy_work_tree(tmp_path / "clone")
    done = subprocess.run(
        ["scripts/tour"], cwd=clone, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    before, changed, after = (float(share) for share in re.findall(r": ([\d.]+)% were right", done.stdout))
    assert changed < 10 < 95 < min(before, after)
    steps = re.findall(r"^(\d)/8  (.+?):", done.stdout, re.MULTILINE)
    assert [int(number) for number, _ in steps] == list(range(1, 9))
    assert "published wine/3@sha256:" in done.stdout
    history = (clone / "build/tour/model_store/wine/ledger.jsonl").read_text()
    assert history.splitlines()[-1].count('"rollback"') == 1
    # The clone's own store and lock are as they were.
    status = subprocess.check_output(["git", "status", "--porcelain"], cwd=clone, text=True)
    assert not status, status
    assert (clone / "build/tour/report.html").stat().st_size > 10_000
