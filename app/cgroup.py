"""CPUs and memory that this process may use.

https://docs.kernel.org/admin-guide/cgroup-v2.html, cpu.max and memory.max
https://docs.kernel.org/scheduler/sched-bwc.html, cpu.cfs_quota_us (version 1)
https://docs.kernel.org/admin-guide/cgroup-v1/memory.html, memory.limit_in_bytes
"""

import os
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")


def available_cpus(root: Path = ROOT) -> float:
    """Return the number of CPUs that the cgroup's quota and the process's CPU affinity allow; greater than 0.

    In a container the host's CPU count is misleading: with a quota of 2 CPUs on a host with 64, the kernel
    would throttle 64 threads most of the time.

    Args:
        root: mount point of the cgroup file system; in a container it contains the container's own group.
    """
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _quota(root)
    return min(float(affinity), quota) if quota else float(affinity)


def available_memory(root: Path = ROOT) -> int:
    """Return the bytes of memory that the cgroup's limit and the machine allow.

    Args:
        root: see `available_cpus`.
    """
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for path in (root / "memory.max", root / "memory/memory.limit_in_bytes"):
        # Without a limit, version 2 says `max` and version 1 a number above any machine's memory.
        if path.is_file() and (limit := path.read_text().strip()) != "max":
            return min(machine, int(limit))
    return machine


def _quota(root: Path) -> float | None:
    """Return the quota in CPUs; None without one."""
    v2, v1_quota, v1_period = (
        root / "cpu.max",
        root / "cpu/cpu.cfs_quota_us",
        root / "cpu/cpu.cfs_period_us",
    )
    if v2.is_file():
        quota, period = v2.read_text().split()
    elif v1_quota.is_file():
        quota, period = v1_quota.read_text().strip(), v1_period.read_text().strip()
    else:
        return None
    return None if quota in ("max", "-1") else int(quota) / int(period)
