"""The guarantees of a store, for both backends."""

import io
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from azure.storage.blob import ContainerClient

from model_loader.errors import ConflictError, NotFoundError, StoreError
from model_loader.store import Store, open_store, redact

MIB = 1024 * 1024


def upload(store: Store, name: str, content: bytes) -> None:
    """Upload bytes."""
    store.upload(name, io.BytesIO(content))


def download(store: Store, name: str) -> bytes:
    """Download an object as bytes."""
    return b"".join(store.chunks(name))


def test_write_and_read(store: Store) -> None:
    """A small object is read as it was written, with the ETag for the next write."""
    store.write("m/a.json", b"one", None)
    content, etag = store.read("m/a.json") or (b"", "")
    store.write("m/a.json", b"two", etag)
    assert content == b"one"
    assert (store.read("m/a.json") or (b"", ""))[0] == b"two"


def test_read_of_a_missing_object(store: Store) -> None:
    """A missing object is None, not an error."""
    assert store.read("m/none.json") is None


def test_creates_once(store: Store) -> None:
    """A write without an ETag is refused if the object exists."""
    store.write("m/a.json", b"one", None)
    with pytest.raises(ConflictError, match=r"m/a.json .* written by somebody else"):
        store.write("m/a.json", b"two", None)
    assert (store.read("m/a.json") or (b"", ""))[0] == b"one"


def test_outdated_etag(store: Store) -> None:
    """A write with the ETag of an older content is refused."""
    store.write("m/a.json", b"one", None)
    _, etag = store.read("m/a.json") or (b"", "")
    store.write("m/a.json", b"two", etag)
    with pytest.raises(ConflictError):
        store.write("m/a.json", b"three", etag)
    assert (store.read("m/a.json") or (b"", ""))[0] == b"two"


def test_concurrent_creation(store: Store) -> None:
    """If sixteen threads create the same object at the same time, one of them succeeds."""

    def create(number: int) -> int:
        try:
            store.write("m/claim", str(number).encode(), None)
        except ConflictError:
            return 0
        return number

    with ThreadPoolExecutor(16) as pool:
        (winner,) = filter(None, pool.map(create, range(1, 17)))
    assert (store.read("m/claim") or (b"", ""))[0] == str(winner).encode()


@pytest.mark.parametrize("size", [0, 1, 8 * MIB, 20 * MIB + 7])
def test_transfers(store: Store, size: int) -> None:
    """A file of zero, one or many blocks is downloaded as it was uploaded."""
    content = os.urandom(size)
    upload(store, "m/1/model.onnx", content)
    assert download(store, "m/1/model.onnx") == content


def test_upload_replaces(store: Store) -> None:
    """A second upload replaces the first."""
    upload(store, "m/1/model.onnx", b"a longer first")
    upload(store, "m/1/model.onnx", b"second")
    assert download(store, "m/1/model.onnx") == b"second"


def test_download_of_a_missing_object(store: Store) -> None:
    """A missing object is an error that names it."""
    with pytest.raises(NotFoundError, match=r"m/1/model\.onnx is not in the store"):
        download(store, "m/1/model.onnx")


def test_names(store: Store) -> None:
    """The names below a prefix are listed in order."""
    for name in ("b/1/x", "a/2/y/z", "a/1/x", "ab/1/x"):
        upload(store, name, b"content")
    assert store.names("") == ["a/1/x", "a/2/y/z", "ab/1/x", "b/1/x"]
    assert store.names("a/") == ["a/1/x", "a/2/y/z"]
    assert store.names("c/") == []


def test_prefixes_are_separate(store: Store, store_url: str) -> None:
    """Two stores in one container with different prefixes do not see each other."""
    upload(store, "m/1/x", b"content")
    assert open_store(f"{store_url}-2").names("") == []


