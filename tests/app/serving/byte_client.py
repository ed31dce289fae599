"""A client that sends byte sequences on many connections, and reads what answers them."""

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass

from tests.app.serving.byte_sequences import ByteSequence

CONNECTIONS = 200
# Between two parts, so that each is a read of its own.
PAUSE_S = 0.02
# Longer than any timer of the server: a connection that is open after it hangs.
HANGS_S = 20.0
_LENGTH = re.compile(rb"(?i)\r\ncontent-length: (\d+)\r\n")
_ID = re.compile(rb"(?i)\r\nx-request-id: ([^\r]*)\r\n")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What answered a sequence.

    Attributes:
        statuses: of the final responses.
        ids: of the requests that they answer; those that the server has made are empty.
        end: `closed`, or what else ended the connection.
    """

    statuses: tuple[int, ...]
    ids: tuple[str, ...]
    end: str


async def outcomes(port: int, sequences: Sequence[ByteSequence]) -> list[Outcome]:
    """Send sequences to a server, each on a connection of its own; return what answers them."""
    free = asyncio.Semaphore(CONNECTIONS)

    async def limited(sequence: ByteSequence) -> Outcome:
        async with free:
            return await outcome(port, sequence)

    return await asyncio.gather(*map(limited, sequences))


async def outcome(port: int, sequence: ByteSequence) -> Outcome:
    """Send a sequence to a server; return what answers it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    sending = asyncio.create_task(_send(writer, sequence.parts))
    received, end = bytearray(), "closed"
    try:
        async with asyncio.timeout(HANGS_S):
            while data := await reader.read(65536):
                received += data
    except ConnectionResetError:
        end = "reset"
    except TimeoutError:
        end = "open"
    sending.cancel()
    writer.transport.abort()
    return parsed(bytes(received), end)


async def _send(writer: asyncio.StreamWriter, parts: Sequence[bytes]) -> None:
    for index, part in enumerate(parts):
        if index:
            await asyncio.sleep(PAUSE_S)
        writer.write(part)


def parsed(data: bytes, end: str) -> Outcome:
    """Parse responses."""
    statuses: list[int] = []
    ids: list[str] = []
    while data:
        head, separator, data = data.partition(b"\r\n\r\n")
        head += b"\r\n"
        if not separator or not head.startswith(b"HTTP/1.1 "):
            return Outcome(tuple(statuses), tuple(ids), f"{end} after {head[:100]!r}")
        if head.startswith(b"HTTP/1.1 1"):
            continue
        statuses.append(int(head[9:12]))
        id_match, length = _ID.search(head), _LENGTH.search(head)
        id_ = id_match[1].decode("latin-1") if id_match else "none"
        ids.append("" if re.fullmatch("[0-9a-f]{32}", id_) else id_)
        if not length:
            return Outcome(tuple(statuses), tuple(ids), f"{end} after a response without a length")
        size = 0 if id_.startswith("head-") else int(length[1])
        if len(data) < size:
            return Outcome(tuple(statuses), tuple(ids), f"{end} within a response")
        data = data[size:]
    return Outcome(tuple(statuses), tuple(ids), end)
