"""Old or new, and nothing between."""

from pathlib import Path

import pytest

from model_loader.store.atomic import atomic_write, replace_directory


def test_replacing(tmp_path: Path) -> None:
    """The new content is there when the block has ended, and not before."""
    path = tmp_path / "file"
    path.write_text("old")
    with atomic_write(path) as file:
        file.write(b"new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_replacing_fails(tmp_path: Path) -> None:
    """After an exception the old content is there, and no trace of the new one."""
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), atomic_write(path) as file:
        file.write(b"new" * (1 // 0))
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("exchange", [True, False])
def test_replace_directory_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exchange: bool) -> None:
    """Where the new directory cannot be moved, the old one stays in its place."""
    if not exchange:
        monkeypatch.setattr("model_loader.store.atomic._exchange", lambda *_: False)
    (tmp_path / "target").mkdir()
    (tmp_path / "target/old").touch()
    with pytest.raises(FileNotFoundError):
        replace_directory(tmp_path / "missing", tmp_path / "target")
    assert (tmp_path / "target/old").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["target"]