def test_file_store_hides_temporary_files(workspace: Path) -> None:
    """An incomplete file, as left by a publisher that was killed, is not listed."""
    store = open_store("file:store")
    upload(store, "m/1/model.onnx", b"content")
    (workspace / "store/m/1/.weights.bin.0123").write_bytes(b"half")
    assert store.names("") == ["m/1/model.onnx"]


@pytest.mark.parametrize(
    "name",
    [
        "",
        "..",
        "../secret",
        "m/../../secret",
        "m/..",
        "./m",
        "m//x",
        "/etc/hostname",
        "m\\..\\x",
        "m/a\nb",
        "m/\0",
        "m/\udc80",
        "n/\ud83d",
    ],
)
def test_names_that_no_store_accepts(workspace: Path, store: Store, name: str) -> None:
    """Names that leave the store, or that no manifest can have, are refused; nothing is written."""
    (workspace / "secret").write_text("secret")
    upload(store, "m/1/x", b"content")
    operations: list[Callable[[], object]] = [
        lambda: store.read(name),
        lambda: store.write(name, b"overwritten", None),
        lambda: upload(store, name, b"overwritten"),
        lambda: download(store, name),
    ]
    for operation in operations:
        with pytest.raises(
            StoreError, match=r"is outside of the store .* or cannot be the name of an object"
        ) as exc:
            operation()
        assert str(exc.value).isprintable()
    assert store.names("") == ["m/1/x"]
    assert (workspace / "secret").read_text() == "secret"


def test_foreign_names_are_left_out(workspace: Path) -> None:
    """A file whose name is not UTF-8 is not listed, because no method accepts its name."""
    store = open_store("file:store")
    upload(store, "m/1/x", b"content")
    (workspace / "store/m/1/\udc80").touch()
    assert store.names("") == ["m/1/x"]


def test_foreign_blobs_are_left_out(container: ContainerClient) -> None:
    """A blob whose name has an empty part is not listed, because no method accepts its name."""
    container.upload_blob("m//x", b"content")
    container.upload_blob("m/1/x", b"content")
    assert open_store(container.url).names("") == ["m/1/x"]


@pytest.mark.parametrize(
    "prefix", ["..", "team/../..", "%2e%2e", "team/%2e%2e/%2e%2e", "a%5Cb", "a%0Ab", "%ED%A0%80/.."]
)
def test_prefix_stays_in_the_container(prefix: str) -> None:
    """A prefix that leaves the container is refused."""
    with pytest.raises(StoreError, match=r"is outside of the store .* or cannot be the name of an object"):
        open_store(f"https://account.blob.core.windows.net/models/{prefix}")


@pytest.mark.parametrize(
    ("link", "target"),
    [
        ("other", "m"),
        ("m/2", "1"),
        ("m/1/y", "x"),
        ("outside", "../elsewhere"),
        ("m/3", "../../elsewhere"),
        ("loop", "loop"),
    ],
)
def test_links_are_not_followed(workspace: Path, link: str, target: str) -> None:
    """A symbolic link in a file store is refused by name, whether it leaves the store or not."""
    store = open_store("file:store")
    upload(store, "m/1/x", b"content")
    (workspace / "elsewhere").mkdir()
    (workspace / "elsewhere/x").write_text("secret")
    (workspace / "store" / link).symlink_to(target)
    name = link if link == "m/1/y" else f"{link}/x"
    for operation in (
        lambda: store.read(name),
        lambda: upload(store, name, b"new"),
        lambda: download(store, name),
    ):
        with pytest.raises(
            StoreError, match=f"{link} in the store file:store is a symbolic link: replace it"
        ):
            operation()
    assert "x" not in [name.rpartition("/")[2] for name in store.names("") if name != "m/1/x"]
    assert (workspace / "elsewhere/x").read_text() == "secret"


def test_store_can_be_a_link(workspace: Path) -> None:
    """The directory of the store itself can be a link."""
    (workspace / "real").mkdir()
    (workspace / "store").symlink_to("real")
    store = open_store("file:store")
    upload(store, "m/1/x", b"content")
    assert download(store, "m/1/x") == b"content"


