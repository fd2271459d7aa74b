"""Engine on a pool of threads, for functions that wait or release the GIL; nothing is serialized."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import ClassVar

from pdparallel.engines.base import Engine, InThreads
from pdparallel.transport.task import Locality

__all__ = ["ThreadEngine"]


class ThreadEngine(Engine):
    """Engine on threads of one call; none are kept, because the start of a thread takes some ten microseconds."""

    name: ClassVar[str] = "thread"
    locality = Locality.PROCESS

    def __init__(self, n_workers: int) -> None:
        self.n_workers = n_workers
        self._executor = ThreadPoolExecutor(n_workers, thread_name_prefix="pdparallel")
        self._run = InThreads()

    def submit(self, task: bytes) -> Future[bytes]:
        return self._executor.submit(self._run, task)

    def close(self, *, kill: bool = False) -> None:
        # A thread cannot be ended from outside: with kill, running tasks finish and their results are dropped.
        self._executor.shutdown(wait=not kill, cancel_futures=True)
