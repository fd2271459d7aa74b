"""The number of cores: affinity and cgroup files as containers, batch systems and odd kernels show them."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from pdparallel.core import cpu_count
from pdparallel.core.cpu_count import cgroup_folders, load, usable_cores
from pdparallel.core.options import resolve


@pytest.fixture(autouse=True)
def _no_batch_system(monkeypatch):
    for name in [name for name in os.environ if name.startswith("SLURM_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def machine(monkeypatch):
    """A machine with so many cores, of which this process has so many by its affinity."""

    def set_up(in_all: int | None, affinity: int | None = None) -> None:
        monkeypatch.setattr(cpu_count.os, "cpu_count", lambda: in_all)
        allowed = set(range(affinity or in_all or 1))
        monkeypatch.setattr(cpu_count.os, "sched_getaffinity", lambda pid: allowed, raising=False)

    return set_up


def write(root: Path, files: dict[str, str | bytes]) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())


def v2(group: str, **limits: str) -> dict[str, str]:
    """Files of cgroup v2: ``cpu.max`` of groups, by path with ``__`` for the slash ("_" is the root itself)."""
    files = {"proc/self/cgroup": f"0::{group}\n"}
    for name, text in limits.items():
        files[f"sys/fs/cgroup/{name.strip('_').replace('__', '/')}/cpu.max"] = text
    return files


def v1(group: str, controllers: str = "cpu,cpuacct", folder: str = "cpu,cpuacct", **limits: tuple[str, str]):
    files = {"proc/self/cgroup": f"11:memory:{group}\n4:{controllers}:{group}\n1:name=systemd:/\n"}
    for name, (quota, period) in limits.items():
        at = f"sys/fs/cgroup/{folder}/{name.strip('_').replace('__', '/')}"
        files[f"{at}/cpu.cfs_quota_us"], files[f"{at}/cpu.cfs_period_us"] = quota, period
    return files


QUOTAS = {
    "v2, own group": (v2("/", _="200000 100000\n"), 2),
    "v2, whole path": (v2("/a/b", a__b="300000 100000\n"), 3),
    "v2, the group above is smaller": (v2("/a/b", a="200000 100000\n", a__b="400000 100000\n"), 2),
    "v2, the root is smallest": (v2("/a/b", _="100000 100000\n", a="200000 100000\n", a__b="max 100000\n"), 1),
    "v2, fraction is rounded up": (v2("/a", a="150000 100000\n"), 2),
    "v2, less than one core": (v2("/a", a="5000 100000\n"), 1),
    "v2, odd period": (v2("/a", a="30000 10000\n"), 3),
    "v2, no limit": (v2("/a", a="max 100000\n"), 8),
    "v2, more than there is": (v2("/a", a="6400000 100000\n"), 8),
    "v2, only the root is mounted": (v2("/docker/0123", _="200000 100000\n"), 2),
    "v2, the lower end is mounted": (v2("/docker/0123/sub", sub="200000 100000\n", _="max 100000\n"), 2),
    "v2, limits of other groups": (v2("/a/b", a__c="100000 100000\n", b="100000 100000\n", a__b="max 100000\n"), 8),
    "v2, outside the namespace": (v2("/../../a", a="300000 100000\n"), 3),
    "v2, above the tree": (v2("/../..", _="max 100000\n") | {"sys/cpu.max": "100000 100000\n"}, 8),
    "v2, colon in the name": ({"proc/self/cgroup": "0::/a:b\n", "sys/fs/cgroup/a:b/cpu.max": "200000 100000"}, 2),
    "v1, own group": (v1("/", _=("200000\n", "100000\n")), 2),
    "v1, nested": (v1("/a/b", a=("150000\n", "100000\n"), a__b=("400000\n", "100000\n")), 2),
    "v1, no limit": (v1("/a", a=("-1\n", "100000\n")), 8),
    "v1, controllers named apart": (v1("/a", folder="cpu", a=("300000\n", "100000\n")), 3),
    "v1, cpu alone": (v1("/a", controllers="cpu", folder="cpu", a=("300000\n", "100000\n")), 3),
    "v1, host's path": (v1("/kubepods/pod1/0123", _=("250000\n", "100000\n")), 3),
    "hybrid": (v1("/a", a=("200000\n", "100000\n")) | v2("/b") | {
        "proc/self/cgroup": "4:cpu,cpuacct:/a\n0::/b\n", "sys/fs/cgroup/unified/b/cgroup.procs": "1\n"}, 2),
    "empty list": ({"proc/self/cgroup": "", "sys/fs/cgroup/cpu.max": "100000 100000\n"}, 8),
    "list of nonsense": ({"proc/self/cgroup": "nonsense\n::\n0:\n\n5:cpu\n"}, 8),
    "list that is no text": ({"proc/self/cgroup": b"0::/\xff\xfe\x00\n"}, 8),
    "a null byte in the name": ({"proc/self/cgroup": b"0::/a\x00b\n", "sys/fs/cgroup/cpu.max": "200000 100000\n"}, 2),
    "empty limit": (v2("/a", a=""), 8),
    "limit without a period": (v2("/a", a="100000\n"), 8),
    "limit of nonsense": (v2("/a", a="plenty 100000\n"), 8),
    "limit that is no text": (v2("/a") | {"sys/fs/cgroup/a/cpu.max": b"\xff\xfe"}, 8),
    "period of zero": (v2("/a", a="100000 0\n"), 8),
    "quota of zero": (v2("/a", a="0 100000\n"), 8),
    "negative quota": (v2("/a", a="-100000 100000\n"), 8),
    "absurd quota": (v2("/a", a="9" * 400 + " 1\n"), 8),
    "a folder in place of the file": (v2("/a") | {"sys/fs/cgroup/a/cpu.max/file": "100000 100000\n"}, 8),
    "v1 without a period": ({"proc/self/cgroup": "4:cpu:/\n", "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "100000\n"}, 8),
    "nothing there": ({}, 8),
}  # fmt: skip


@pytest.mark.parametrize(("files", "number"), QUOTAS.values(), ids=QUOTAS)
def test_cgroup_quota(tmp_path, machine, files, number):
    machine(8)
    write(tmp_path, files)
    found = usable_cores(tmp_path)
    assert found.number == number
    assert ("cgroup quota" in found.why) == (number < 8)


def test_the_reason_names_the_quota_and_the_machine(tmp_path, machine):
    machine(8, affinity=4)
    write(tmp_path, v2("/a", a="150000 100000\n"))
    assert usable_cores(tmp_path).why == "cgroup quota of 1.5 cores (8 in the machine)"


def test_affinity(tmp_path, machine):
    machine(8, affinity=3)
    assert usable_cores(tmp_path) == (3, "CPU affinity of this process (8 in the machine)")


def test_affinity_is_smaller_than_the_quota(tmp_path, machine):
    machine(8, affinity=2)
    write(tmp_path, v2("/a", a="400000 100000\n"))
    assert usable_cores(tmp_path).number == 2


def test_nothing_limits(tmp_path, machine):
    machine(8)
    assert usable_cores(tmp_path) == (8, "all cores of the machine")


def test_a_platform_without_affinity(tmp_path, machine, monkeypatch):
    machine(8)
    monkeypatch.delattr(cpu_count.os, "sched_getaffinity")
    assert usable_cores(tmp_path).number == 8


@pytest.mark.parametrize("error", [PermissionError, OSError])
def test_an_affinity_that_may_not_be_asked(tmp_path, machine, monkeypatch, error):
    machine(8)

    def refuse(pid: int) -> set[int]:
        raise error

    monkeypatch.setattr(cpu_count.os, "sched_getaffinity", refuse)
    assert usable_cores(tmp_path).number == 8


@pytest.mark.parametrize("in_all", [None, 0, 1])
def test_never_under_one(tmp_path, machine, in_all):
    machine(in_all)
    write(tmp_path, v2("/a", a="1000 100000\n"))
    assert usable_cores(tmp_path).number == 1


def test_windows_waits_for_61_processes(tmp_path, machine, monkeypatch):
    machine(96)
    monkeypatch.setattr(cpu_count, "sys", SimpleNamespace(platform="win32"))
    found = usable_cores(tmp_path)
    assert found.number == 61
    assert "Windows" in found.why


@pytest.mark.parametrize(
    ("variables", "number", "why"),
    [
        ({"SLURM_CPUS_PER_TASK": "2"}, 2, "SLURM_CPUS_PER_TASK=2 (8 in the machine)"),
        ({"SLURM_CPUS_ON_NODE": "3"}, 3, "SLURM_CPUS_ON_NODE=3 (8 in the machine)"),
        ({"SLURM_CPUS_PER_TASK": "2", "SLURM_CPUS_ON_NODE": "6"}, 2, "SLURM_CPUS_PER_TASK=2 (8 in the machine)"),
        ({"SLURM_CPUS_PER_TASK": "6", "SLURM_CPUS_ON_NODE": "2"}, 2, "SLURM_CPUS_ON_NODE=2 (8 in the machine)"),
        ({"SLURM_CPUS_PER_TASK": " 1\n"}, 1, "SLURM_CPUS_PER_TASK=1 (8 in the machine)"),
        ({"SLURM_CPUS_PER_TASK": "8"}, 8, "all cores of the machine"),
        ({"SLURM_CPUS_PER_TASK": "64"}, 8, "all cores of the machine"),
        *(
            ({"SLURM_CPUS_PER_TASK": text, "SLURM_CPUS_ON_NODE": text}, 8, "all cores of the machine")
            for text in ("", " ", "0", "-1", "2.5", "two", "4(x2)", "\u00b2")
        ),
    ],
)
def test_slurm_may_only_lower_the_number(tmp_path, machine, monkeypatch, variables, number, why):
    machine(8)
    for name, text in variables.items():
        monkeypatch.setenv(name, text)
    assert usable_cores(tmp_path) == (number, why)


def test_slurm_beside_an_affinity_and_a_quota(tmp_path, machine, monkeypatch):
    machine(8, affinity=4)
    write(tmp_path, v2("/a", a="300000 100000\n"))
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "4")
    assert usable_cores(tmp_path) == (3, "cgroup quota of 3 cores (8 in the machine)")
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "2")
    assert usable_cores(tmp_path).number == 2


def test_a_variable_of_ours_beats_the_batch_system(machine, monkeypatch):
    machine(8)
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "2")
    assert resolve().workers == 2
    monkeypatch.setenv("PDPARALLEL_N_WORKERS", "5")
    assert resolve().workers == 5


def test_folders_of_another_controller(tmp_path):
    write(tmp_path, {"proc/self/cgroup": "9:memory:/a\n4:cpu:/b\n", "sys/fs/cgroup/memory/a/tasks": "1\n"})
    base = tmp_path / "sys/fs/cgroup/memory"
    assert list(cgroup_folders("memory", tmp_path)) == [(base / "a", 1), (base, 1)]


def test_load(monkeypatch):
    monkeypatch.setattr(cpu_count.os, "getloadavg", lambda: (1.5, 2.0, 3.0), raising=False)
    assert load() == 1.5


def test_a_platform_without_load(monkeypatch):
    def refuse() -> None:
        raise OSError

    monkeypatch.setattr(cpu_count.os, "getloadavg", refuse, raising=False)
    assert load() is None
    monkeypatch.delattr(cpu_count.os, "getloadavg")
    assert load() is None


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity on this platform")
def test_this_process_pinned_to_one_core():
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        assert usable_cores().number == 1
    finally:
        os.sched_setaffinity(0, before)
