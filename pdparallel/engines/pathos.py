"""Pathos: a warm :class:`pathos.pools.ProcessPool`, opened, closed, joined and cleared here.

pathos keeps its pools in a table of its own by ``id``, where a closed pool stays until it is cleared; and like every
``multiprocess`` pool it loses the task of a dead worker without a word.  Both are this module's to see to.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import ClassVar

from pathos.pools import ProcessPool

from pdparallel.ending import calls_end_first
from pdparallel.engines.base import Engine
from pdparallel.engines.launch import BROKEN_START, Context
from pdparallel.engines.warm import KEPT_POOLS, Kept, Warm
from pdparallel.engines.watched import Watched
from pdparallel.errors import WorkerStartError
from pdparallel.serving import Setup, start
from pdparallel.transport.task import Reach
from pdparallel.typing import StartMethod

__all__ = ["PathosEngine"]

#: Seconds that the pool gets to end in order; a worker that was killed while it held the queue's lock blocks that.
END_SECONDS = 2.0

_numbers = itertools.count(1)

calls_end_first()


class _Pool(Kept):
    """A pathos pool of our own, under an id of our own."""

    def __init__(self, n_workers: int, method: StartMethod, threads: int) -> None:
        self._context = Context(method)
        try:
            self._pathos = ProcessPool(
                nodes=n_workers,
                id=f"pdparallel-{os.getpid()}-{next(_numbers)}",
                initializer=start,
                initargs=(Setup(threads, os.getpid(), self._context.socket()),),
                context=self._context,
            )
        except BaseException:
            self._context.close()
            raise
        inner = self._pathos._serve()  # the pool behind the wrapper: only it takes error callbacks
        self.watched = Watched(inner)

    @property
    def usable(self) -> bool:
        return self.watched.sound and all(process.is_alive() for process in self._context.started)

    def end(self, *, kill: bool) -> None:
        in_order = self._in_time(self._pathos.terminate if kill or not self.usable else self._pathos.close)
        in_order = in_order and self._in_time(self._pathos.join)
        for process in self._context.started:
            if not in_order:
                process.kill()
            process.join(END_SECONDS)
        if not in_order:
            self._free_threads()
        self._in_time(self._pathos.clear)
        self._context.close()

    def _free_threads(self) -> None:
        """Free the threads that end the pool, when no worker is alive: they wait for what a dead one has.

        A worker that was killed while it took a task or gave a result holds the lock of that queue for ever, and may
        have left half a message in it.  And the thread that replaces workers dies if it cannot start one.
        """
        pool = self.watched.pool
        for queue, lock in (("_inqueue", "_rlock"), ("_outqueue", "_wlock")):
            with contextlib.suppress(AttributeError, ValueError, AssertionError):  # nobody held it
                getattr(getattr(pool, queue), lock).release()
        with contextlib.suppress(AttributeError):
            pool._taskqueue.put(None)
        if not self._in_time(self._pathos.join):
            for queue, end in (("_inqueue", "_reader"), ("_outqueue", "_writer")):
                with contextlib.suppress(AttributeError, OSError):
                    getattr(getattr(pool, queue), end).close()

    @staticmethod
    def _in_time(step: Callable[[], object]) -> bool:
        def run() -> None:
            with contextlib.suppress(Exception):  # a pool that is broken already may refuse any of the steps
                step()

        thread = threading.Thread(target=run, name="pdparallel-pathos-end", daemon=True)
        thread.start()
        thread.join(END_SECONDS)
        return not thread.is_alive()


_warm: Warm[_Pool] = Warm(KEPT_POOLS)


class PathosEngine(Engine):
    """Worker processes of a pathos pool that stay for the next call.

    Parameters
    ----------
    n_workers : int
        Processes.
    method : {"forkserver", "spawn", "fork"}
        Start method.
    threads : int
        Threads of numeric libraries in each worker.
    """

    name: ClassVar[str] = "pathos"
    reach = Reach.HOST
    restarts = True

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
            if self._pool is not None and not self._pool.usable:
                pool, self._pool = self._pool, None
                _warm.give_back(pool, kill=True)
            if self._pool is None:
                self._pool = _warm.borrow(self._key, self._made)
            return self._pool

    def _made(self) -> _Pool:
        try:
            with contextlib.suppress(*BROKEN_START):
                return _Pool(*self._key)
            return _Pool(*self._key)
        except (OSError, EOFError) as error:
            raise WorkerStartError(
                f"no pathos pool could be made: {type(error).__name__}: {error}. It needs semaphores, which Linux "
                "keeps in /dev/shm; engine='process' needs none."
            ) from error

    def submit(self, task: bytes) -> Future[bytes]:
        # A pathos pool starts its workers when it is made, so none is made before there is a task.
        return self._borrowed().watched.submit(task)

    def kill(self, pid: int) -> None:
        for process in self._borrowed().watched.processes:
            if process.pid == pid:
                process.kill()

    def close(self, *, kill: bool = False) -> None:
        with self._lock:
            self._closed = True
            pool, self._pool = self._pool, None
        if pool is not None and _warm.give_back(pool, kill=kill) and kill:
            # Nobody can say who of them has a task of this call; what other calls lose runs again in another pool.
            for process in pool.watched.processes:
                process.kill()
