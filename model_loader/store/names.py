"""Names and sizes of objects that a store accepts."""

from model_loader.errors import StoreError

# Manifests, ledgers, claims and signatures are read into memory.
MAX_SMALL_BYTES = 64 * 1024 * 1024


def is_object_name(name: str) -> bool:
    """Return whether `name` stays inside a store: see `check_object_name`."""
    parts = name.split("/")
    return name.isprintable() and "\\" not in name and not any(part in ("", ".", "..") for part in parts)


def check_object_name(name: str, url: str) -> str:
    """Return `name` if it stays inside the store.

    An HTTP client resolves `..` before it sends a URL, so a blob's name could leave the prefix and the
    container. A lone surrogate is in no URL and in no JSON.

    Raises:
        StoreError: it is absolute, has an empty part, `.` or `..`, a backslash or an unprintable character.
    """
    if not is_object_name(name):
        raise StoreError(f"{name!a} is outside of the store {url} or cannot be the name of an object")
    return name


def check_small(name: str, size: int, url: str) -> None:
    """Accept an object that is read into memory.

    Raises:
        StoreError: it is too large.
    """
    if size > MAX_SMALL_BYTES:
        raise StoreError(
            f"{name} in the store {url} has {size} bytes, more than the {MAX_SMALL_BYTES} that it may have"
        )
