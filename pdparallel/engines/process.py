"""Process: a warm pool of worker processes on this machine, by :class:`concurrent.futures.ProcessPoolExecutor`."""

from __future__ import annotations

import os
import threading
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait
from typing import ClassVar

from pdparallel.engines.base import Engine, chained, died
from pdparallel.engines.launch import Context
from pdparallel.engines.warm import Warm
from pdparallel.transport.parcel import Reach
from pdparallel.typing import StartMethod
from pdparallel.worker import Setup, run_task, start

__all__ = ["ProcessEngine", "is_warm"]

#: Seconds that a worker gets to leave by itself before it is killed.
LEAVE_SECONDS = 2.0


class _Pool:
    """An executor and the processes that it started."""

    def __init__(self, n_workers: int, method: StartMethod, threads: int) -> None:
        self.context = Context(method)
        self.executor = ProcessPoolExecutor(
            n_workers,
            mp_context=self.context,
            initializer=start,
            initargs=(Setup(threads, os.getpid()),),
        )
        self._sound = True

    @property
    def usable(self) -> bool:
        return self._sound and all(process.is_alive() for process in self.context.started)

    @property
    def up(self) -> bool:
        return self.usable and bool(self.context.started)

    def broke(self, error: BaseException) -> BaseException:
        if not isinstance(error, BrokenProcessPool):
            return error
        self._sound = False
        # The executor noticed that a sentinel was closed; the exit code comes a moment later.
        ended = wait([process.sentinel for process in self.context.started], timeout=LEAVE_SECONDS)
        for process in self.context.started:
            if process.sentinel in ended:
                process.join(LEAVE_SECONDS)
        return died(self.context.started, error)

    def end(self, *, kill: bool) -> None:
        self._sound = False
        if kill:
            for process in self.context.started:
                if process.is_alive():
                    process.kill()
        self.executor.shutdown(wait=True, cancel_futures=True)
        for process in self.context.started:
            process.join(LEAVE_SECONDS)
            if process.is_alive():
                process.kill()
                process.join(LEAVE_SECONDS)


_warm: Warm[_Pool] = Warm()


def is_warm(n_workers: int, method: StartMethod, threads: int) -> bool:
    """Whether such a pool is kept and sound."""
    return _warm.has((n_workers, method, threads))


class ProcessEngine(Engine):
    """Worker processes that stay for the next call.

    Parameters
    ----------
    n_workers : int
        Processes at most; each starts when there is a task for it.
    method : {"forkserver", "spawn", "fork"}
        Start method.
    threads : int
        Threads of numeric libraries in each worker.
    """

    name: ClassVar[str] = "process"
    reach = Reach.HOST

    def __init__(self, n_workers: int, method: StartMethod, threads: int) -> None:
        self.n_workers = n_workers
        self._key = (n_workers, method, threads)
        self._pool: _Pool | None = None
        self._closed = False
        self._lock = threading.Lock()

    def _borrowed(self) -> _Pool:
        with self._lock:
            if self._closed:
                raise RuntimeError("the engine is closed")
            if self._pool is None:
                self._pool = _warm.borrow(self._key, lambda: _Pool(*self._key))
            return self._pool

    def submit(self, task: bytes) -> Future[bytes]:
        pool = self._borrowed()  # an executor starts multiprocessing's tracker, so none is made before there is a task
        try:
            inner = pool.executor.submit(run_task, task)
        except BrokenProcessPool as error:
            raise pool.broke(error) from error
        return chained(inner, pool.broke)

    def close(self, *, kill: bool = False) -> None:
        with self._lock:
            self._closed = True
            pool, self._pool = self._pool, None
        if pool is not None:
            _warm.give_back(pool, kill=kill)
