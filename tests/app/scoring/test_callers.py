"""Callers: who calls is told by what is in front, in bounded words."""

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
    """A name, or the workload's identity in a forwarded certificate; anything else is `other`."""
    assert Callers(header=XFCC).caller({XFCC: value}) == caller


def test_bounded() -> None:
    """Whoever makes up names fills no memory, here or in Prometheus; those known before keep theirs."""
    callers = Callers(header="x-caller")
    names = {callers.caller({"x-caller": f"c{i}"}) for i in range(10 * MAX_CALLERS)}
    assert len(names) == MAX_CALLERS + 1
    assert callers.caller({"x-caller": "c0"}) == "c0"


def test_metrics(settings: Settings, make_client: MakeClient) -> None:
    """The caller that the header names is counted; without the setting nobody is believed."""
    client = make_client(create_app(replace(settings, caller_header="x-caller")))
    client.post("/score", json={"inputs": [[1, 2]]}, headers={"X-Caller": "shop"})
    client.post("/score", json={"inputs": [[1, 2]]}, headers={"X-Other": "bank"})
    text = client.get("/metrics").text
    assert 'model_requests_total{caller="shop",status="200"} 1.0' in text
    assert 'model_requests_total{caller="anonymous",status="200"} 1.0' in text
