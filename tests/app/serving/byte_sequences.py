"""Sequences of bytes on a connection, divided into reads; generated from a seed, the same in every run."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from random import Random

from tests.app.serving.http_cases import BODY, CONTENT, HEADS, HIDDEN, REFUSED

SEED = 22
MUTATIONS = 3000
MIXES = 5000
# Longer cases are divided where their lines end, and nowhere else.
LONG_BYTES = 2000
# The last request of a sequence. It gets a response if the connection has neither ended nor lost its place.
END = b"GET /healthz HTTP/1.1\r\nHost: a\r\nX-Request-Id: end\r\nConnection: close\r\n\r\n"
_SCORE = b"POST /score HTTP/1.1\r\nHost: a\r\nX-Request-Id: %d\r\n"
_OTHER = b"POST /nothing HTTP/1.1\r\nHost: a\r\nX-Request-Id: %d\r\n"
_GET = b" HTTP/1.1\r\nHost: a\r\nX-Request-Id: %d\r\n"
_LENGTH = b"Content-Length: 20\r\n\r\n" + BODY
_HIDDEN = b"Content-Length: %d\r\n\r\n%b" % (len(HIDDEN), HIDDEN)
_CHUNKS = b'Transfer-Encoding: chunked\r\n\r\n5\r\n{"inp\r\nf;a=b\r\nuts": [[1, 2]]}\r\n0\r\nX-A: b\r\n\r\n'
# Valid requests, with a place for their numbers, and their statuses.
VALID = (
    (_SCORE + _LENGTH, 200),
    (_SCORE + _CHUNKS, 200),
    (_SCORE + _HIDDEN, 400),
    (_SCORE + b"Content-Length: 0\r\n\r\n", 400),
    (_SCORE + b"Content-Type: text/plain\r\n" + _HIDDEN, 415),
    (_SCORE + b"Expect: 100-continue\r\n" + _LENGTH, 200),
    (_SCORE.replace(b"/score", b"http://b/score?a") + _LENGTH, 200),
    (_SCORE.replace(b"/score", b"/v2/models/tiny/infer") + _LENGTH, 400),  # part: v2
    (_OTHER + _HIDDEN, 404),
    (_OTHER + _CHUNKS, 404),
    (b"GET /healthz" + _GET + b"\r\n", 200),
    (b"GET /healthz" + _GET + _HIDDEN, 200),
    (b"GET /score" + _GET + b"\r\n", 405),
    (b"HEAD /nothing" + _GET.replace(b"%d", b"head-%d") + b"\r\n", 404),
)
_MUTANTS = b'\r\n\t :;,%/\\0123456789abcx{}[]"\x00\x0b\x7f\x80\xff+-'


@dataclass(frozen=True, slots=True)
class ByteSequence:
    """Bytes that are sent on one connection.

    Attributes:
        parts: sent one after another, each as a read of its own.
        statuses: of the responses; None if any are allowed.
    """

    name: str
    parts: tuple[bytes, ...]
    statuses: tuple[int, ...] | None


def sequences() -> list[ByteSequence]:
    """Return all sequences."""
    random = Random(SEED)
    return [*_cases(random), *_mutations(random), *_mixes(random)]


def _cases(random: Random) -> Iterator[ByteSequence]:
    """Yield every case whole, at every cut into two reads, and at some cuts into three."""
    other = {
        f"other_{name}": (message.replace(b"/score", b"/nothing"), (404, *statuses[1:]))
        for name, (message, statuses) in CONTENT.items()
    }
    for name, (message, statuses) in {**REFUSED, **CONTENT, **HEADS, **other}.items():
        ends = statuses
        cuts = list(range(1, len(message) + 1))
        if len(message) > LONG_BYTES:
            cuts = [index + 1 for index in cuts[:-1] if message[index : index + 1] == b"\n"][-10:]
        data = message + END
        yield ByteSequence(name, (data,), ends)
        for cut in cuts:
            yield ByteSequence(f"{name}@{cut}", _divided(data, [cut]), ends)
        for _ in range(len(cuts) // 4):
            pair = sorted(random.sample(range(1, len(data)), 2))
            yield ByteSequence(f"{name}@{pair}", _divided(data, pair), ends)


def _mutations(random: Random) -> Iterator[ByteSequence]:
    """Yield valid requests of which some bytes are replaced, inserted or removed."""
    for number in range(MUTATIONS):
        message = bytearray(random.choice(VALID[:-1])[0] % 0)  # a client has to know that it sent HEAD
        for _ in range(random.randint(1, 3)):
            index = random.randrange(len(message))
            mutant = bytes([random.choice(_MUTANTS)])
            message[index : index + random.randint(0, 2)] = mutant * random.randint(0, 2)
        data = bytes(message) + (random.choice(VALID)[0] % 1 if random.random() < 0.5 else b"") + END
        yield ByteSequence(f"mutation_{number}", _divided(data, _cuts(random, data)), None)


def _mixes(random: Random) -> Iterator[ByteSequence]:
    """Yield pipelined valid requests; some close the connection, or a malformed one follows."""
    for number in range(MIXES):
        chosen = [random.choice(VALID) for _ in range(random.randint(2, 8))]
        requests = [message % index for index, (message, _) in enumerate(chosen)]
        statuses = [status for _, status in chosen]
        ending = random.choice(("end", "end", "close", "malformed"))
        if ending == "close":
            last = random.randrange(len(requests))
            requests[last] = requests[last].replace(b"Host: a", b"Host: a\r\nConnection: close", 1)
            del statuses[last + 1 :]
        elif ending == "malformed":
            message, ends = random.choice(list(REFUSED.values()))
            requests.append(message.replace(b"Id: 0", b"Id: %d" % len(requests), 1))
            statuses.extend(ends)
        else:
            statuses.append(200)
        data = b"".join(requests) + END
        yield ByteSequence(f"mix_{number}_{ending}", _divided(data, _cuts(random, data)), tuple(statuses))


def _cuts(random: Random, data: bytes) -> list[int]:
    return sorted(random.sample(range(1, len(data)), random.randint(0, 5)))


def _divided(data: bytes, cuts: Sequence[int]) -> tuple[bytes, ...]:
    bounds = [0, *cuts, len(data)]
    parts = (data[low:high] for low, high in pairwise(bounds))
    return tuple(part for part in parts if part)
