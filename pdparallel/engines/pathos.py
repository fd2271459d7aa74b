"""Engine on a cached :class:`pathos.pools.ProcessPool`.

pathos keeps its pools in a table by ``id`` until they are cleared, even if they are closed. Like every ``multiprocess``
pool, it silently loses the task of a dead worker. This module handles both.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, ClassVar

from pathos.pools import ProcessPool

from pdparallel.core.lifetime import calls_end_first
from pdparallel.engines.base import Engine
from pdparallel.engines.pool_cache import MAX_CACHED_POOLS, CachedPool, PoolCache
from pdparallel.engines.pool_futures import Watched
from pdparallel.engines.process_start import BROKEN_START, BROKEN_STARTS, Context
from pdparallel.errors import WorkerStartError
from pdparallel.transport.task import Locality
from pdparallel.typing import StartMethod
from pdparallel.worker.process import Setup, start

__all__ = ["PathosEngine"]

#: Seconds that a pool gets to close in order; a worker that was killed while it held the queue's lock blocks that.
END_SECONDS = 2.0

_numbers = itertools.count(1)

calls_end_first()


class _Nobody:
    """Placeholder in a pool's list of workers for a process that is not started."""

    name = ""
    exitcode = None

    def start(self) -> None:
        pass

    join = terminate = start

    def is_alive(self) -> bool:
        return False


class _Context(Context):
    """Context of one pool; a dead worker gets no successor, because the pool is discarded."""

    complete = False

    def Process(self, *args: Any, **kwargs: Any) -> Any:  # noqa: N802 - multiprocessing's name
        return _Nobody() if self.complete else super().Process(*args, **kwargs)


class _Pool(CachedPool):
    """Pathos pool with an id that no other pool has."""

    def __init__(self, n_workers: int, method: StartMethod, threads: int) -> None:
        self._context = _Context(method)
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
        self._context.complete = True
        self._context.close()
        inner = self._pathos._serve()  # only the pool inside the wrapper takes error callbacks
        self.watched = Watched(inner)

    @property
    def usable(self) -> bool:
        return self.watched.sound and all(process.is_alive() for process in self._context.started)

    def end(self, *, kill: bool) -> None:
        with contextlib.suppress(AttributeError):  # a future multiprocess may lack it
            # At garbage collection, its finalizer would end the pool again and wait forever for a dead worker's lock.
            self.watched.pool._terminate.cancel()
        in_order = not kill and self.usable and self._in_time(self._pathos.close) and self._in_time(self._pathos.join)
        if not in_order:
            for process in self._context.started:
                process.kill()
            for process in self._context.started:
                process.join()
            with contextlib.suppress(AttributeError):  # a future multiprocess: its threads stay, and block nothing
                self._end_threads()
        self._in_time(self._pathos.clear)

    def _end_threads(self) -> None:
        """End the threads of the pool after all workers have died."""
        # terminate() would wait forever if a worker was killed at a queue: it holds the lock, and may have written
        # half a message.
        pool = self.watched.pool
        pool._state = "TERMINATE"
        for handler in (pool._worker_handler, pool._task_handler, pool._result_handler):
            handler._state = "TERMINATE"
        pool._change_notifier.put(None)
        pool._worker_handler.join(END_SECONDS)
        pool._inqueue._reader.close()  # a put into a full pipe raises
        pool._taskqueue.put(None)
        pool._task_handler.join(END_SECONDS / 4)  # it ends the result thread
        if not pool._result_handler.is_alive():
            pool._outqueue._reader.close()
        elif pool._task_handler.is_alive():  # a dead worker holds the lock
            pool._outqueue._wlock.release()
        pool._task_handler.join(END_SECONDS)
        pool._result_handler.join(END_SECONDS / 4)
        pool._outqueue._writer.close()  # a read of half a result ends

    @staticmethod
    def _in_time(step: Callable[[], object]) -> bool:
        def run() -> None:
            with contextlib.suppress(Exception):  # a broken pool may refuse any step
                step()

        thread = threading.Thread(target=run, name="pdparallel-pathos-end", daemon=True)
        thread.start()
        thread.join(END_SECONDS)
        return not thread.is_alive()


_warm: PoolCache[_Pool] = PoolCache(MAX_CACHED_POOLS)


class PathosEngine(Engine):
    """Engine on worker processes of a pathos pool, which stays cached for the next call."""

    name: ClassVar[str] = "pathos"
    locality = Locality.HOST
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
                _warm.release(pool, kill=True)
            if self._pool is None:
                self._pool = _warm.acquire(self._key, self._made)
            return self._pool

    def _made(self) -> _Pool:
        try:
            for _ in range(BROKEN_STARTS):
                with contextlib.suppress(*BROKEN_START):
                    return _Pool(*self._key)
            return _Pool(*self._key)
        except (OSError, EOFError) as error:
            raise WorkerStartError(
                f"No pathos pool could be made: {type(error).__name__}: {error}. It needs semaphores, which Linux "
                "keeps in /dev/shm. engine='process' needs none."
            ) from error

    def submit(self, task: bytes) -> Future[bytes]:
        # A pathos pool starts its workers when it is made, so it is made for the first task.
        return self._borrowed().watched.submit(task)

    def kill(self, pid: int) -> None:
        for process in self._borrowed().watched.processes:
            if process.pid == pid:
                process.kill()

    def close(self, *, kill: bool = False) -> None:
        with self._lock:
            self._closed = True
            pool, self._pool = self._pool, None
        if pool is not None and _warm.release(pool, kill=kill) and kill:
            # Any worker may have a task of this call. Tasks that other calls lose run again in another pool.
            for process in pool.watched.processes:
                process.kill()
