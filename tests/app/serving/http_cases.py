"""HTTP messages to the letter and beside it, with the statuses that answer them.

https://www.rfc-editor.org/rfc/rfc9112, https://www.rfc-editor.org/rfc/rfc9110,
https://portswigger.net/research/http-desync-attacks
"""

from typing import TypeAlias

BODY = b'{"inputs": [[1, 2]]}'
# A request that is content: nothing may answer it.
HIDDEN = b"GET /hidden HTTP/1.1\r\nHost: a\r\nX-Request-Id: hidden\r\n\r\n"
CHUNKED = b"Transfer-Encoding: chunked"
LENGTH = b"Content-Length: 20"
CHUNKS = b"14\r\n" + BODY + b"\r\n0\r\n\r\n"
# Of the server that gets the cases.
MAX_BODY_BYTES = 4096

Cases: TypeAlias = dict[str, tuple[bytes, tuple[int, ...]]]


def post(
    *lines: bytes,
    body: bytes = BODY,
    start: bytes = b"POST /score HTTP/1.1",
    host: tuple[bytes, ...] = (b"Host: a",),
) -> bytes:
    """Return a request with header lines, as they stand."""
    return b"\r\n".join([start, *host, b"X-Request-Id: 0", *lines, b"", body])


def get(target: bytes, *lines: bytes, method: bytes = b"GET", version: bytes = b"HTTP/1.1") -> bytes:
    """Return a request without content."""
    return post(*lines, body=b"", start=b" ".join([method, target, version]))


def framed(line: bytes) -> bytes:
    """Return a request whose content is framed by a line, and may be a hidden request."""
    return post(line, body=BODY + HIDDEN)


def chunked(body: bytes) -> bytes:
    """Return a request with chunks, as they stand."""
    return post(CHUNKED, body=body)


