"""Engine: the seam, two methods wide: ``submit`` takes the bytes of a task, ``close`` gives the engine back."""

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

#: Tasks on their way for each worker: one that runs and one that waits, so that no worker waits for the parent.
IN_FLIGHT = 2

#: Signals of compiled code that fails.
_CRASHES = tuple(
    -getattr(signal, name) for name in ("SIGSEGV", "SIGABRT", "SIGBUS", "SIGILL", "SIGFPE") if hasattr(signal, name)
)

#: The exit code of a process that the system killed, as it does when memory runs out; Windows has none.
_KILLED = -getattr(signal, "SIGKILL", 0) or None


class Engine(abc.ABC):
    """Runs tasks."""

    name: ClassVar[str]
    locality: Locality
    n_workers: int
    restarts: ClassVar[bool] = False
    task_seconds: ClassVar[float] = TASK_SECONDS
    runs_here: ClassVar[bool] = False

    @property
    def in_flight(self) -> int:
        """Tasks that may be on their way at once."""
        return self.n_workers * IN_FLIGHT

    @abc.abstractmethod
    def submit(self, task: Any) -> Future[bytes]:
        """Run :func:`pdparallel.worker.run_task.run_task` upon the task in a worker."""

    def kill(self, pid: int) -> None:
        """End a worker at once: its task fails, and another worker takes its place.  For engines that restart them."""
        raise NotImplementedError(f"engine {self.name} ends no workers")

    @abc.abstractmethod
    def close(self, *, kill: bool = False) -> None:
        """Give the engine back: a warm pool stays for the next call, unless ``kill`` ends its workers at once."""


class InThreads:
    """Runs tasks in other threads amid the context variables, ``np.errstate`` and decimal context of who makes it."""

    def __init__(self) -> None:
        self._context = contextvars.copy_context()
        self._own = threading.local()

    def __call__(self, task: bytes) -> bytes:
        context: contextvars.Context | None = getattr(self._own, "context", None)
        if context is None:
            context = self._own.context = self._context.copy()
        return context.run(run_task_in_thread, task)


class _Chained(Future[bytes]):
    """A future that hands on another one's end, with its exception translated, and its own cancellation to it."""

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
    """A future that ends as ``inner`` does, with its exception passed through ``translate``."""
    return _Chained(inner, translate)


def died(processes: Sequence[Any], cause: BaseException | None = None) -> WorkerDiedError:
    """The error for a dead worker, from what is known of the pool's processes."""
    ended = [process for process in processes if process.exitcode not in (None, 0, -signal.SIGTERM)]
    # A pool that noticed a dead worker ends the others by SIGTERM: that is the cause only where there is no other.
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
    """The end of a process in words."""
    return f"was killed by {signal_name(exitcode)}" if exitcode < 0 else f"ended with exit code {exitcode}"


def signal_name(exitcode: int) -> str:
    """The signal that a negative exit code stands for."""
    try:
        return signal.Signals(-exitcode).name
    except ValueError:
        return f"signal {-exitcode}"


def is_crash(exitcode: int | None) -> bool:
    """Whether a process with that exit code failed by itself."""
    return exitcode is not None and (exitcode > 0 or exitcode in _CRASHES)


def why_it_ended(exitcode: int | None) -> str:
    """The usual cause of such an end, and what to do about it."""
    if exitcode is None:
        return "Its exit code is not known. engine='process' tells it, and names the row."
    if exitcode == _KILLED:
        return "Running out of memory is the usual cause. Give fewer workers (n_workers=) or a smaller chunk_size=."
    if exitcode in _CRASHES:
        return "Compiled code that the function calls is the usual cause."
    if exitcode < 0:
        return "Usually another process sends this signal."
    return "The function, or a library that it calls, ended the process."
