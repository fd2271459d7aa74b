"""Main loop of a worker process of ours: how it starts, waits for tasks, and ends with its parent."""

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

#: Seconds after the last task until a worker drops the data of the call, and between two checks for that.
KEEP_SECONDS = 1.0

#: Largest number of attempts to remove the files of a killed parent.
TRIES = 10


@dataclass(frozen=True, slots=True)
class Setup:
    """Settings of a worker process of ours: threads of numeric libraries, and id and files of its parent."""

    threads: int
    parent: int
    # A killed parent cannot remove its socket and the folders with this prefix, so its workers do.
    socket: str = ""
    folders: str = field(default_factory=folders_of_this_process)


def serve(pipe: Connection, setup: Setup, said: str) -> None:
    """Run tasks of a :class:`pdparallel.engines.process_pool.Pool` until the pipe closes."""
    with _standard_error_to(said):
        start(setup)
    with contextlib.suppress(EOFError, OSError):  # the parent closed its end, or is gone
        pid = os.getpid()
        pipe.send_bytes(b"")  # this worker is ready
        while True:
            answer = run_task(pipe.recv_bytes())
            if os.getpid() != pid:  # the function forked, and this is the child, which is no worker
                os._exit(0)
            pipe.send_bytes(answer)


@contextlib.contextmanager
def _standard_error_to(path: str) -> Iterator[None]:
    """Redirect the standard error of this process to a file, also for a crash."""
    error, kept = 2, os.dup(2)
    try:
        file = open_file(path, os.O_WRONLY | os.O_APPEND)
    except FileNotFoundError:  # the parent ended and removed it while this process started
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
    """Prepare a worker process: signals, threads of numeric libraries, and the thread that ends it with its parent."""
    become_a_worker()
    if sys.excepthook.__module__ == "pdparallel.worker.preload":  # inherited from the forkserver
        sys.excepthook = sys.__excepthook__
    # Ctrl-C reaches every process of the terminal. The parent handles it and ends the workers itself.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})  # blocked while this process started
    _limit_threads(setup.threads)
    random_state.reseed()
    # Imported modules stay. Without freeze, the garbage collector scans all of pandas repeatedly while results grow.
    # That takes as long as creating 100,000 dicts of a list and a tuple.
    gc.freeze()
    threading.Thread(target=_watch, args=(setup,), name="pdparallel-watch", daemon=True).start()


def _limit_threads(threads: int) -> None:
    """Limit the threads of BLAS, OpenMP, Arrow and numexpr: workers that use all cores wait for each other."""
    for variable in THREAD_VARIABLES:
        os.environ[variable] = str(threads)
    from threadpoolctl import threadpool_limits

    threadpool_limits(limits=threads)
    with contextlib.suppress(ImportError):
        import pyarrow

        pyarrow.set_cpu_count(threads)
    numexpr = sys.modules.get("numexpr")  # pandas loads it if it is installed
    if numexpr is not None:
        with contextlib.suppress(ValueError):  # above its limit, which is fixed when it is loaded
            numexpr.set_num_threads(threads)


def _watch(setup: Setup) -> None:
    """End this process with its parent, however that ends, and drop the data of finished calls."""
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
    """Remove the files of a killed parent: its socket with the folder if that is empty, and the data of calls."""
    with contextlib.suppress(OSError):  # another worker removed them, or the folder is not empty
        os.unlink(setup.socket)
        os.rmdir(os.path.dirname(setup.socket))
    for _ in range(TRIES):
        if all(map(remove_folder, glob.glob(glob.escape(setup.folders) + "*"))):
            return
        time.sleep(KEEP_SECONDS / TRIES)  # until other workers close them, at their end at the latest
