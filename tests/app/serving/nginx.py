"""nginx in front of servers, with connections that are kept alive."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

CONFIG = """
worker_processes 1; daemon off; pid {directory}/nginx.pid; error_log {directory}/nginx.log;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  client_body_temp_path {directory}/body; proxy_temp_path {directory}/proxy;
  fastcgi_temp_path {directory}/fastcgi; uwsgi_temp_path {directory}/uwsgi; scgi_temp_path {directory}/scgi;
  client_header_timeout 2s; client_body_timeout 2s; keepalive_timeout 2s; large_client_header_buffers 4 80k;
  proxy_http_version 1.1; proxy_set_header Connection "";
  upstream service {{ {servers} keepalive 64; }}
  server {{ listen 127.0.0.1:{port} backlog=2048; location / {{ proxy_pass http://service; }} }}
}}
"""


@contextmanager
def nginx(directory: Path, upstreams: Sequence[int]) -> Iterator[int]:
    """Run nginx in front of servers on local ports; provide its port.

    Without nginx the test is skipped, or fails in CI.
    """
    program = shutil.which("nginx")
    if program is None:
        missing = "nginx is not installed"
        if os.environ.get("CI") == "true":
            pytest.fail(missing)
        pytest.skip(missing)
    directory.mkdir()
    port = free_port()
    servers = " ".join(f"server 127.0.0.1:{upstream} max_fails=0;" for upstream in upstreams)
    config = directory / "nginx.conf"
    config.write_text(CONFIG.format(directory=directory, servers=servers, port=port))
    process = subprocess.Popen([program, "-e", directory / "nginx.log", "-c", config])
    try:
        deadline = time.monotonic() + 10
        while not accepts(port):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield port
    finally:
        process.terminate()
        process.wait(timeout=10)


def accepts(port: int) -> bool:
    """Return whether connections to a local port are accepted."""
    with closing(socket.socket()) as connection:
        return connection.connect_ex(("127.0.0.1", port)) == 0


def free_port() -> int:
    """Return an unused port of the loopback interface."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        port: int = listener.getsockname()[1]
        return port
