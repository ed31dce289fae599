"""What the head of a request decides, before a byte of the body is read.

https://www.rfc-editor.org/rfc/rfc9110, sections 8.3, 8.4, 8.6 and 15.5.16
"""

from collections.abc import Mapping, Sequence

from app.errors import BodyTooLarge, UnsupportedCoding, UnsupportedMediaType
from app.protocols.open_inference import MEDIA_TYPES as OPEN_INFERENCE  # part: v2
from app.protocols.open_inference_outputs import HEADER_LENGTH  # part: v2
from app.scoring.compression import CODINGS
from app.settings import Settings
from app.tensors.io_spec import preview

# Among the digits of a valid length; more would only cost time.
MAX_LENGTH_DIGITS = 19


def admit(
    headers: Mapping[str, str], media_types: Sequence[str], settings: Settings
) -> tuple[int | None, str]:
    """Check the headers that describe the body.

    Args:
        headers: looked up by lower-case name.
        media_types: those that the route supports.

    Raises:
        UnsupportedMediaType: the body's media type is missing or not supported.
        UnsupportedCoding: the body's coding is not supported.
        BodyTooLarge: the announced length is above the limit.

    Returns:
        the body's length in bytes, None if it is not announced; its coding, empty if there is none.
    """
    media_type = headers.get("content-type", "")
    if media_type not in media_types:
        _check_media_type(headers, media_types, settings)
    coding = headers.get("content-encoding", "")
    if coding:
        coding = coding.strip().lower().replace("identity", "")
        if coding and coding not in CODINGS:
            expected = " or ".join(CODINGS)
            raise UnsupportedCoding(f"expected content-encoding {expected}, got {preview(coding)}")
    length = headers.get("content-length", "")
    if not length.isdecimal():
        return None, coding
    if len(length) > MAX_LENGTH_DIGITS:
        length = length.lstrip("0") or "0"
    if len(length) > MAX_LENGTH_DIGITS or (size := int(length)) > settings.max_body_bytes:
        got = length if len(length) <= MAX_LENGTH_DIGITS else f"a number of {len(length)} digits"
        raise BodyTooLarge(f"expected a body of at most {settings.max_body_bytes} bytes, got {got}")
    return size, coding


def _check_media_type(headers: Mapping[str, str], media_types: Sequence[str], settings: Settings) -> None:
    media_type = headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type in media_types:
        return
    if not media_type and settings.require_content_type == "off":
        return
    # part: v2
    # A page of another site can make a browser send a POST without a content type unasked, but not one with a
    # header of its own, and not one without `Origin` (https://fetch.spec.whatwg.org/#origin-header). Triton's
    # client sends no content type, and only with binary data a header of its own.
    is_triton = HEADER_LENGTH in headers or (media_types == OPEN_INFERENCE and "origin" not in headers)
    if not media_type and is_triton:
        return
    # end: v2
    got = preview(media_type) if media_type else "none"
    raise UnsupportedMediaType(f"expected content-type {' or '.join(media_types)}, got {got}")
