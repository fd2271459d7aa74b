"""The check that a call leaves no processes, threads or files."""

from __future__ import annotations

import contextlib
import gc
import multiprocessing
import os
import re
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pdparallel.engines.registry import shutdown
from pdparallel.transport.shared_memory import remove_left

__all__ = ["Child", "children", "leaves_nothing", "left_files", "wait_until"]

#: Part of the command of a multiprocessing process that lives until this process ends.
_LASTING_COMMAND = "resource_tracker"
#: First parts of names of threads of other libraries that live until this process ends.
_LASTING_THREADS = ("tqdm_monitor", "pydevd", "IPythonHistorySavingThread")

#: First parts of names of multiprocessing and this package in ``/dev/shm``. Other programs have files there, too.
_OURS = ("pdparallel", "pymp-", "psm_", "mp-")


@dataclass(frozen=True, slots=True)
class Child:
    """A child process of this process, or a child of one."""

    pid: int
    command: str = ""  # command line, if known

    def __str__(self) -> str:
        return f"process {self.pid} ({self.command[:100]})" if self.command else f"process {self.pid}"


@contextlib.contextmanager
def leaves_nothing(*, seconds: float = 10.0) -> Iterator[None]:
    """Assert that a ``with`` block leaves no process, no thread and no file of pdparallel.

    It looks at child processes and their children, at threads, and at anonymous files of pdparallel. It also looks at
    files of pdparallel and multiprocessing in the temporary folder and in ``/dev/shm``. At the start and end of the
    block it ends the workers that wait for a next call (:func:`pdparallel.shutdown`).

    Parameters
    ----------
    seconds : float, default 10.0
        Seconds that it waits for processes and threads to end.

    Yields
    ------
    None
        It checks nothing inside the block.

    Raises
    ------
    AssertionError
        Names the processes, threads and files. An exception of the block does not change.

    Notes
    -----
    It reads ``/proc``. macOS and Windows have none, so it uses ``psutil`` there. Without ``psutil`` it finds only the
    processes of ``multiprocessing``.

    Examples
    --------
    >>> import pandas as pd, pdparallel
    >>> from pdparallel.testing import leaves_nothing
    >>> with leaves_nothing():
    ...     pd.Series([1, 2]).par(engine="thread").map(str).tolist()
    ...
    ['1', '2']
    """
    shutdown()
    before = _found()
    yield
    shutdown()
    if not wait_until(lambda: not _found() - before, seconds / 2):
        gc.collect()  # a semaphore of multiprocessing keeps its file until its object is collected
    wait_until(lambda: not _found() - before, seconds / 2)
    left = sorted(map(str, _found() - before))
    if left:
        raise AssertionError("left behind: " + ", ".join(left))


def _found() -> set[Any]:
    return {*children(), *left_files(), *_threads(), *_anonymous_files()}


def wait_until(condition: Callable[[], object], seconds: float = 10.0) -> bool:
    """Wait until a condition is true, at most this many seconds, and return whether it is.

    >>> wait_until(lambda: True), wait_until(lambda: False, seconds=0.0)
    (True, False)
    """
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.01)
    return bool(condition())


# Processes


def children() -> list[Child]:
    """Return the live child processes and their children, without multiprocessing's resource tracker.

    >>> import pdparallel
    >>> pdparallel.shutdown()
    >>> wait_until(lambda: not children())
    True
    """
    found = _children_by_proc() if Path("/proc/self/stat").exists() else _children_elsewhere()
    return [child for child in found if _LASTING_COMMAND not in child.command]


def _children_by_proc() -> list[Child]:
    parents: dict[int, int] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            with contextlib.suppress(OSError):  # the process has ended
                # The second field is the name in brackets, which may contain spaces and brackets.
                state, parent = (folder / "stat").read_text(errors="replace").rpartition(")")[2].split()[:2]
                if state not in "ZX":
                    parents[int(folder.name)] = int(parent)
    family = {os.getpid()}
    while more := {pid for pid, parent in parents.items() if parent in family} - family:
        family |= more
    return [Child(pid, _command(pid)) for pid in sorted(family - {os.getpid()})]


def _command(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    return ""


def _children_elsewhere() -> list[Child]:
    try:
        import psutil
    except ImportError:
        modules = [multiprocessing, sys.modules.get("multiprocess")]  # pathos uses multiprocess
        found = [process for module in modules if module is not None for process in module.active_children()]
        return [Child(process.pid, process.name) for process in found if process.pid is not None]
    alive = []
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if process.status() != psutil.STATUS_ZOMBIE:
                alive.append(Child(process.pid, " ".join(process.cmdline())))
    return alive


# Files


def left_files() -> set[str]:
    """Return files of pdparallel and multiprocessing in known folders, and named semaphores that are mapped here."""
    return _files_in_folders() | _mapped_semaphores()


def _files_in_folders() -> set[str]:
    found = {str(path) for path in Path(tempfile.gettempdir()).glob("pdparallel-*")}
    found -= set(remove_left())  # Windows keeps files that an idle worker has mapped
    shm = Path("/dev/shm")
    if shm.is_dir():
        found |= {str(shm / name) for name in os.listdir(shm) if name.startswith(_OURS)}
    return found


def _mapped_semaphores() -> set[str]:
    maps = Path("/proc/self/maps")
    return set(re.findall(r"/dev/shm/sem\.mp-\S+", maps.read_text())) if maps.exists() else set()


def _anonymous_files() -> set[str]:
    """Return the open files of this process that hold data of a call and have no path."""
    found = set()
    folder = Path("/proc/self/fd")
    for number in os.listdir(folder) if folder.is_dir() else ():
        with contextlib.suppress(OSError):  # the file descriptor of listdir() is closed already
            target = os.readlink(folder / number)
            if target.startswith("/memfd:pdparallel"):
                found.add(f"open file {number} of {target}")
    return found


# Threads


def _threads() -> set[Any]:
    return {_Thread(thread) for thread in threading.enumerate() if not thread.name.startswith(_LASTING_THREADS)}


@dataclass(frozen=True, slots=True)
class _Thread:
    thread: threading.Thread

    def __str__(self) -> str:
        return f"thread {self.thread.name!r}"
