"""`scripts/rollout` when a command of kubectl fails, it is killed, or another run takes over."""

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import pytest

from release.errors import ReleaseError
from release.rollout import promote, reject, start, step
from release.rollout_state import LostRolloutError, read_state
from tests.release.simulated_cluster import SimulatedCluster
from tests.release.simulated_rollout import ADDED, NEW, OLD, Simulation, connect, manifests


class Killed(BaseException):
    """The process was killed."""


# A command fails without effect; or the process is killed before or after it.
FAULTS = [(ReleaseError, "before"), (Killed, "before"), (Killed, "after")]


@pytest.mark.parametrize(("error", "when"), FAULTS)
@pytest.mark.parametrize("first", [False, True], ids=["", "first deployment"])
def test_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str, error: type[BaseException], first: bool
) -> None:
    """If any kubectl command fails, or the process is killed there, a rejection restores the cluster.

    So does the start of another run, whose own rejection, or release, then succeeds.
    """
    begin = Simulation(tmp_path)
    connect(begin, monkeypatch)
    if not first:
        begin.release(manifests(OLD, 1))
    for number in range(200):
        for recovery in ("reject", ("start and reject", "start and release")[number % 2]):
            simulation = Simulation(tmp_path, SimulatedCluster(deepcopy(begin.simulated.state)))
            connect(simulation, monkeypatch)
            before = simulation.snapshot()

            def fault(at: int, then: str, wanted: int = number) -> None:
                if (at, then) == (wanted, when):
                    raise error("the fault")

            simulation.fault = fault
            try:
                simulation.release([*manifests(NEW, 2), ADDED], "azure-2")
            except (ReleaseError, Killed):
                pass
            else:
                assert number > 40
                return
            simulation.fault = None
            where = (number, simulation.commands[-1], recovery)
            done = read_state(simulation.cluster) is None and set(simulation.simulated.images()) == {NEW}
            if recovery == "reject":
                reject(simulation.cluster, "azure-2")
            else:
                start(simulation.cluster, simulation.write([*manifests(NEW, 3), ADDED]), "azure-3")
                with pytest.raises(LostRolloutError):
                    reject(simulation.cluster, "azure-2")
                if recovery == "start and release":
                    step(simulation.cluster, "azure-3", 10, 0)
                    promote(simulation.cluster, "azure-3", 0)
                    assert set(simulation.simulated.images()) == {NEW}, where
                else:
                    reject(simulation.cluster, "azure-3")
            owned = {pod["metadata"]["deployment"] for pod in simulation.simulated.state["pods"]}
            assert owned <= {"demo"}, where
            assert read_state(simulation.cluster) is None, where
            autoscaler = simulation.get("HorizontalPodAutoscaler")
            if autoscaler:
                assert autoscaler["spec"]["behavior"]["scaleDown"]["selectPolicy"] == "Max", where
            # The last command forgets the state of a finished promotion: there is nothing to restore.
            if recovery != "start and release" and not done:
                assert simulation.snapshot() == before, where
                assert set(simulation.simulated.images()) == (set() if first else {OLD}), where


@pytest.mark.parametrize(("error", "when"), FAULTS)
@pytest.mark.parametrize("promoted", [False, True], ids=["canary", "promoting"])
def test_fault_while_rejecting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str, error: type[BaseException], promoted: bool
) -> None:
    """If any kubectl command of a rejection fails, or it is killed there, a second one completes it."""
    for number in range(50):
        simulation = Simulation(tmp_path)
        connect(simulation, monkeypatch)
        simulation.release(manifests(OLD, 1))
        before = simulation.snapshot()
        start(simulation.cluster, simulation.write([*manifests(NEW, 2), ADDED]), "azure-2")
        step(simulation.cluster, "azure-2", 50, 0)
        if promoted:
            simulation.simulated.state["fail"] = NEW
            with pytest.raises(ReleaseError):
                promote(simulation.cluster, "azure-2", 0)
            simulation.simulated.state["fail"] = ""
        simulation.commands.clear()

        def fault(at: int, then: str, wanted: int = number) -> None:
            if (at, then) == (wanted, when):
                raise error("the fault")

        simulation.fault = fault
        failed = True
        try:
            reject(simulation.cluster, "azure-2")
            failed = False
        except (ReleaseError, Killed):
            pass
        simulation.fault = None
        if failed:
            reject(simulation.cluster, "azure-2")
        assert simulation.snapshot() == before, (number, simulation.commands)
        if not failed:
            assert number > 5
            return
    pytest.fail("the rejection has more than 50 commands")


def test_two_starts(released: Simulation) -> None:
    """If another run starts between the check and the write of the state, the later start takes over."""

    def fault(number: int, when: str) -> None:
        if released.commands[-1] == "create" and when == "before":
            released.fault = None
            start(released.cluster, released.write(manifests(NEW, 2)), "azure-2")

    released.fault = fault
    start(released.cluster, released.write(manifests(NEW, 3)), "azure-3")
    state = read_state(released.cluster)
    assert state is not None
    assert state.run == "azure-3"


def test_taken_over(released: Simulation) -> None:
    """The commands of a run that another has replaced change nothing."""
    start(released.cluster, released.write(manifests(NEW, 2)), "azure-2")
    start(released.cluster, released.write(manifests(NEW, 3)), "azure-3")
    step(released.cluster, "azure-3", 10, 0)
    before = released.snapshot()
    lost: list[Callable[[], None]] = [
        lambda: step(released.cluster, "azure-2", 50, 0),
        lambda: promote(released.cluster, "azure-2", 0),
        lambda: reject(released.cluster, "azure-2"),
    ]
    for command in lost:
        with pytest.raises(LostRolloutError, match="belongs to azure-3, not to azure-2"):
            command()
    assert released.snapshot() == before


def test_taken_over_in_between(released: Simulation) -> None:
    """After another run took over, a promotion executes at most the one command that was on its way."""
    for number in range(100):
        start(released.cluster, released.write(manifests(NEW, 2)), "azure-2")
        step(released.cluster, "azure-2", 10, 0)
        released.commands.clear()
        position = 0

        def fault(at: int, when: str, wanted: int = number) -> None:
            nonlocal position
            if (at, when) == (wanted, "after"):
                released.fault = None
                start(released.cluster, released.write(manifests(NEW, 3)), "azure-3")
                position = len(released.commands)

        released.fault = fault
        try:
            promote(released.cluster, "azure-2", 0)
        except ReleaseError:
            pass
        else:
            assert number > 10
            return
        changes = [name for name in released.commands[position:] if name.split()[0] not in ("get", "rollout")]
        assert len(changes) <= 1, (number, changes)
        state = read_state(released.cluster)
        assert state
        assert state.run == "azure-3", number
    pytest.fail("the promotion has more than 100 commands")
