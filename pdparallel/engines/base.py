"""Base class of all engines, and the errors for workers that ended.

The interface has two methods: ``submit`` takes the bytes of a task, ``close`` releases the engine.
"""

from __future__ import annotations

import abc
import contextvars
import signal
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, Future
from typing import Any, ClassVar

from pdparallel.core.chunking import TASK_SECONDS
from pdparallel.errors import WorkerDiedError
from pdparallel.transport.task import Locality
from pdparallel.worker.run_task import run_task_in_thread

__all__ = ["Engine", "InThreads", "chained", "died", "how_it_ended", "is_crash", "signal_name", "why_it_ended"]

#: Tasks submitted per worker: one that runs and one that waits, so that no worker waits for the parent.
IN_FLIGHT = 2

#: Exit codes of processes that crashed in compiled code.
_CRASHES = tuple(
    -getattr(signal, name) for name in ("SIGSEGV", "SIGABRT", "SIGBUS", "SIGILL", "SIGFPE") if hasattr(signal, name)
)

#: Exit code of a process that the system killed, usually because memory ran out; None on Windows.
_KILLED = -getattr(signal, "SIGKILL", 0) or None


class Engine(abc.ABC):
    """Base class of engines, which run tasks in workers."""

    #: Value of ``engine=``.
    name: ClassVar[str]
    #: Distance of the workers, which decides how the data reach them.
    locality: Locality
    #: Number of tasks that run at once.
    n_workers: int
    #: True if the workers are processes that ``kill`` may end and the engine replaces.
    restarts: ClassVar[bool] = False
    #: Seconds of overhead per task.
    task_seconds: ClassVar[float] = TASK_SECONDS
    #: True if ``submit`` returns only after the task is done, so that nobody can poll its progress.
    runs_here: ClassVar[bool] = False

    @property
    def in_flight(self) -> int:
        """Largest number of tasks in flight."""
        return self.n_workers * IN_FLIGHT

    @abc.abstractmethod
    def submit(self, task: Any) -> Future[bytes]:
        """Run a task in a worker: bytes, or :class:`Parts` if the locality is ``STORE``.

        If the worker ends, the future fails with a :class:`WorkerDiedError`. It never stays pending.
        """

    def kill(self, pid: int) -> None:
        """End a worker at once: its task fails, and another worker replaces it. Only for engines that restart."""
        raise NotImplementedError(f"engine {self.name} ends no workers")

    @abc.abstractmethod
    def close(self, *, kill: bool = False) -> None:
        """Release the engine: its pool stays cached for the next call, unless ``kill`` ends the workers."""


class InThreads:
    """Function that runs tasks in other threads with its creator's context (variables, ``np.errstate``, decimal)."""

    def __init__(self) -> None:
        self._context = contextvars.copy_context()
        self._own = threading.local()

    def __call__(self, task: bytes) -> bytes:
        context: contextvars.Context | None = getattr(self._own, "context", None)
        if context is None:  # one copy for all tasks of a thread, so that values set by an initializer stay
            context = self._own.context = self._context.copy()
        return context.run(run_task_in_thread, task)


class _Chained(Future[bytes]):
    """Future that ends like ``inner``, with a translated exception, and forwards its own cancellation to it."""

    def __init__(self, inner: Future[bytes], translate: Callable[[BaseException], BaseException]) -> None:
        super().__init__()
        self._inner = inner
        self._translate = translate
        inner.add_done_callback(self._finish)

    def cancel(self) -> bool:
        return self._inner.cancel()

    def running(self) -> bool:
        return self._inner.running()

    def _finish(self, inner: Future[bytes]) -> None:
        if inner.cancelled():
            super().cancel()
            self.set_running_or_notify_cancel()
            return
        error = inner.exception()
        if isinstance(error, CancelledError):
            super().cancel()
            self.set_running_or_notify_cancel()
        elif error is not None:
            self.set_exception(self._translate(error))
        else:
            self.set_result(inner.result())


def chained(inner: Future[bytes], translate: Callable[[BaseException], BaseException]) -> Future[bytes]:
    """Return a future that ends like ``inner``, with its exception passed through ``translate``."""
    return _Chained(inner, translate)


def died(processes: Sequence[Any], cause: BaseException | None = None) -> WorkerDiedError:
    """Return the error for a dead worker, with pid and exit code if a process of the pool has one."""
    ended = [process for process in processes if process.exitcode not in (None, 0, -signal.SIGTERM)]
    # A pool that notices a dead worker ends the others by SIGTERM, which is the cause only if there is no other.
    ended = ended or [process for process in processes if process.exitcode is not None]
    if not ended:
        error = WorkerDiedError(f"A worker process ended while it had work. {why_it_ended(None)}")
    else:
        first = ended[0]
        error = WorkerDiedError(
            f"Worker process {first.pid} {how_it_ended(first.exitcode)} while it had work. "
            f"{why_it_ended(first.exitcode)}",
            first.pid,
            first.exitcode,
        )
    error.__cause__ = cause
    return error


def how_it_ended(exitcode: int) -> str:
    """Return how a process ended, in words."""
    return f"was killed by {signal_name(exitcode)}" if exitcode < 0 else f"ended with exit code {exitcode}"


def signal_name(exitcode: int) -> str:
    """Return the name of the signal of a negative exit code."""
    try:
        return signal.Signals(-exitcode).name
    except ValueError:
        return f"signal {-exitcode}"


def is_crash(exitcode: int | None) -> bool:
    """Return whether a process with that exit code failed by itself."""
    return exitcode is not None and (exitcode > 0 or exitcode in _CRASHES)


def why_it_ended(exitcode: int | None) -> str:
    """Return the usual cause of an exit code, with advice."""
    if exitcode is None:
        return "Its exit code is not known. engine='process' tells it, and names the row."
    if exitcode == _KILLED:
        return "Running out of memory is the usual cause. Give fewer workers (n_workers=) or a smaller chunk_size=."
    if exitcode in _CRASHES:
        return "Compiled code that the function calls is the usual cause."
    if exitcode < 0:
        return "Usually another process sends this signal."
    return "The function, or a library that it calls, ended the process."
