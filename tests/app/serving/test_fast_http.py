"""Which requests the fast path recognizes."""

import time

import pytest

from app.serving.fast_http import MAX_HEAD_BYTES, parse_simple_post
from tests.app.serving.raw_http import BODY, HEAD, POST


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"Connection: keep-alive\r\n",
        b"Connection: Keep-Alive\r\n",
        b"Accept:\r\n",
        b"X-Request-Id: \t a:b \r\n",
        b"X-Name: \xe4\r\n",
    ],
)
def test_simple_post(line: bytes) -> None:
    """An ordinary request is recognized, with header names in lower case and stripped values."""
    request = HEAD + line + b"\r\n" + BODY
    head = parse_simple_post(request)
    assert head
    path, headers, begin = head
    assert path == "/score"
    assert request[begin:] == BODY
    assert headers["host"] == "a"
    assert headers.get("x-request-id", "a:b") == "a:b"
    assert headers.get("x-name", "ä") == "ä"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        HEAD,
        POST.replace(b"POST", b"PUT"),
        POST.replace(b"/score", b"http://a/score"),
        POST.replace(b"/score", b"/sc ore"),
        POST.replace(b"/score", b"/sc\xf6re"),
        POST.replace(b"1.1", b"1.0"),
        POST.replace(b"\r\n", b"\n"),
        b"\r\n" + POST,
        POST.replace(b"Host: a\r\n", b""),
        POST.replace(b"Host: a", b"Host: a\r\nHost: a"),
        POST.replace(b"Host:", b"Host :"),
        POST.replace(b"Host: a", b"Host: a\r\n b"),
        POST.replace(b"Host: a", b"Host: \0"),
        POST.replace(b"Host: a", b"Host: a\rb"),
        POST.replace(b"Host: a", b"Host: a\r\n: b"),
        POST.replace(b"Host: a", b"Host: a\r\nContent_Length: 3"),
        POST.replace(b"Host: a", b"Host: a\r\nTransfer-Encoding: chunked"),
        POST.replace(b"Host: a", b"Host: a\r\nTransfer-Encoding: identity"),
        POST.replace(b"Host: a", b"Host: a\r\nExpect: 100-continue"),
        POST.replace(b"Host: a", b"Host: a\r\nUpgrade: h2c"),
        POST.replace(b"Host: a", b"Host: a\r\nConnection: close"),
        POST.replace(b"Host: a", b"Host: a\r\nConnection: keep-alive, upgrade"),
        POST.replace(b"Host: a", b"Host: a\r\nContent-Length: 20"),
        POST.replace(b"20", b""),
        POST.replace(b"20", b"+20"),
        POST.replace(b"20", b"-1"),
        POST.replace(b"20", b"2\xb2"),
        POST.replace(b"20", b"20, 20"),
        POST.replace(b"20", b"0x14"),
        POST.replace(b"Host: a", b"Host: a" + b"a" * MAX_HEAD_BYTES),
    ],
)
def test_other_requests(data: bytes) -> None:
    """A request that is malformed or not framed by its length alone is left to gunicorn's parser."""
    assert parse_simple_post(data) is None


def test_long_lines() -> None:
    """No head causes the regular expression to backtrack."""
    started = time.perf_counter()
    for filler in (b" ", b"a", b"a:", b"a: a\r\n", b"\t \t"):
        assert parse_simple_post(HEAD + b"a:" + filler * MAX_HEAD_BYTES + b"\0") is None
    assert time.perf_counter() - started < 0.5
