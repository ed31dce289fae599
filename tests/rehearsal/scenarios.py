"""The scenarios, in their order: each goes on from what the one before has left."""

import json
import re
import time
from collections.abc import Callable, Mapping
from itertools import pairwise

from tests.rehearsal.client import Reply
from tests.rehearsal.rehearsal import Rehearsal, say
from tests.rehearsal.runner import FAILED, SKIPPED, SUCCEEDED, Run

MOST_SECONDS_TO_CANARY = 360
MOST_SECONDS_OF_NOTHING = 60
LONGEST_SILENCE_S = 1.0
# The gate's check that finds each of them.
SEEN_BY = {"erring": "errors", "slow": "p99_seconds", "shifted": "psi of label"}
CANARY_SHARE = 0.10  # what the pipeline's first increment asks for


def first_deployment(rehearsal: Rehearsal) -> None:
    """The first release of all, with no baseline to compare with."""
    run = rehearsal.run("IndividualCI")
    _shipped(rehearsal, run, "wine/1")


def good_commit(rehearsal: Rehearsal) -> None:
    """A good commit ships; nobody who asks meanwhile notices."""
    before, began = rehearsal.images()["stable"], time.monotonic()
    path = rehearsal.clone / "app/routes/static/docs.js"
    rehearsal.pull()
    path.write_text(path.read_text() + "// rehearsed\n")
    rehearsal.commit("Change the service")
    run = rehearsal.run("IndividualCI")
    _shipped(rehearsal, run, "wine/1")
    assert rehearsal.images()["stable"].isdisjoint(before)
    _unnoticed(rehearsal, began)
    seconds = run.ended["Deploy the canary"]
    say(f"  from commit to canary: {seconds:.0f} s")
    assert seconds <= MOST_SECONDS_TO_CANARY


def good_model(rehearsal: Rehearsal) -> None:
    """A good new model ships, and the lock is committed."""
    began = time.monotonic()
    model = rehearsal.publish("better")
    _shipped(rehearsal, rehearsal.run("ResourceTrigger"), model)
    _unnoticed(rehearsal, began)


def nothing_new(rehearsal: Rehearsal) -> None:
    """The store's latest unchanged ends early."""
    head = rehearsal.head()
    began = time.monotonic()
    run = rehearsal.run("Schedule")
    seconds = time.monotonic() - began
    assert run.results == dict.fromkeys(run.results, SKIPPED) | {"Plan": SUCCEEDED}
    assert seconds < MOST_SECONDS_OF_NOTHING
    assert rehearsal.head() == head


def worse_metrics(rehearsal: Rehearsal) -> None:
    """A model whose metrics fall is stopped at the gate."""
    rehearsal.publish("worse", metrics={"accuracy": 0.91})
    _stopped_in_build(rehearsal, "does not pass gate.toml")


def wrongly_signed(rehearsal: Rehearsal) -> None:
    """A wrongly signed model never enters a build."""
    rehearsal.publish("forged", key="stranger")
    _stopped_in_build(rehearsal, "model.pub")


def bad_under_traffic(change: str) -> Callable[[Rehearsal], None]:
    """The scenario of a model that passes every check before traffic, and then does what `change` says."""

    def scenario(rehearsal: Rehearsal) -> None:
        before, locked, head, began = rehearsal.images(), rehearsal.lock(), rehearsal.head(), time.monotonic()
        rehearsal.publish(change, change=change)
        run = rehearsal.run("ResourceTrigger")
        assert run.results["Staging"] == SUCCEEDED
        assert run.results["Production"] == FAILED
        assert run.results["RequestRecord"] == SKIPPED
        if change == "slow" and "Ask every pod, smoke the canary" in run.failures[0]:
            say("  the canary was too slow to be asked")  # on a machine that is too busy for it
        else:
            assert "Watch the canary" in run.failures[0]
            assert re.search(rf"^{SEEN_BY[change]}.* reject$", run.log.read_text(), re.MULTILINE)
        assert "50" not in run.increments
        assert rehearsal.images() == before
        assert (rehearsal.lock(), rehearsal.head()) == (locked, head)
        _stable_answers(rehearsal, began)
        _canary_fails_alone(rehearsal, began)
        # What was rejected is not tried again.
        again = rehearsal.run("Schedule")
        assert again.results["Test"] == SKIPPED

    scenario.__doc__ = (
        f"A model that turns out {change} under traffic is rejected at 10 %; stable never stops answering."
    )
    return scenario


