"""A step of ``make test`` ends in time whatever its tests do, says which one it was in, and leaves no process."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from pdparallel.testing.leaks import wait_until

pytestmark = pytest.mark.timeout(600)

ROOT = Path(__file__).parents[2]
MAKEFILE = (ROOT / "Makefile").read_text()

GOOD = "def test_good():\n    pass\n"

#: What a test may do, and what is to be said of it.
WAYS = {
    "waits in C": ("import threading\n    lock = threading.Lock(); lock.acquire(); lock.acquire()", "runs"),
    "holds the interpreter": ("import ctypes\n    ctypes.PyDLL(None).sleep(1000)", "runs"),
    "ignores SIGTERM": (
        "import signal, time\n    signal.signal(signal.SIGTERM, signal.SIG_IGN)\n    time.sleep(1000)", "runs",
    ),
    "is stopped": ("import os, signal\n    os.kill(os.getpid(), signal.SIGSTOP)", "runs"),
    "ends its process": ("import os\n    os._exit(0)", "has ended"),
}  # fmt: skip


def _run(folder: Path, body: str, *options: str, limit: float = 300) -> subprocess.CompletedProcess[str]:
    (folder / "test_bad.py").write_text(f"{GOOD}\ndef test_bad():\n    {body}\n")
    (folder / "pytest.ini").write_text("[pytest]\n")
    command = [sys.executable, "-m", "pytest", "-p", "no:randomly", "-p", "no:timeout", *options, str(folder)]
    done = subprocess.run(
        [sys.executable, "-m", "tests.limited", str(limit), *command],
        capture_output=True, text=True, check=False, cwd=ROOT, timeout=limit + 100,
        env={**os.environ, "LIMITED_GRACE": "1"},
    )  # fmt: skip
    assert wait_until(lambda: not _processes(folder)), _processes(folder)
    return done


def _run_until_limit(folder: Path, body: str, *options: str) -> subprocess.CompletedProcess[str]:
    """With the first limit that lets the test begin, however slow the machine is."""
    for limit in (5, 20, 80):
        done = _run(folder, body, *options, limit=limit)
        if "::test_bad" in done.stderr or "after the last" in done.stderr:
            break
    return done


def _processes(folder: Path) -> list[str]:
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = file.read_bytes().decode(errors="replace")
        except OSError:
            continue
        if str(folder) in command:
            found.append(command)
    return found


@pytest.mark.parametrize("way", WAYS)
def test_a_test_that_does_not_end(way: str, tmp_path: Path) -> None:
    body, state = WAYS[way]
    done = _run_until_limit(tmp_path, body)
    assert done.returncode == (124 if state == "runs" else 1)
    assert re.search(rf"limited: process \d+, which {state}: \S*test_bad\.py::test_bad\n", done.stderr), done.stderr


@pytest.mark.parametrize("way", ["waits in C", "ignores SIGTERM", "is stopped"])
def test_a_worker_of_xdist_that_does_not_end(way: str, tmp_path: Path) -> None:
    done = _run_until_limit(tmp_path, WAYS[way][0], "-n", "2", "--dist", "loadfile")
    assert done.returncode == 124
    assert re.search(r"which runs: \S*test_bad\.py::test_bad\n", done.stderr), done.stderr


def test_a_worker_of_xdist_that_dies_without_a_word(tmp_path: Path) -> None:
    done = _run_until_limit(
        tmp_path, "import os\n    os._exit(0)", "-n", "2", "--dist", "loadfile", "--max-worker-restart", "0"
    )
    assert done.returncode != 0  # whether xdist notices or waits
    assert re.search(r"which has ended: \S*test_bad\.py::test_bad\n", done.stderr), done.stderr


def test_a_process_that_hangs_at_its_end(tmp_path: Path) -> None:
    done = _run_until_limit(
        tmp_path, "import threading, time\n    threading.Thread(target=time.sleep, args=(1000,)).start()"
    )
    assert done.returncode == 124
    assert "100%" in done.stdout
    assert "after the last test" in done.stderr


def test_what_a_test_leaves_is_ended(tmp_path: Path) -> None:
    left = f"import subprocess, sys\n    subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(1000)', {str(tmp_path)!r}], start_new_session=True)"  # noqa: E501
    assert _run(tmp_path, left).returncode == 0  # _run looks for it


def test_a_failure_is_a_failure_and_success_is_success(tmp_path: Path) -> None:
    failed = _run(tmp_path, "assert False", "-n", "2")
    assert failed.returncode == 1
    assert "limited:" not in failed.stderr
    done = _run(tmp_path, "pass", "-n", "2")
    assert done.returncode == 0
    assert "limited:" not in done.stderr


def test_each_step_of_make_test_has_a_limit() -> None:
    """Whatever is run, apart from what makes environments."""
    recipes = re.findall(r"^([a-z%-]+):[^\n]*\n((?:\t[^\n]*\n)+)", MAKEFILE, flags=re.MULTILINE)
    steps = {name: lines.strip().split("\n\t") for name, lines in recipes}
    [asked] = re.findall(r"^test: (.*)$", MAKEFILE, flags=re.MULTILINE)
    assert any("$(CLUSTERS:%=cluster-%)" in step for step in steps["test-newest"])
    for name in [*asked.split(), "oracle-newest", "cluster-%"]:
        for step in steps[name]:
            assert "$(LIMIT" in step or "$(CLUSTERS:%=cluster-%)" in step, step


def test_each_cluster_has_a_process_of_its_own() -> None:
    there = {path.stem for path in (ROOT / "tests" / "clusters").glob("test_*.py")}
    [named] = re.findall(r"^CLUSTERS := (.*)$", MAKEFILE, flags=re.MULTILINE)
    assert {f"test_{name}" for name in named.split()} == there
