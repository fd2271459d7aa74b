"""Serving: the life of a worker process of our own: how it begins, waits for tasks, and ends with its parent."""

from __future__ import annotations

import contextlib
import gc
import glob
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait

from pdparallel.core import random_state
from pdparallel.transport.shared_memory import folders_of_this_process, open_file, remove_folder
from pdparallel.worker.decode import forget
from pdparallel.worker.run_task import become_a_worker, idle_seconds, run_task
from pdparallel.worker.settings import THREAD_VARIABLES

__all__ = ["Setup", "serve", "start"]

#: Seconds after the last task until a worker lets go the data of the call.
KEEP_SECONDS = 1.0

#: Times that a worker tries to remove what a killed parent left.
TRIES = 10


@dataclass(frozen=True, slots=True)
class Setup:
    """What a worker process of ours is told when it starts."""

    threads: int
    parent: int
    socket: str = ""
    folders: str = field(default_factory=folders_of_this_process)


def serve(pipe: Connection, setup: Setup, said: str) -> None:
    """The life of a worker of a :class:`pdparallel.engines.process_pool.Pool`, until the pipe closes."""
    with _standard_error_to(said):
        start(setup)
    with contextlib.suppress(EOFError, OSError):  # the parent has closed its end, or is gone
        pid = os.getpid()
        pipe.send_bytes(b"")
        while True:
            answer = run_task(pipe.recv_bytes())
            if os.getpid() != pid:  # the function forked, and this is the child, which is nobody's worker
                os._exit(0)
            pipe.send_bytes(answer)


@contextlib.contextmanager
def _standard_error_to(path: str) -> Iterator[None]:
    """What this process writes on its standard error goes into a file, also when it crashes."""
    error, kept = 2, os.dup(2)
    try:
        file = open_file(path, os.O_WRONLY | os.O_APPEND)
    except FileNotFoundError:  # it is the parent's, who has gone with it while this process came up
        os._exit(1)
    os.dup2(file, error)
    os.close(file)
    try:
        yield
    except BaseException:
        traceback.print_exc()
        raise
    finally:
        if sys.stderr is not None:
            sys.stderr.flush()
        os.dup2(kept, error)
        os.close(kept)


def start(setup: Setup) -> None:
    """Prepare a worker process: signals, threads of numeric libraries, and an end with the parent."""
    become_a_worker()
    if sys.excepthook.__module__ == "pdparallel.worker.preload":  # the forkserver's own
        sys.excepthook = sys.__excepthook__
    # Ctrl-C reaches every process of the terminal; the parent decides what it means and ends the workers itself.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})  # blocked while this process was made
    _limit_threads(setup.threads)
    random_state.begin()
    # What is imported stays: that the garbage collector looks through all of pandas again and again, while results are
    # kept, takes as long as to make 100,000 dicts of a list and a tuple.
    gc.freeze()
    threading.Thread(target=_watch, args=(setup,), name="pdparallel-watch", daemon=True).start()


def _limit_threads(threads: int) -> None:
    """Let BLAS, OpenMP, Arrow and numexpr use so many threads: workers with all cores each only wait for each other."""
    for variable in THREAD_VARIABLES:
        os.environ[variable] = str(threads)
    from threadpoolctl import threadpool_limits

    threadpool_limits(limits=threads)
    with contextlib.suppress(ImportError):
        import pyarrow

        pyarrow.set_cpu_count(threads)
    numexpr = sys.modules.get("numexpr")  # which pandas has loaded, where it is installed
    if numexpr is not None:
        with contextlib.suppress(ValueError):  # more than it was loaded for
            numexpr.set_num_threads(threads)


def _watch(setup: Setup) -> None:
    """End with the parent, however it ended, and let go the data of a call soon after its last task."""
    process = multiprocessing.parent_process()
    sentinel = None if process is None else process.sentinel
    while True:
        if sentinel is None:
            time.sleep(KEEP_SECONDS)
            gone = os.getppid() != setup.parent
        else:
            gone = bool(wait([sentinel], timeout=KEEP_SECONDS))
        if gone:
            forget()
            _sweep(setup)
            os._exit(1)
        if idle_seconds() > KEEP_SECONDS:
            forget()


def _sweep(setup: Setup) -> None:
    """Remove what a killed parent left: the socket, and its folder, unless there is more in it; the data of calls."""
    with contextlib.suppress(OSError):  # another worker was first
        os.unlink(setup.socket)
        os.rmdir(os.path.dirname(setup.socket))
    for _ in range(TRIES):
        if all(map(remove_folder, glob.glob(glob.escape(setup.folders) + "*"))):
            return
        time.sleep(KEEP_SECONDS / TRIES)  # other workers let them go meanwhile, by their end at the latest
