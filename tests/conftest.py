"""What holds for every test: afterwards no process is left that is not the kept pool's, and no file at all."""

from __future__ import annotations

import gc
import os
import re
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from multiprocessing import util
from pathlib import Path

import psutil
import pytest

import pdparallel

# Doctests and tests never wait for a person: a hang shows where it hangs.
os.environ.setdefault("PYTHONFAULTHANDLER", "1")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # So a shell starts what it runs in the background, and what tests interrupt would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def temporary_folder_of_its_own(prefix: str) -> None:
    """Let this process and its children use a folder that goes at the end, after multiprocessing's own in it."""
    folder = tempfile.mkdtemp(prefix=prefix)
    util.Finalize(None, shutil.rmtree, args=(folder,), kwargs={"ignore_errors": True}, exitpriority=-200)
    tempfile.tempdir = os.environ["TMPDIR"] = folder


if worker := os.environ.get("PYTEST_XDIST_WORKER"):
    # Each looks for files that are left, and must not find those that another is about to remove.
    temporary_folder_of_its_own(f"tests-{worker}-")


def children() -> list[psutil.Process]:
    """Processes that this one started, alive, without multiprocessing's resource tracker, which lives to the end."""
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            command = " ".join(process.cmdline())
            if process.status() != psutil.STATUS_ZOMBIE and "resource_tracker" not in command:
                found.append(process)
        except psutil.NoSuchProcess:
            continue
    return found


def wait_until(condition, seconds: float = 10.0) -> bool:
    """Whether the condition comes true within so many seconds."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.01)
    return bool(condition())


def left_files() -> set[str]:
    """Files of ours in the folders where something could be left, and named semaphores that this process holds.

    Other processes of the machine have theirs in ``/dev/shm`` too, so only names count that this package or
    multiprocessing could give, and of the semaphores only those that are mapped here.
    """
    found = {str(path) for path in Path(tempfile.gettempdir()).glob("pdparallel-*")}
    shm, maps = Path("/dev/shm"), Path("/proc/self/maps")
    if shm.is_dir():
        found |= {str(path) for path in shm.iterdir() if path.name.startswith(("pdparallel", "pymp-", "psm_", "mp-"))}
    if maps.exists():
        found |= set(re.findall(r"/dev/shm/sem\.mp-\S+", maps.read_text()))
    return found


@pytest.fixture(autouse=True)
def no_file_is_left() -> Iterator[None]:
    """After each test there is no file more than before."""
    before = left_files()
    yield
    if not wait_until(lambda: left_files() <= before, 1.0):
        gc.collect()  # a semaphore of multiprocessing has a name until its object is collected
    assert wait_until(lambda: left_files() <= before), sorted(left_files() - before)


@pytest.fixture(autouse=True, scope="module")
def no_process_is_left() -> Iterator[None]:
    """After each module (its tests share a warm pool) no child process lives."""
    yield
    pdparallel.shutdown()
    assert wait_until(lambda: not children()), children()


@pytest.fixture
def alone() -> Iterator[None]:
    """For tests of engines and faults: begins without a warm pool, and no child process lives after it."""
    pdparallel.shutdown()
    yield
    pdparallel.shutdown()
    assert wait_until(lambda: not children()), children()
