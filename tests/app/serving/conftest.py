"""A fixture that runs a test with FAST_HTTP on and off."""

import pytest


@pytest.fixture(params=["on", "off"], ids=["fast", "plain"])
def fast_http(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run a test twice: scoring requests in the callbacks of the HTTP parser, and in the ASGI application."""
    monkeypatch.setenv("FAST_HTTP", request.param)
