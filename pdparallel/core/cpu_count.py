"""Cores and memory that this process may use: affinity, limits of control groups, SLURM, Windows' limit.

``os.cpu_count()`` counts the cores of the machine, even in a container with a quota of two. A pool of that size only
makes workers wait for each other.
"""

from __future__ import annotations

import functools
import math
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

__all__ = [
    "Cores", "available_memory", "cgroup_folders", "gil_is_off", "load", "machine_available",
    "memory_limit", "usable_cores",
]  # fmt: skip

#: Largest number of workers on Windows: ``WaitForMultipleObjects`` takes 63 handles, and the executor needs two.
WINDOWS_MAX_WORKERS = 61


#: Environment variables with the cores of a SLURM job. Without CPU binding nothing else shows this limit.
SLURM_VARIABLES = ("SLURM_CPUS_PER_TASK", "SLURM_CPUS_ON_NODE")


class Cores(NamedTuple):
    """A number of cores, and the reason for it in words."""

    number: int
    why: str


def usable_cores(root: str | os.PathLike[str] = "/") -> Cores:
    """Return the cores that this process may use, and the limit that decides.

    >>> usable_cores().number >= 1
    True
    """
    machine = os.cpu_count() or 1
    found = Cores(machine, "all cores of the machine")
    affinity = _affinity()
    if affinity is not None and affinity < found.number:
        found = Cores(affinity, f"CPU affinity of this process ({machine} in the machine)")
    quota = _cgroup_quota(os.fspath(root), int(time.monotonic()))
    if quota is not None and math.ceil(quota) < found.number:
        # A quota of 1.5 cores keeps two workers busier than one, so it is rounded up.
        found = Cores(math.ceil(quota), f"cgroup quota of {quota:g} cores ({machine} in the machine)")
    for variable in SLURM_VARIABLES:
        text = os.environ.get(variable, "").strip()
        if text.isdecimal() and 0 < int(text) < found.number:
            found = Cores(int(text), f"{variable}={text} ({machine} in the machine)")
    if sys.platform == "win32" and found.number > WINDOWS_MAX_WORKERS:
        found = Cores(WINDOWS_MAX_WORKERS, f"Windows waits for {WINDOWS_MAX_WORKERS} processes at most")
    return found


def gil_is_off() -> bool:
    """Return True if threads of this process run Python in parallel."""
    return not getattr(sys, "_is_gil_enabled", lambda: True)()


def load() -> float | None:
    """Return how many threads of the machine wanted a core, averaged over the last minute; None if unknown.

    >>> load() is None or load() >= 0
    True
    """
    try:
        return os.getloadavg()[0]
    except (AttributeError, OSError):  # Windows has none
        return None


def cgroup_folders(controller: str, root: str | os.PathLike[str] = "/") -> Iterator[tuple[Path, int]]:
    """Yield the folders of this process's control group and of all above it, each with the cgroup version (1 or 2)."""
    root = Path(root)
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except (OSError, ValueError):
        return
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, colon, group = rest.partition(":")
        if not colon:
            continue
        if controllers == "":
            base, version = root / "sys/fs/cgroup", 2
        elif controller in controllers.split(","):
            base, version = root / "sys/fs/cgroup" / controllers, 1
            if not base.is_dir():
                base = root / "sys/fs/cgroup" / controller
        else:
            continue
        # A process outside its cgroup namespace sees its group as /../..: such a path leads nowhere from here.
        parts = [part for part in group.split("/") if part not in ("", ".", "..")]
        # In a container the path is often that of the host, but only the lower end of the tree is mounted. So drop
        # levels at the front until the folder exists. Each level may have a limit of its own.
        mounted = next((n for n in range(len(parts)) if base.joinpath(*parts[n:]).is_dir()), len(parts))
        for end in range(len(parts), mounted - 1, -1):
            yield base.joinpath(*parts[mounted:end]), version


def memory_limit(root: str | os.PathLike[str] = "/") -> int | None:
    """Return the smallest memory limit in bytes of this process's control group and all above it; None without one."""
    return min((limit for limit, _ in _memory_of_groups(root)), default=None)


def machine_available(root: str | os.PathLike[str] = "/") -> int | None:
    """Return the available memory of the machine in bytes (``MemAvailable``); None if unknown."""
    try:
        for line in (Path(root) / "proc/meminfo").read_text().splitlines():
            name, _, value = line.partition(":")
            if name == "MemAvailable":
                return int(value.split()[0]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    return None


def available_memory(root: str | os.PathLike[str] = "/") -> int | None:
    """Return the bytes of memory that this process may still take, by the machine and its control groups."""
    left = [max(0, limit - used) for limit, used in _memory_of_groups(root)]
    machine = machine_available(root)
    return min([*left, *([] if machine is None else [machine])], default=None)


def _memory_of_groups(root: str | os.PathLike[str]) -> Iterator[tuple[int, int]]:
    """Yield limit and use, in bytes, of each control group that has a limit."""
    for folder, version in cgroup_folders("memory", root):
        names = ("memory.max", "memory.current") if version == 2 else ("memory.limit_in_bytes", "memory.usage_in_bytes")
        try:
            limit = int((folder / names[0]).read_text())
        except (OSError, ValueError):  # no file, or "max"
            continue
        if limit <= 0:
            continue
        try:
            yield limit, int((folder / names[1]).read_text())
        except (OSError, ValueError):
            yield limit, 0


def _affinity() -> int | None:
    if not hasattr(os, "sched_getaffinity"):
        return None
    try:
        return len(os.sched_getaffinity(0)) or None
    except OSError:  # some sandboxes do not allow the call
        return None


@functools.lru_cache(maxsize=4)
def _cgroup_quota(root: str, second: int) -> float | None:
    """Return the smallest CPU quota, in cores, of this process's control group and all above it."""
    # ``second`` limits the age of the cache: reading takes as long as applying a function to a hundred rows.
    quotas = (_quota(folder, version) for folder, version in cgroup_folders("cpu", root))
    return min((quota for quota in quotas if quota is not None), default=None)


def _quota(folder: Path, version: int) -> float | None:
    try:
        if version == 2:
            quota, period = (folder / "cpu.max").read_text().split()
        else:
            quota = (folder / "cpu.cfs_quota_us").read_text()
            period = (folder / "cpu.cfs_period_us").read_text()
        # "max" (v2) is no number, and -1 (v1) no quota: no limit on this level
        used, length = int(quota), int(period)
        return used / length if used > 0 and length > 0 else None
    except (OSError, ValueError, OverflowError):
        return None
