"""Makes Linux look like macOS or Windows to Python, with this folder in PYTHONPATH and ``SIMULATED=mac`` or ``win``.

Python imports it when it starts, before anything else, in each process that inherits the two variables. What the other
system has not is taken from the modules ``os``, ``signal`` and ``multiprocessing``, and on ``win`` no file of
pdparallel's can be removed while a process has it open or mapped. ``sys.platform`` stays.
"""

import builtins
import os

MAC = ("memfd_create", "sched_getaffinity", "sched_setaffinity")
WINDOWS = (
    *MAC, "fork", "forkpty", "register_at_fork", "pread", "pwrite", "preadv", "pwritev", "getloadavg",
    "geteuid",
)  # fmt: skip


def _take(names: tuple[str, ...]) -> None:
    for name in names:
        if hasattr(os, name):
            delattr(os, name)


def _win() -> None:
    # Those that take it for granted that Linux has what is taken here.
    import concurrent.futures.thread
    import logging
    import multiprocessing.context
    import multiprocessing.resource_tracker
    import random
    import signal
    import subprocess
    import tempfile
    import threading
    import types
    import weakref

    _ = concurrent.futures.thread, logging, random, subprocess, tempfile, threading, weakref
    _take(WINDOWS)
    usual = builtins.__import__

    def importing(name, globals=None, *others, **more):
        # The rest of this process goes on with what Linux has.
        if name in ("fcntl", "resource") and str((globals or {}).get("__name__")).startswith("pdparallel"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return usual(name, globals, *others, **more)

    builtins.__import__ = importing
    # The tracker of multiprocessing goes on with what Linux has.
    multiprocessing.resource_tracker.signal = types.SimpleNamespace(**vars(signal))
    del signal.pthread_sigmask
    multiprocessing.context.DefaultContext.get_all_start_methods = lambda self: ["spawn"]
    multiprocessing.get_all_start_methods = lambda: ["spawn"]

    unlink = os.unlink

    def refusing(path, *args, **kwargs):
        text = os.fspath(path)
        if isinstance(text, str) and "pdparallel-" in text and _is_in_use(os.path.realpath(text)):
            raise PermissionError(13, "The process cannot access the file, because a process uses it", text)
        return unlink(path, *args, **kwargs)

    os.unlink = os.remove = refusing


def _is_in_use(path: str) -> bool:
    """Whether a process of this session has the file open or mapped."""
    session = os.getsid(0)
    for pid in filter(str.isdecimal, os.listdir("/proc")):
        try:
            if os.getsid(int(pid)) != session:
                continue
            with open(f"/proc/{pid}/maps", encoding="utf-8", errors="replace") as file:
                if path in file.read():
                    return True
            if any(os.readlink(f"/proc/{pid}/fd/{fd}") == path for fd in os.listdir(f"/proc/{pid}/fd")):
                return True
        except OSError:  # it has ended, or has closed a file
            pass
    return False


if os.environ.get("SIMULATED") == "mac":
    _take(MAC)
elif os.environ.get("SIMULATED") == "win":
    _win()
