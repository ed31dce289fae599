"""Image files, as clients send them."""

import base64
import io
import struct
import zlib

from PIL import Image, ImageDraw

SIDE = 96


def circle() -> Image.Image:
    """Draw a yellow circle on blue."""
    image = Image.new("RGB", (SIDE, SIDE), (20, 30, 160))
    ImageDraw.Draw(image).ellipse((16, 20, 80, 84), fill=(240, 220, 40))
    return image


def square() -> Image.Image:
    """Draw a green square on a larger white image that is not square."""
    image = Image.new("RGB", (300, 280), "white")
    ImageDraw.Draw(image).rectangle((60, 60, 230, 230), fill=(10, 120, 40))
    return image


def encode(image: Image.Image, file_format: str, **options: object) -> str:
    """Return the image as a file in base64."""
    stream = io.BytesIO()
    image.save(stream, file_format, **options)
    return base64.b64encode(stream.getvalue()).decode()


def huge_png(width: int = 20_000, height: int = 20_000) -> str:
    """Return a complete PNG of a few hundred kilobytes with 400 million pixels, in base64."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    compressor = zlib.compressobj(9)
    rows = b"".join([*(compressor.compress(bytes(width + 1)) for _ in range(height)), compressor.flush()])
    parts = chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    return base64.b64encode(b"\x89PNG\r\n\x1a\n" + parts).decode()
