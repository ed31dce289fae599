"""Compression of request and response bodies.

https://www.rfc-editor.org/rfc/rfc9110#section-8.4.1, content codings
"""

import zlib

from app.errors import BodyTooLarge, InvalidRequest

# Coding → zlib's `wbits`. Many clients send `deflate` without zlib's header, which is RAW.
CODINGS = {"gzip": 31, "deflate": 15}
RAW = -15


def inflate(body: bytes | memoryview, coding: str, max_bytes: int) -> bytes:
    """Decompress a body.

    Args:
        coding: one of CODINGS.
        max_bytes: limit of the result, since a few kilobytes can decompress to gigabytes.

    Raises:
        InvalidRequest: the body is not in the coding, is incomplete, or is followed by other data.
        BodyTooLarge: the result would be larger than `max_bytes`.
    """
    has_header = coding == "gzip" or (
        len(body) > 1 and body[0] & 15 == 8 and not (body[0] << 8 | body[1]) % 31
    )
    stream = zlib.decompressobj(CODINGS[coding] if has_header else RAW)
    try:
        data = stream.decompress(body, max_bytes + 1)
    except zlib.error as exc:
        raise InvalidRequest(f"the body is not {coding}: {exc}") from exc
    if len(data) > max_bytes:
        raise BodyTooLarge(f"expected a body of at most {max_bytes} bytes after decompression, got more")
    if not stream.eof or stream.unused_data:
        fault = "there is data after its end" if stream.eof else "it ends early"
        raise InvalidRequest(f"the body is not {coding}: {fault}")
    return data


def deflate(body: bytes, coding: str) -> bytes:
    """Compress a body.

    Args:
        coding: one of CODINGS.
    """
    stream = zlib.compressobj(zlib.Z_BEST_SPEED, wbits=CODINGS[coding])
    return stream.compress(body) + stream.flush()
