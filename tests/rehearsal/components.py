"""The release that adds the components `capture` and `monitor`, with shorter times than in production."""

import re

from tests.rehearsal.assertions import assert_released
from tests.rehearsal.clone import replace_text
from tests.rehearsal.errors import RehearsalError
from tests.rehearsal.rehearsal import NAMESPACE, Rehearsal, report

OVERLAY = "deploy/overlays/production/kustomization.yaml"
COMPONENTS = """\
components:
  - ../../components/capture
  - ../../components/monitor
images:
  - name: demo-monitor
    newName: {name}
    digest: {digest}
"""
# File → text → replacement: segments are shipped, and the quality is calculated, every few seconds.
FASTER = {
    "deploy/components/capture/deployment.yaml": (
        ("ship, --grace", 'ship, --interval, "2", --grace'),
        (
            "        - name: $SERVICE\n          env:\n",
            "        - name: $SERVICE\n          env:\n"
            '            - name: CAPTURE_SEGMENT_S\n              value: "3"\n',
        ),
    ),
    "deploy/components/monitor/deployment.yaml": (("[serve, ", '[serve, --interval, "5", '),),
}
FLOOR = 0.9
MIN_LABELS = 100
# Labels since the last training that a training needs.
MIN_NEW_LABELS = 6000
MONITOR_TOML = f"""\
windows = ["1h"]
min_labels = {MIN_LABELS}

[limits.accuracy]
min = {FLOOR}

[retraining]
cooldown = "1h"
min_new_labels = {MIN_NEW_LABELS}
max_per_day = 10
"""


def deploy_components(rehearsal: Rehearsal) -> None:
    """Release the components, unless they are in production, with the model that is there already."""
    cluster, clone = rehearsal.parts.cluster, rehearsal.clone
    if cluster.get(NAMESPACE, "Deployment", "demo-monitor"):
        return
    rehearsal.pull()
    printed = rehearsal.script("scripts/build_monitor", "--push", rehearsal.parts.registry)
    name, _, digest = printed.splitlines()[-1].partition("@")
    report(f"  {printed.splitlines()[0]}")
    with (clone / OVERLAY).open("a") as overlay:
        overlay.write(COMPONENTS.format(name=name, digest=digest))
    for path, replacements in FASTER.items():
        for old, new in replacements:
            replace_text(clone / path, old, new)
    (clone / "monitor.toml").write_text(MONITOR_TOML)
    rehearsal.commit("Capture, and monitor the model")
    data = {"CAPTURE_STORE": rehearsal.parts.captured, "MODEL_STORE": rehearsal.parts.store}
    cluster.create_config_map(NAMESPACE, "demo-data", data | {"CAPTURE_CLIENT_ID": "rehearsal"})
    cluster.create_config_map(NAMESPACE, "demo-monitor", {"monitor.toml": MONITOR_TOML})
    model = rehearsal.publish("the one whose quality is watched")
    assert_released(rehearsal, rehearsal.run("ResourceTrigger"), model)
    rehearsal.captures = True


def set_cooldown(rehearsal: Rehearsal, minutes: int) -> None:
    """Set the time after a training in which another is refused.

    Raises:
        RehearsalError: it is less than a minute.
    """
    if minutes < 1:
        raise RehearsalError("the last training began less than a minute ago")
    rehearsal.pull()
    path = rehearsal.clone / "monitor.toml"
    path.write_text(re.sub(r'cooldown = "\w+"', f'cooldown = "{minutes}m"', path.read_text()))
    rehearsal.commit("Allow a training again")
