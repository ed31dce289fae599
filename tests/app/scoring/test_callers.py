"""Callers: names come from a header of the proxy in front, and their number is bounded."""

from dataclasses import replace

import pytest

from app import create_app
from app.scoring.callers import MAX_CALLERS, Callers
from app.settings import Settings
from tests.conftest import MakeClient

XFCC = "x-forwarded-client-cert"


@pytest.mark.parametrize(
    ("value", "caller"),
    [
        ("web", "web"),
        ("spiffe://cluster.local/ns/shop/sa/web", "spiffe://cluster.local/ns/shop/sa/web"),
        ("By=spiffe://c/ns/a/sa/us;Hash=1f;URI=spiffe://c/ns/b/sa/them", "spiffe://c/ns/b/sa/them"),
        ('Hash=1f;URI=spiffe://c/far,Hash=2e;Subject="CN=x";URI=spiffe://c/near', "spiffe://c/near"),
        ('Hash=1;Subject="CN=a,URI=spiffe://evil,O=b"', "other"),
        ("", "anonymous"),
        ('a"b', "other"),
        ("a b", "other"),
        ("a" * 101, "other"),
        ("é", "other"),
    ],
)
def test_name(value: str, caller: str) -> None:
    """A caller is a name or the identity in a forwarded certificate; an invalid one is `other`."""
    assert Callers(header=XFCC).caller({XFCC: value}) == caller


def test_number_is_bounded() -> None:
    """Invented names exhaust no memory, here or in Prometheus, and the first callers keep their names."""
    callers = Callers(header="x-caller")
    names = {callers.caller({"x-caller": f"c{i}"}) for i in range(10 * MAX_CALLERS)}
    assert len(names) == MAX_CALLERS + 1
    assert callers.caller({"x-caller": "c0"}) == "c0"


def test_metrics(settings: Settings, make_client: MakeClient) -> None:
    """Requests are counted under the caller in the configured header; other headers are ignored."""
    client = make_client(create_app(replace(settings, caller_header="x-caller")))
    client.post("/score", json={"inputs": [[1, 2]]}, headers={"X-Caller": "shop"})
    client.post("/score", json={"inputs": [[1, 2]]}, headers={"X-Other": "bank"})
    text = client.get("/metrics").text
    assert 'model_requests_total{caller="shop",status="200"} 1.0' in text
    assert 'model_requests_total{caller="anonymous",status="200"} 1.0' in text
