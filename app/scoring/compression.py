"""Compression of request and response bodies.

https://www.rfc-editor.org/rfc/rfc9110#section-8.4.1, content codings
https://www.rfc-editor.org/rfc/rfc1952#section-2.2, a gzip body is a series of members
"""

import zlib
from collections.abc import Callable

from app.errors import BodyTooLarge, InvalidRequest

# Coding → zlib's `wbits`. Many clients send `deflate` without zlib's header, which is RAW.
CODINGS = {"gzip": 31, "x-gzip": 31, "deflate": 15}
RAW = -15
CHUNK_BYTES = 256 * 1024
# bgzip, the tool with the smallest members, writes one per 64 KiB of data. A member of 20 bytes costs as much
# time as kilobytes of data.
MAX_MEMBERS = 10_000


def inflate(
    body: bytes | bytearray | memoryview,
    coding: str,
    max_bytes: int,
    reserve: Callable[[int], None] = lambda _: None,
) -> bytes:
    """Decompress a body.

    Args:
        coding: one of CODINGS.
        max_bytes: limit of the result, since a few kilobytes can decompress to gigabytes.
        reserve: is called with the size of each piece of the result; what it raises ends the decompression.

    Raises:
        InvalidRequest: the body is not in the coding, is incomplete, or is followed by other data.
        BodyTooLarge: the result would be larger than `max_bytes`.
    """
    view = memoryview(body)
    wbits = CODINGS[coding]
    if coding == "deflate" and not _has_zlib_header(view):
        wbits = RAW
    pieces: list[bytes] = []
    size = begin = members = 0
    stream = zlib.decompressobj(wbits)
    while True:
        if stream.eof:
            if begin == len(view):
                return b"".join(pieces)
            members += 1
            if coding == "deflate" or members == MAX_MEMBERS:
                fault = "there is data after its end" if coding == "deflate" else "it has too many members"
                raise InvalidRequest(f"the body is not {coding}: {fault}")
            stream = zlib.decompressobj(wbits)
        chunk = view[begin : begin + CHUNK_BYTES]
        try:
            piece = stream.decompress(chunk, min(CHUNK_BYTES, max_bytes - size + 1))
        except zlib.error as exc:
            raise InvalidRequest(f"the body is not {coding}: {exc}") from exc
        if not (piece or chunk or stream.eof):
            raise InvalidRequest(f"the body is not {coding}: it ends early")
        begin += len(chunk) - len(stream.unused_data if stream.eof else stream.unconsumed_tail)
        size += len(piece)
        if size > max_bytes:
            raise BodyTooLarge(f"expected a body of at most {max_bytes} bytes after decompression, got more")
        reserve(len(piece))
        pieces.append(piece)


def deflate(body: bytes | bytearray, coding: str) -> bytes:
    """Compress a body.

    Args:
        coding: one of CODINGS.
    """
    stream = zlib.compressobj(zlib.Z_BEST_SPEED, wbits=CODINGS[coding])
    return stream.compress(body) + stream.flush()


def _has_zlib_header(body: memoryview) -> bool:
    return len(body) > 1 and body[0] & 15 == 8 and not (body[0] << 8 | body[1]) % 31
