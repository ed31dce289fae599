"""Keyed hashes in place of personal data: without the key, nobody can find a value by trying all of them."""

import hashlib
import hmac
import math
from decimal import Decimal, InvalidOperation
from numbers import Real
from pathlib import Path
from typing import Any

from model_loader.errors import PackageError

MIN_KEY_BYTES = 16
# Of a hexadecimal HMAC-SHA-256: 128 bits.
HASH_CHARACTERS = 32


def hash_value(key: bytes, value: Any) -> str:
    """Return the hash of a value with `pii: hash`.

    Args:
        value: text or number, also of NumPy; 7.0, 7 and "7" have the same hash.
    """
    is_number = isinstance(value, Real) and not isinstance(value, bool)
    text = decimal_digits(str(value)) if is_number else None
    text = str(value) if text is None else text
    return hmac.new(key, text.encode(errors="surrogatepass"), hashlib.sha256).hexdigest()[:HASH_CHARACTERS]


def decimal_digits(text: str) -> str | None:
    """Return a number without exponent and trailing zeros, `11.03` of `1.1030e1`; None: not a finite one.

    Nothing is rounded, so that different numbers have different digits.

    Args:
        text: as `str` of a number, which for a float32 has as few digits as it needs.
    """
    try:
        number = Decimal(text)
        # Of a number that no datatype has, the digits could be millions.
        if not math.isfinite(float(number)):
            return None
    except (InvalidOperation, OverflowError):
        return None
    digits = f"{number:f}"
    digits = digits.rstrip("0").rstrip(".") if "." in digits else digits
    return "0" if digits in ("-0", "") else digits


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