def half_promoted(rehearsal: Rehearsal) -> None:
    """A promotion that fails half-way is taken back."""
    before, locked, began = rehearsal.images(), rehearsal.lock(), time.monotonic()
    rehearsal.publish("good, but the cluster is not")
    rehearsal.parts.cluster.fail_next(1)
    run = rehearsal.run("ResourceTrigger")
    assert run.results["Production"] == FAILED
    assert any("Promote the canary" in failure for failure in run.failures), run.failures
    assert rehearsal.images() == before
    assert rehearsal.lock() == locked
    _unnoticed(rehearsal, began)


def rollback(rehearsal: Rehearsal) -> None:
    """Rollback restores the earlier digest, in the cluster, the lock and the ledger."""
    began = time.monotonic()
    *_, before, current = _releases(rehearsal)
    assert rehearsal.images() == {"stable": {current["image"]}}
    rehearsal.script("scripts/rollback")
    assert rehearsal.images() == {"stable": {before["image"]}}
    assert before["model"].startswith(f"{rehearsal.lock()}@")
    rehearsal.script("scripts/which")
    _unnoticed(rehearsal, began)


SCENARIOS: Mapping[str, Callable[[Rehearsal], None]] = {
    "first_deployment": first_deployment,
    "good_commit": good_commit,
    "good_model": good_model,
    "nothing_new": nothing_new,
    "worse_metrics": worse_metrics,
    "wrongly_signed": wrongly_signed,
    "erring": bad_under_traffic("erring"),
    "slow": bad_under_traffic("slow"),
    "shifted": bad_under_traffic("shifted"),
    "half_promoted": half_promoted,
    "rollback": rollback,
}


def _shipped(rehearsal: Rehearsal, run: Run, model: str) -> None:
    """Everything is released, and everything says so."""
    assert set(run.results.values()) == {SUCCEEDED}, run.failures
    *_, last = _releases(rehearsal)
    assert rehearsal.images() == {"stable": {last["image"]}}
    assert last["model"].startswith(f"{model}@")
    assert rehearsal.lock() == model
    assert last["commit"] == run.variables["Build.SourceVersion"]


def _releases(rehearsal: Rehearsal) -> list[dict[str, str]]:
    rehearsal.pull()
    return [json.loads(line) for line in (rehearsal.clone / "releases.jsonl").read_text().splitlines()]


def _stopped_in_build(rehearsal: Rehearsal, words: str) -> None:
    before, head, began = rehearsal.images(), rehearsal.head(), time.monotonic()
    run = rehearsal.run("ResourceTrigger")
    assert run.results["Build"] == FAILED
    assert words in run.log.read_text()
    assert {run.results[stage] for stage in ("Staging", "Production", "RequestRecord")} == {SKIPPED}
    assert (rehearsal.images(), rehearsal.head()) == (before, head)
    _unnoticed(rehearsal, began)


def _unnoticed(rehearsal: Rehearsal, began: float) -> None:
    """No request has failed."""
    rehearsal.settle()
    replies = rehearsal.client.since(began)
    failed = rehearsal.failed(replies)
    say(f"  client: {len(replies)} requests, {len(failed)} failed")
    assert replies
    assert not failed, failed[:3]


def _stable_answers(rehearsal: Rehearsal, began: float) -> None:
    """Stable has answered at least once in every second."""
    rehearsal.settle()
    replies = rehearsal.client.since(began)
    stable = [reply.at for reply in rehearsal.by_track(replies, "stable") if reply.status == 200]
    silence = max(later - earlier for earlier, later in pairwise(stable))
    say(f"  client: {len(replies)} requests, stable answered {len(stable)}, longest silence {silence:.2f} s")
    assert silence < LONGEST_SILENCE_S


def _canary_fails_alone(rehearsal: Rehearsal, began: float) -> None:
    """What failed, the canary answered, and that is no more than its share."""
    replies = rehearsal.client.since(began)
    failed = rehearsal.failed(replies)
    canary: list[Reply] = rehearsal.by_track(replies, "canary")
    meanwhile = [reply for reply in replies if canary[0].at <= reply.at <= canary[-1].at]
    share = len(failed) / len(meanwhile)
    say(f"  client: {len(failed)} failed, {share:.1%} of {len(meanwhile)} while there was a canary")
    assert {reply.pod for reply in failed} <= {reply.pod for reply in canary}, failed[:3]
    assert share <= CANARY_SHARE
