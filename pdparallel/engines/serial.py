"""Engine that runs each task at once in this thread; with a locality beyond the process it serializes everything."""

from __future__ import annotations

from concurrent.futures import Future
from typing import ClassVar

from pdparallel.engines.base import Engine
from pdparallel.transport.task import Locality, Parts
from pdparallel.worker.decode import forget
from pdparallel.worker.run_task import run_parts, run_task

__all__ = ["SerialEngine"]


class SerialEngine(Engine):
    """Engine without workers; also the fake engine of tests, with another locality."""

    name: ClassVar[str] = "serial"
    n_workers = 1
    runs_here = True

    def __init__(self, locality: Locality = Locality.PROCESS) -> None:
        self.locality = locality

    def submit(self, task: bytes | Parts) -> Future[bytes]:
        future: Future[bytes] = Future()
        future.set_running_or_notify_cancel()
        if isinstance(task, Parts):
            future.set_result(run_parts(task.head, task.work, memoryview(task.piece)))
        else:
            future.set_result(run_task(task))
        return future

    def close(self, *, kill: bool = False) -> None:
        forget()
