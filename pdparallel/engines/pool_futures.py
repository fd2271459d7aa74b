"""Futures over a ``multiprocessing`` pool that fail when a worker dies.

Such a pool silently replaces a dead worker, and the result of its task never arrives. Therefore a thread waits for the
sentinels of the workers while tasks are open, and ends their futures with an error::

    pool.apply_async(...) -- callback --> future.set_result
    worker's sentinel --> a thread -----> future.set_exception(WorkerDiedError)
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from multiprocessing.connection import wait
from typing import Any

from pdparallel.engines.base import died
from pdparallel.worker.run_task import run_task_in_thread

__all__ = ["Watched"]

#: Seconds between two checks for new workers; a dead worker is noticed at once, by its sentinel.
LOOK_SECONDS = 0.1

#: Seconds to wait for results that were in the pipe when a worker died.
GRACE_SECONDS = 0.3


class Watched:
    """Adapter that submits tasks to a pool with ``apply_async`` and notices dead workers."""

    def __init__(self, pool: Any, run: Callable[[bytes], bytes] = run_task_in_thread) -> None:
        self.pool = pool
        self._run = run
        self._lock = threading.Lock()
        self._open: set[Future[bytes]] = set()
        self._thread: threading.Thread | None = None
        self._seen: dict[int, Any] = {}
        self.sound = True
        self._look()

    def submit(self, task: bytes) -> Future[bytes]:
        """Run the task in the pool; the future always ends."""
        future: Future[bytes] = Future()
        future.set_running_or_notify_cancel()
        with self._lock:
            self._look()
            self._open.add(future)
            self.pool.apply_async(
                self._run,
                (task,),
                callback=lambda value: self._finish(future, value, None),
                error_callback=lambda error: self._finish(future, b"", error),
            )
            if self._thread is None:
                self._thread = threading.Thread(target=self._watch, name="pdparallel-pool-watch", daemon=True)
                self._thread.start()
        return future

    @property
    def processes(self) -> list[Any]:
        """Worker processes seen so far; empty if the pool does not list them."""
        return list(self._seen.values())

    def _look(self) -> None:
        for process in list(getattr(self.pool, "_pool", None) or ()):
            if hasattr(process, "sentinel"):
                self._seen.setdefault(process.pid, process)

    def _finish(self, future: Future[bytes], value: bytes, error: BaseException | None) -> None:
        with self._lock:
            self._open.discard(future)
        try:
            if error is None:
                future.set_result(value)
            else:
                future.set_exception(error)
        except InvalidStateError:  # it failed already, because of a worker's death
            pass

    def _watch(self) -> None:
        while True:
            with self._lock:
                if not self._open:
                    self._thread = None
                    return
                self._look()
                processes = list(self._seen.values())
            closed = wait([process.sentinel for process in processes], timeout=LOOK_SECONDS)
            for process in processes:
                if process.sentinel in closed:
                    process.join(LOOK_SECONDS)  # the exit code is known a moment after the end
            ended = [process for process in processes if process.exitcode is not None]
            if getattr(self.pool, "_maxtasksperchild", None) is not None:
                # Workers of such a pool exit between two tasks with code 0, which loses no task.
                ended = [process for process in ended if process.exitcode != 0]
            if ended:
                self._give_up(ended)

    def _give_up(self, ended: list[Any]) -> None:
        threading.Event().wait(GRACE_SECONDS)
        self.sound = False
        with self._lock:
            lost, self._open = list(self._open), set()
            for process in ended:
                self._seen.pop(process.pid, None)
        for future in lost:
            try:
                future.set_exception(died(ended))
            except InvalidStateError:
                pass
