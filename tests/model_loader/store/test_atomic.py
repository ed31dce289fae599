"""Crash-safe replacement of files and directories."""

from pathlib import Path

import pytest

from model_loader.store.atomic import atomic_write, replace_directory


def test_write(tmp_path: Path) -> None:
    """The new content replaces the old one when the block ends, not before."""
    path = tmp_path / "file"
    path.write_text("old")
    with atomic_write(path) as file:
        file.write(b"new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_write_fails(tmp_path: Path) -> None:
    """After an exception the file has its old content, and the temporary file is removed."""
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), atomic_write(path) as file:
        file.write(b"new" * (1 // 0))
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("exchange", [True, False])
def test_replace_directory_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exchange: bool) -> None:
    """If the new directory cannot be moved, the old one is kept."""
    if not exchange:
        monkeypatch.setattr("model_loader.store.atomic._exchange", lambda *_: False)
    (tmp_path / "target").mkdir()
    (tmp_path / "target/old").touch()
    with pytest.raises(FileNotFoundError):
        replace_directory(tmp_path / "missing", tmp_path / "target")
    assert (tmp_path / "target/old").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["target"]
