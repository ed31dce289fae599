"""Keyed hashes in place of personal data: without the key, nobody can find a value by trying all of them."""

import hashlib
import hmac
from pathlib import Path
from typing import Any

from model_loader.errors import PackageError

MIN_KEY_BYTES = 16
# Of a hexadecimal HMAC-SHA-256: 128 bits.
HASH_CHARACTERS = 32


def hash_value(key: bytes, value: Any) -> str:
    """Return the hash of a value with `pii: hash`.

    Args:
        value: text or number; 7.0, 7 and "7" have the same hash.
    """
    text = f"{value:.17g}" if isinstance(value, (int, float)) and not isinstance(value, bool) else str(value)
    return hmac.new(key, text.encode(errors="surrogatepass"), hashlib.sha256).hexdigest()[:HASH_CHARACTERS]


def read_hash_key(path: Path) -> bytes:
    """Read the secret key of the hashes.

    Raises:
        PackageError: the file cannot be read, or is too short.
    """
    try:
        key = path.read_bytes().strip()
    except OSError as exc:
        raise PackageError(f"{path}: {exc.strerror}") from exc
    if len(key) < MIN_KEY_BYTES:
        raise PackageError(f"{path}: expected at least {MIN_KEY_BYTES} bytes, got {len(key)}")
    return key