def test_small_objects(store: Store) -> None:
    """An object that is read into memory has a limited size."""
    upload(store, "m/ledger.jsonl", bytes(64 * MIB + 1))
    with pytest.raises(StoreError, match="has 67108865 bytes, more than the 67108864 that it may have"):
        store.read("m/ledger.jsonl")


def test_replaced_while_it_is_downloaded(container: ContainerClient) -> None:
    """A blob that is replaced in the meantime is a conflict, not a mixture of both."""
    store = open_store(container.url)
    upload(store, "m/1/x", bytes(40 * MIB))
    chunks = store.chunks("m/1/x")
    next(chunks)
    upload(store, "m/1/x", b"\1" * 40 * MIB)
    with pytest.raises(ConflictError, match=r"m/1/x in the store .* was written by somebody else"):
        b"".join(chunks)


@pytest.mark.parametrize("start", [0, 1, 4 * MIB - 1, 4 * MIB, 9 * MIB, 10 * MIB])
def test_chunks_from_a_start(store: Store, start: int) -> None:
    """An object is downloaded from a byte on; from its end on, there is nothing."""
    content = os.urandom(10 * MIB)
    upload(store, "m/1/x", content)
    assert b"".join(store.chunks("m/1/x", start)) == content[start:]


@pytest.mark.parametrize(
    "url",
    [
        "",
        "model_store",
        "file:",
        "file://host/store",
        "s3://bucket/models",
        "https://",
        "https://example.com/models",
        "https://account.blob.core.windows.net",
        "https://account.blob.core.windows.net/",
        "https://account.blob.core.windows.net.evil.com/models",
        "https://evil.com/.blob.core.windows.net/models",
        "https://user:secret@account.blob.core.windows.net/models",
        "https://account.blob.core.windows.net:444/models",
        "http://account.blob.core.windows.net/models",
        "http://10.0.0.1:10000/devstoreaccount1/models",
        "http://127.0.0.1:10000/otheraccount/models",
        "http://127.0.0.1:10000/devstoreaccount1",
        "https://example.com/models?sig=secret",
    ],
)
def test_unknown_url(url: str) -> None:
    """An unknown URL is refused with the expected forms, without its secrets."""
    with pytest.raises(StoreError, match=r"expected .*https://<account>.blob.core.windows.net/<cont") as exc:
        open_store(url)
    assert "secret" not in str(exc.value)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("file:model_store", "file:model_store"),
        ("https://a.blob.core.windows.net/c/p/?sv=1&sig=secret", "https://a.blob.core.windows.net/c/p"),
        ("https://a.blob.core.windows.net/c?sig=sec/ret?sig=secret", "https://a.blob.core.windows.net/c"),
        ("https://user:secret@a.blob.core.windows.net/c", "https://a.blob.core.windows.net/c"),
    ],
)
def test_redact(url: str, expected: str) -> None:
    """The redacted URL identifies the store and has no secret."""
    assert redact(url) == expected


def test_etags(store: Store) -> None:
    """Every object has an ETag, which changes when the object is replaced."""
    for name in ("m/1/a", "m/1/b", "n/1/a"):
        store.write(name, b"x", None)
    before = store.etags("m/")
    assert [*before] == ["m/1/a", "m/1/b"]
    store.upload("m/1/a", io.BytesIO(b"y"))
    after = store.etags("m/")
    assert after["m/1/a"] != before["m/1/a"]
    assert after["m/1/b"] == before["m/1/b"]
    assert store.etags("o/") == {}
    assert {name: store.etag(name) for name in after} == after
    assert store.etag("m/none") is None


def test_delete(store: Store) -> None:
    """An object is deleted, and a missing one is no error."""
    store.write("m/1/a", b"x", None)
    store.write("m/1/b", b"x", None)
    store.delete("m/1/a")
    store.delete("m/1/a")
    assert store.names("m/") == ["m/1/b"]
