"""Compressed bodies.

https://www.rfc-editor.org/rfc/rfc9110#section-8.4.1, content codings
"""

import zlib

from app.errors import BodyTooLarge, InvalidRequest

# As zlib wants to be told; many send `deflate` without zlib's own header around it.
CODINGS = {"gzip": 31, "deflate": 15}
RAW = -15


def inflate(body: bytes | memoryview, coding: str, max_bytes: int) -> bytes:
    """The body as it was before it was compressed.

    Args:
        coding: one of CODINGS.
        max_bytes: of the result; a few bytes can stand for gigabytes.

    Raises:
        InvalidRequest: it is not in the coding, ends early, or goes on after its end.
        BodyTooLarge: it would be larger than `max_bytes`.
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
        raise BodyTooLarge(f"expected a body of at most {max_bytes} bytes when inflated, got more")
    if not stream.eof or stream.unused_data:
        raise InvalidRequest(
            f"the body is not {coding}: it {'goes on after its end' if stream.eof else 'ends early'}"
        )
    return data


def deflate(body: bytes, coding: str) -> bytes:
    """The body compressed, as `inflate` reads it.

    Args:
        coding: one of CODINGS.
    """
    stream = zlib.compressobj(zlib.Z_BEST_SPEED, wbits=CODINGS[coding])
    return stream.compress(body) + stream.flush()