# Name → message, and the statuses of its responses and of the one to a request that follows.
# Messages whose framing is refused by the head.
REFUSED: Cases = {
    "cl_te": (post(b"Content-Length: 6", CHUNKED, body=b"0\r\n\r\nG" + HIDDEN), (400,)),
    "te_cl": (post(CHUNKED, b"Content-Length: 4", body=b"37\r\n" + HIDDEN + b"\r\n0\r\n\r\n"), (400,)),
    "cl_cl_same": (framed(LENGTH + b"\r\n" + LENGTH), (400,)),
    "cl_cl_different": (framed(LENGTH + b"\r\nContent-Length: 75"), (400,)),
    "cl_list": (framed(b"Content-Length: 20, 20"), (400,)),
    "cl_plus": (framed(b"Content-Length: +20"), (400,)),
    "cl_minus": (framed(b"Content-Length: -20"), (400,)),
    "cl_hex": (framed(b"Content-Length: 0x14"), (400,)),
    "cl_exponent": (framed(b"Content-Length: 2e1"), (400,)),
    "cl_underscore": (framed(b"Content-Length: 2_0"), (400,)),
    "cl_inner_space": (framed(b"Content-Length: 2 0"), (400,)),
    "cl_letters": (framed(b"Content-Length: 20a"), (400,)),
    "cl_empty": (framed(b"Content-Length:"), (400,)),
    "cl_2_64": (framed(b"Content-Length: 18446744073709551636"), (400,)),
    "cl_huge": (framed(b"Content-Length: " + b"9" * 500), (400,)),
    "cl_fold": (framed(b"Content-Length:\r\n 20"), (400,)),
    "cl_space_before_colon": (framed(b"Content-Length : 20"), (400,)),
    "te_list": (post(b"Transfer-Encoding: gzip, chunked", body=CHUNKS), (501,)),
    "te_unknown": (post(b"Transfer-Encoding: xchunked", body=CHUNKS + HIDDEN), (501,)),
    "te_identity": (post(b"Transfer-Encoding: identity", LENGTH, body=BODY + HIDDEN), (400,)),
    "te_not_last": (post(b"Transfer-Encoding: chunked, identity", body=CHUNKS + HIDDEN), (400,)),
    "te_quoted": (post(b'Transfer-Encoding: "chunked"', body=CHUNKS + HIDDEN), (501,)),
    "te_twice": (post(CHUNKED, CHUNKED, body=CHUNKS + HIDDEN), (400,)),
    "te_te_unknown": (post(CHUNKED, b"Transfer-Encoding: x", body=CHUNKS + HIDDEN), (400,)),
    "te_unknown_te": (post(b"Transfer-Encoding: x", CHUNKED, body=CHUNKS + HIDDEN), (501,)),
    "te_space_before_colon": (post(b"Transfer-Encoding : chunked", LENGTH, body=BODY + HIDDEN), (400,)),
    "te_fold": (post(b"Transfer-Encoding:\r\n chunked", LENGTH, body=BODY + HIDDEN), (400,)),
    "te_bare_lf": (post(b"X-A: b\nTransfer-Encoding: chunked", LENGTH, body=BODY + HIDDEN), (400,)),
    "te_vertical_tab": (post(b"Transfer-Encoding: \x0bchunked", LENGTH, body=BODY + HIDDEN), (400,)),
    "te_1_0": (post(CHUNKED, body=CHUNKS, start=b"POST /score HTTP/1.0"), (501,)),
}
# Requests whose response depends on the route; a route without content has responses of its own.
CONTENT: Cases = {
    "length": (post(LENGTH), (200, 200)),
    "chunked": (chunked(CHUNKS), (200, 200)),
    "no_length": (post(body=b""), (400, 200)),
    "cl_zeros": (post(b"Content-Length: 00020"), (200, 200)),
    "cl_spaces": (post(b"Content-Length: \t 20 \t "), (200, 200)),
    "cl_underscored": (post(b"Content_Length: 55", LENGTH), (200, 200)),
    "te_tab": (post(b"Transfer-Encoding:\tchunked", body=CHUNKS), (200, 200)),
    "te_case": (post(b"tRANSFER-eNCODING: ChUnKeD", body=CHUNKS), (200, 200)),
    "chunk_two": (chunked(b"a\r\n" + BODY[:10] + b"\r\nA\r\n" + BODY[10:] + b"\r\n0\r\n\r\n"), (200, 200)),
    "chunks_of_one": (
        chunked(b"".join([b"1\r\n%c\r\n" % byte for byte in BODY]) + b"0\r\n\r\n"),
        (200, 200),
    ),
    "chunk_extension_70k": (chunked(b"14;a=" + b"b" * 70_000 + b"\r\n" + BODY + b"\r\n0\r\n\r\n"), (400,)),
    "chunk_zeros": (chunked(b"0014\r\n" + BODY + b"\r\n000\r\n\r\n"), (200, 200)),
    "chunk_extension": (chunked(b"14;a=b;c\r\n" + BODY + b"\r\n0;d\r\n\r\n"), (200, 200)),
    "chunk_extension_quoted": (chunked(b'14;a="b;c"\r\n' + BODY + b"\r\n0\r\n\r\n"), (200, 200)),
    "chunk_extension_lf": (chunked(b"14;a\n" + BODY + b"\r\n0\r\n\r\n"), (400,)),
    "chunk_extension_cr": (chunked(b"14;a\rb\r\n" + BODY + b"\r\n0\r\n\r\n"), (400,)),
    "chunk_extension_nul": (chunked(b"14;a\x00\r\n" + BODY + b"\r\n0\r\n\r\n"), (400,)),
    "chunk_trailer": (chunked(CHUNKS[:-2] + b"X-A: b\r\nX-C: d\r\n\r\n"), (200, 200)),
    "chunk_trailer_length": (chunked(CHUNKS[:-2] + b"Content-Length: 55\r\n\r\n"), (400,)),
    "chunk_trailer_id": (chunked(CHUNKS[:-2] + b"X-Request-Id: hidden\r\n\r\n"), (200, 200)),
    "chunk_trailer_malformed": (chunked(CHUNKS[:-2] + b"X A\r\n\r\n"), (400,)),
    "chunk_hidden": (chunked(b"37\r\n" + HIDDEN + b"\r\n0\r\n\r\n"), (400, 200)),
    "chunk_size_0x": (chunked(b"0x14\r\n" + BODY + b"\r\n0\r\n\r\n"), (400,)),
    "chunk_size_sign": (chunked(b"+14\r\n" + BODY + b"\r\n0\r\n\r\n"), (400,)),
    "chunk_size_space": (chunked(b" 14\r\n" + BODY + b"\r\n0\r\n\r\n"), (400,)),
    "chunk_size_empty": (chunked(b"\r\n" + BODY + b"\r\n0\r\n\r\n"), (400,)),
    "chunk_size_overflow": (chunked(b"10000000000000014\r\n" + BODY + b"\r\n0\r\n\r\n"), (400,)),
    "chunk_size_lf": (chunked(b"14\n" + BODY + b"\r\n0\r\n\r\n"), (400,)),
    "chunk_short": (chunked(b"13\r\n" + BODY + b"\r\n0\r\n\r\n"), (400,)),
    "chunk_long": (chunked(b"16\r\n" + BODY + b"\r\n0\r\n\r\n"), (400,)),
    "chunk_no_crlf": (chunked(b"14\r\n" + BODY + b"0\r\n\r\n"), (400,)),
    "chunk_lf": (chunked(b"14\r\n" + BODY + b"\n0\r\n\r\n"), (400,)),
    "chunk_end_lf": (chunked(b"14\r\n" + BODY + b"\r\n0\r\n\n"), (400,)),
    "too_large": (post(b"Content-Length: 4200", body=(HIDDEN * 77)[:4200]), (413, 200)),
    "too_large_chunked": (chunked(b"1068\r\n" + (HIDDEN * 77)[:4200] + b"\r\n0\r\n\r\n"), (413, 200)),
    "expect": (post(b"Expect: 100-continue", LENGTH), (200, 200)),
    "expect_chunked": (post(b"Expect: 100-Continue", CHUNKED, body=CHUNKS), (200, 200)),
    "expect_too_large": (post(b"Expect: 100-continue", b"Content-Length: 5000", body=b""), (413,)),
    "expect_unknown": (post(b"Expect: x", LENGTH), (200, 200)),
    "close": (post(LENGTH, b"Connection: close") + HIDDEN, (200,)),
    "close_list": (post(LENGTH, b"Connection: x, Close") + HIDDEN, (200,)),
    "close_error": (post(b"Content-Length: 1", b"Connection: close", body=b"{") + HIDDEN, (400,)),
    "upgrade": (post(LENGTH, b"Connection: Upgrade", b"Upgrade: h2c"), (200, 200)),
    "upgrade_chunked": (
        post(CHUNKED, b"Connection: Upgrade", b"Upgrade: websocket", body=CHUNKS),
        (200, 200),
    ),
    "upgrade_hidden": (
        post(b"Content-Length: 55", b"Connection: Upgrade", b"Upgrade: h2c", body=HIDDEN),
        (400, 200),
    ),
}
# Everything else in a head.
HEADS: Cases = {
    "no_host": (post(LENGTH, host=()), (400,)),
    "two_hosts": (post(LENGTH, host=(b"Host: a", b"Host: b")), (400,)),
    "same_hosts": (post(LENGTH, host=(b"Host: a", b"Host: a")), (400,)),
    "empty_host": (post(LENGTH, host=(b"Host:",)), (200, 200)),
    "host_port": (post(LENGTH, host=(b"Host: a.example:8080",)), (200, 200)),
    "host_ipv6": (post(LENGTH, host=(b"Host: [::1]:8080",)), (200, 200)),
    "host_user": (post(LENGTH, host=(b"Host: user@a",)), (400,)),
    "host_path": (post(LENGTH, host=(b"Host: a/b",)), (400,)),
    "host_list": (post(LENGTH, host=(b"Host: a, b",)), (400,)),
    "host_space": (post(LENGTH, host=(b"Host: a b",)), (400,)),
    "host_bytes": (post(LENGTH, host=(b"Host: \xff",)), (400,)),
    "host_space_before_colon": (post(LENGTH, host=(b"Host : a",)), (400,)),
    "fold": (post(LENGTH, b"X-A: b\r\n c"), (400,)),
    "fold_first": (post(LENGTH, host=(b" Host: a",)), (400,)),
    "lf": (post(LENGTH).replace(b"\r\n", b"\n"), (400,)),
    "lf_one": (post(LENGTH, b"X-A: b\nX-C: d"), (400,)),
    "lf_end": (post(LENGTH).replace(b"\r\n\r\n", b"\n\n"), (400,)),
    "cr": (post(LENGTH, b"X-A: b\rX-C: d"), (400,)),
    "cr_cr_lf": (post(LENGTH, b"X-A: b\r"), (400,)),
    "leading_crlf": (b"\r\n\r\n" + post(LENGTH), (200, 200)),
    "leading_lf": (b"\n" + post(LENGTH), (200, 200)),
    "leading_space": (b" " + post(LENGTH), (400,)),
    "no_colon": (post(LENGTH, b"X-A"), (400,)),
    "empty_name": (post(LENGTH, b": a"), (400,)),
    "name_space": (post(LENGTH, b"X A: b"), (400,)),
    "name_nul": (post(LENGTH, b"X\x00A: b"), (400,)),
    "name_bytes": (post(LENGTH, b"X\xe9: b"), (400,)),
    "name_parenthesis": (post(LENGTH, b"X(: b"), (400,)),
    "value_nul": (post(LENGTH, b"X-A: b\x00c"), (400,)),
    "value_control": (post(LENGTH, b"X-A: b\x01c"), (400,)),
    "value_delete": (post(LENGTH, b"X-A: b\x7fc"), (400,)),
    "value_bytes": (post(LENGTH, b"X-A: \xff\xe9"), (200, 200)),
    "value_empty": (post(LENGTH, b"X-A:", b"X-C: "), (200, 200)),
    "headers_100": (post(LENGTH, *[b"X-%d: a" % number for number in range(97)]), (200, 200)),
    "headers_101": (post(LENGTH, *[b"X-%d: a" % number for number in range(98)]), (431,)),
    "head_60k": (post(LENGTH, b"X-A: " + b"a" * 60_000), (200, 200)),
    "head_65k": (post(LENGTH, b"X-A: " + b"a" * 66_000), (431,)),
    "head_lines_65k": (post(LENGTH, *[b"X-A: " + b"a" * 700 for _ in range(95)]), (431,)),
    "target_65k": (get(b"/" + b"a" * 66_000), (431,)),
    "id_long": (post(LENGTH).replace(b"Id: 0", b"Id: " + b"0" * 101), (431, 200)),
    "absolute": (post(LENGTH, start=b"POST http://b.example/score HTTP/1.1"), (200, 200)),
    "absolute_port": (post(LENGTH, start=b"POST HTTPS://b:1/score?a=b HTTP/1.1"), (200, 200)),
    "absolute_empty": (get(b"http://a"), (200, 200)),
    "absolute_query": (get(b"http://a?b"), (200, 200)),
    "absolute_user": (post(LENGTH, start=b"POST http://user@a/score HTTP/1.1"), (400,)),
    "absolute_no_host": (post(LENGTH, start=b"POST http:///score HTTP/1.1"), (400,)),
    "absolute_other": (post(LENGTH, start=b"POST ftp://a/score HTTP/1.1"), (400,)),
    "authority": (post(LENGTH, start=b"POST a:80 HTTP/1.1"), (400,)),
    "connect": (get(b"a:443", method=b"CONNECT") + HIDDEN, (501,)),
    "connect_path": (get(b"/score", method=b"CONNECT") + HIDDEN, (501,)),
    "asterisk": (get(b"*", method=b"OPTIONS"), (400,)),
    "asterisk_post": (post(LENGTH, start=b"POST * HTTP/1.1"), (400,)),
    "options": (get(b"/score", method=b"OPTIONS"), (405, 200)),
    "double_slash": (post(LENGTH, start=b"POST //score HTTP/1.1"), (404, 200)),
    "encoded": (post(LENGTH, start=b"POST /%73core HTTP/1.1"), (200, 200)),
    "encoded_slash": (post(LENGTH, start=b"POST /%2Fscore HTTP/1.1"), (404, 200)),
    "encoded_nul": (get(b"/%00"), (404, 200)),
    "encoded_line": (get(b"/%0d%0aX-A:%20b"), (404, 200)),
    "encoded_half": (get(b"/%"), (404, 200)),
    "query": (post(LENGTH, start=b"POST /score?a=b&c HTTP/1.1"), (200, 200)),
    "query_question": (post(LENGTH, start=b"POST /score?? HTTP/1.1"), (200, 200)),
    "fragment": (get(b"/healthz#a"), (200, 200)),
    "backslash": (get(b"\\healthz"), (400,)),
    "relative": (get(b"healthz"), (400,)),
    "dots": (get(b"/a/../healthz"), (404, 200)),
    "target_bytes": (get(b"/\xe9"), (400,)),
    "target_nul": (get(b"/\x00"), (400,)),
    "target_tab": (get(b"/\t"), (400,)),
    "two_spaces": (get(b" /healthz"), (200, 200)),
    "version_0_9": (b"GET /healthz\r\n", (400,)),
    "version_1_0": (post(LENGTH, start=b"POST /score HTTP/1.0") + HIDDEN, (200,)),
    "version_1_0_no_host": (post(LENGTH, host=(), start=b"POST /score HTTP/1.0"), (200,)),
    "version_1_0_keep_alive": (
        post(LENGTH, b"Connection: keep-alive", start=b"POST /score HTTP/1.0"),
        (200,),
    ),
    "version_1_2": (get(b"/healthz", version=b"HTTP/1.2"), (400,)),
    "version_2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", (400,)),
    "version_case": (get(b"/healthz", version=b"http/1.1"), (400,)),
    "version_long": (get(b"/healthz", version=b"HTTP/1.10"), (400,)),
    "version_space": (get(b"/healthz", version=b"HTTP/1.1 "), (400,)),
    "method_unknown": (get(b"/healthz", method=b"FOO"), (400,)),
    "method_case": (get(b"/healthz", method=b"get"), (400,)),
    "method_long": (get(b"/healthz", method=b"G" * 1000), (400,)),
    "method_webdav": (get(b"/healthz", method=b"PROPFIND"), (405, 200)),
    "get_score": (get(b"/score"), (405, 200)),
    "get_body": (get(b"/healthz", b"Content-Length: 55") + HIDDEN, (200, 200)),
    "get_chunked": (get(b"/healthz", CHUNKED) + b"37\r\n" + HIDDEN + b"\r\n0\r\n\r\n", (200, 200)),
    "get_expect": (get(b"/healthz", b"Expect: 100-continue"), (200, 200)),
    "upgrade_get": (get(b"/healthz", b"Connection: Upgrade", b"Upgrade: websocket"), (200, 200)),
    "upgrade_h2c": (
        get(b"/", b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings:"),
        (200, 200),
    ),
    "tls": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", (400,)),
    "random": (b"\x00\x01\x02\r\n\r\n", (400,)),
}
