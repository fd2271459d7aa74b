"""How many cores this process may really use, and why: affinity, container quota, Windows' limit.

``os.cpu_count()`` counts the cores of the machine, also in a container that was given two of them; a pool
of that size only makes the workers wait for each other.
"""

from __future__ import annotations

import math
import os
import sys
from pathlib import Path
from typing import NamedTuple

__all__ = ["Cores", "usable_cores"]

#: ``WaitForMultipleObjects`` takes 63 handles at most, and the executor needs two of them for itself.
WINDOWS_MOST_WORKERS = 61


class Cores(NamedTuple):
    """A number of cores, and the reason for it in words."""

    number: int
    why: str


def usable_cores(root: str | os.PathLike[str] = "/") -> Cores:
    """Cores that this process may use.

    Parameters
    ----------
    root : path, default "/"
        Folder under which ``proc/self/cgroup`` and ``sys/fs/cgroup`` are looked for.

    Returns
    -------
    Cores
        The least of the machine's cores, the affinity mask, the cgroup (v1 or v2) quota of this process and
        of every group above it, rounded up, and 61 on Windows; never under 1.

    Examples
    --------
    >>> usable_cores().number >= 1
    True
    """
    found = Cores(os.cpu_count() or 1, "all cores of the machine")
    if hasattr(os, "sched_getaffinity"):
        affinity = len(os.sched_getaffinity(0))
        if affinity < found.number:
            found = Cores(affinity, f"CPU affinity of this process ({found.number} in the machine)")
    quota = _cgroup_quota(Path(root))
    if quota is not None and math.ceil(quota) < found.number:
        found = Cores(max(1, math.ceil(quota)), f"cgroup quota of {quota:g} cores ({found.number} in the machine)")
    if sys.platform == "win32" and found.number > WINDOWS_MOST_WORKERS:
        found = Cores(WINDOWS_MOST_WORKERS, f"Windows waits for {WINDOWS_MOST_WORKERS} processes at most")
    return found


def _cgroup_quota(root: Path) -> float | None:
    """The smallest CPU quota on the way from this process's group to the root, in cores."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except (OSError, UnicodeDecodeError):
        return None
    quotas: list[float] = []
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, group = rest.partition(":")
        if controllers == "":
            base, read = root / "sys/fs/cgroup", _quota_v2
        elif "cpu" in controllers.split(","):
            base, read = root / "sys/fs/cgroup" / controllers, _quota_v1
            if not base.is_dir():
                base = root / "sys/fs/cgroup/cpu"
        else:
            continue
        folder = base / group.lstrip("/")
        # In a container the group's path is often that of the host, and only the root is mounted: walk up
        # whatever exists, each level may have a limit of its own.
        for level in [folder, *folder.parents]:
            if level != base and base not in level.parents:
                break
            quota = read(level)
            if quota is not None:
                quotas.append(quota)
    return min(quotas, default=None)


def _quota_v2(folder: Path) -> float | None:
    try:
        quota, period = (folder / "cpu.max").read_text().split()[:2]
        return _ratio(quota, period)
    except (OSError, ValueError):
        return None


def _quota_v1(folder: Path) -> float | None:
    try:
        return _ratio((folder / "cpu.cfs_quota_us").read_text(), (folder / "cpu.cfs_period_us").read_text())
    except (OSError, ValueError):
        return None


def _ratio(quota: str, period: str) -> float | None:
    if quota.strip() == "max":
        return None
    used, length = int(quota), int(period)
    return used / length if used > 0 and length > 0 else None
