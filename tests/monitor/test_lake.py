"""The cache of a container's objects survives interruptions, and has nothing that nobody knows of."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from azure.storage.blob import ContainerClient

from monitor.lake import Lake
from monitor.ship import ship_once
from tests.monitor.spool_writer import prediction, write_segment

START = datetime(2026, 1, 2, tzinfo=UTC)


@pytest.fixture
def filled(container: ContainerClient, spool: Path, workspace: Path) -> Lake:
    """A container with five objects, and an empty cache."""
    lake = Lake(f"{container.url}/team", workspace / "cache")
    for index in range(5):
        write_segment(spool, "prediction", [prediction(f"id-{index}")], start=START)
    assert ship_once(spool, lake.store).failure is None
    return lake


def cached(lake: Lake, workspace: Path) -> list[str]:
    """Return the files in the cache but the index, sorted."""
    cache = workspace / "cache"
    return sorted(path.relative_to(cache).as_posix() for path in (cache / "v1").rglob("*") if path.is_file())


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(28, "No space left on device")])
def test_interrupted(
    filled: Lake, workspace: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    """A download that is interrupted goes on where it was."""
    names: list[str] = []
    chunks = filled.store.chunks

    def interrupted(name: str, start: int = 0) -> Iterator[bytes]:
        names.append(name)
        if len(names) == 4:
            raise error
        return chunks(name, start)

    monkeypatch.setattr(filled.store, "chunks", interrupted)
    with pytest.raises(BaseException, match=r"No space|^$"):
        filled.local("wine")
    assert len(cached(filled, workspace)) == 3
    assert len(filled.local("wine")) == 5
    assert len(names) == 4 + 2


def test_killed(filled: Lake, workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of a process that was killed before it wrote the index are removed; other files are not."""
    first, second, *_ = filled.local("wine")
    monkeypatch.setattr("monitor.lake.INDEX_OBJECTS", 1)
    index = workspace / "cache/index.json"
    known = json.loads(index.read_text())
    del known[first.object.name]
    index.write_text(json.dumps(known))
    torn = second.path.with_name(".torn.0")
    torn.touch()
    mine = workspace / "cache/notes.txt"
    mine.touch()
    filled.purge()
    assert not first.path.exists()
    assert not torn.exists()
    assert mine.exists()
    assert len(filled.local("wine")) == 5
    assert set(cached(filled, workspace)) == json.loads(index.read_text()).keys()


def test_index(filled: Lake, workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The index is written while objects are downloaded, and not after each of many."""
    monkeypatch.setattr("monitor.lake.INDEX_OBJECTS", 2)
    sizes: list[int] = []
    write = Lake._write_index

    def written(lake: Lake, index: dict[str, str]) -> None:
        sizes.append(len(index))
        write(lake, index)

    monkeypatch.setattr(Lake, "_write_index", written)
    filled.local("wine")
    assert sizes == [2, 4, 5]
    filled.local("wine")
    assert sizes == [2, 4, 5]
