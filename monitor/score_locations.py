"""Where rows are read and results are written: objects of stores, or of local directories."""

from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

from app.commands.scoring_files.formats import INPUT_SUFFIXES
from model_loader.store import Store, open_store
from monitor.errors import MonitorError

URL_SCHEMES = ("file:", "http:", "https:")


@dataclass(frozen=True)
class Location:
    """An object of a store; without a name, all objects of the store."""

    store: Store
    name: str = ""

    def __str__(self) -> str:
        return f"{self.store.url}/{self.name}".rstrip("/")

    def beside(self, suffix: str) -> "Location":
        """Return the object that `score_file` writes beside this one."""
        return Location(self.store, PurePosixPath(self.name).with_suffix(suffix).as_posix())


def find_pairs(source: str, out: str, suffix: str) -> list[tuple[Location, Location, str]]:
    """Return each object to read and to write, and the ETag of the first.

    Args:
        suffix: of the results below a prefix.

    Raises:
        MonitorError: there is nothing to score, or two objects would have one result.
        StoreError: a store cannot be used.
    """
    if _is_object(source):
        begin, end = location(source, is_object=True), location(out, is_object=True)
        if str(begin) == str(end):
            raise MonitorError(f"{begin} would be replaced by its result: give another OUT")
        if (etag := begin.store.etag(begin.name)) is None:
            raise MonitorError(f"{begin} does not exist")
        return [(begin, end, etag)]
    begin, end = location(source), location(out)
    if f"{end}/".startswith(f"{begin}/"):
        raise MonitorError(f"{end} is below {begin}: the next run would score the results")
    found: dict[str, tuple[Location, Location, str]] = {}
    for name, etag in begin.store.etags("").items():
        if PurePosixPath(name).suffix.lower() in INPUT_SUFFIXES:
            target = PurePosixPath(name).with_suffix(f".{suffix}").as_posix()
            if target in found:
                raise MonitorError(f"{begin}/{name} and another object would have the same result, {target}")
            found[target] = (Location(begin.store, name), Location(end.store, target), etag)
    if not found:
        raise MonitorError(f"{begin} has no object of {', '.join(INPUT_SUFFIXES)}")
    return [*found.values()]


def _is_object(text: str) -> bool:
    path = text if text.startswith("file:") else text.partition("?")[0]
    return not path.endswith("/") and PurePosixPath(path).suffix.lower() in INPUT_SUFFIXES


def location(text: str, *, is_object: bool = False) -> Location:
    """Return a location; the store of an object is what its URL has above the name."""
    url = text if text.startswith(URL_SCHEMES) else f"file:{text}"
    if not is_object:
        return Location(open_store(url))
    if url.startswith("file:"):
        path = Path(url.removeprefix("file:"))
        return Location(open_store(f"file:{path.parent}"), path.name)
    path_part, mark, query = url.partition("?")
    parent, _, name = path_part.rpartition("/")
    return Location(open_store(parent + mark + query), unquote(name))
