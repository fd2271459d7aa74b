"""Engine on a cached pool of pdparallel's own worker processes on this machine."""

from __future__ import annotations

import os
import threading
from concurrent.futures import Future
from typing import ClassVar

from pdparallel.engines.base import Engine
from pdparallel.engines.pool_cache import MAX_CACHED_POOLS, PoolCache
from pdparallel.engines.process_pool import Pool
from pdparallel.transport.task import Locality
from pdparallel.typing import StartMethod
from pdparallel.worker.process import Setup

__all__ = ["ProcessEngine", "is_warm"]

_warm: PoolCache[Pool] = PoolCache(MAX_CACHED_POOLS)


def is_warm(n_workers: int, method: StartMethod, threads: int) -> bool:
    """Return whether such a pool is cached and its workers run."""
    return _warm.is_ready((n_workers, method, threads))


class ProcessEngine(Engine):
    """Engine on worker processes, which stay cached for the next call."""

    name: ClassVar[str] = "process"
    locality = Locality.HOST
    restarts = True

    def __init__(self, n_workers: int, method: StartMethod, threads: int) -> None:
        self.n_workers = n_workers
        self._key = (n_workers, method, threads)
        self._pool: Pool | None = None
        self._closed = False
        self._lock = threading.Lock()
        self._open: set[Future[bytes]] = set()

    def _borrowed(self) -> Pool:
        with self._lock:
            if self._closed:
                raise RuntimeError("the engine is closed")
            if self._pool is None:
                n_workers, method, threads = self._key
                self._pool = _warm.acquire(self._key, lambda: Pool(n_workers, method, Setup(threads, os.getpid())))
            return self._pool

    def submit(self, task: bytes) -> Future[bytes]:
        future = self._borrowed().submit(task)
        self._open.add(future)
        future.add_done_callback(self._open.discard)
        return future

    def kill(self, pid: int) -> None:
        self._borrowed().kill(pid)

    def close(self, *, kill: bool = False) -> None:
        with self._lock:
            self._closed = True
            pool, self._pool = self._pool, None
        if pool is not None and _warm.release(pool, kill=kill) and kill:
            pool.abandon(self._open.copy())  # other calls use the pool, too
