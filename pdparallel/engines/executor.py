"""Engine on an executor or pool that the user made; pdparallel submits tasks to it and never closes it."""

from __future__ import annotations

import multiprocessing.pool
import threading
import time
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from typing import Any, ClassVar

from pdparallel.engines.base import Engine, InThreads, chained, died
from pdparallel.engines.pool_futures import Watched
from pdparallel.errors import InvalidOptionError, WorkerStartError
from pdparallel.transport.task import Locality
from pdparallel.worker.run_task import run_task_in_thread

__all__ = ["ExecutorEngine"]

#: Longest pause in seconds between two looks whether a ParallelPool has a result.
MAX_PAUSE_SECONDS = 0.02


class ExecutorEngine(Engine):
    """Engine on an executor, a :mod:`multiprocessing` or ``multiprocess`` pool, or a pathos pool."""

    name: ClassVar[str] = "executor"

    def __init__(self, given: Any, n_workers: int) -> None:
        self._given = given
        self._submit, self.locality = _adapted(given)
        told = next(
            (getattr(given, name) for name in ("_max_workers", "_processes", "nodes") if hasattr(given, name)), None
        )
        self.n_workers = told if isinstance(told, int) and told > 0 else n_workers

    def submit(self, task: bytes) -> Future[bytes]:
        try:
            return self._submit(task)
        except BrokenExecutor as error:
            raise _explained(error) from error
        except (RuntimeError, ValueError) as error:  # from executors; from pools
            if not any(words in str(error) for words in _WORDS_OF_CLOSED):
                raise
            kind = type(self._given).__name__
            raise WorkerStartError(
                f"The {kind} of engine= is closed ({error}). Give an open one, and make the call inside its with block."
            ) from None

    def close(self, *, kill: bool = False) -> None:
        # The executor belongs to the user: kill ends nothing, and a running task runs to its end.
        pass


#: Parts of the error messages of executors and pools that are closed.
_WORDS_OF_CLOSED = ("after shutdown", "not running")


def _adapted(given: Any) -> tuple[Callable[[bytes], Future[bytes]], Locality]:
    if hasattr(given, "submit"):
        locality = _reach(given)
        run = InThreads() if locality is Locality.PROCESS else run_task_in_thread
        return (lambda task: chained(given.submit(run, task), _explained)), locality
    if hasattr(given, "apipe"):
        return _adapted_pathos(given)
    if hasattr(given, "apply_async"):
        return _watched(given, isinstance(given, multiprocessing.pool.ThreadPool) or _is_thread_pool(given))
    raise InvalidOptionError(
        "engine", given, "an object with submit() (executors), apply_async() (pools) or apipe() (pathos)"
    )


def _reach(given: Any) -> Locality:
    """Return where the workers of an executor are; tasks for an unknown executor carry all their bytes."""
    names = [f"{kind.__module__}.{kind.__qualname__}" for kind in type(given).__mro__]
    if any(name.endswith("InterpreterPoolExecutor") for name in names):
        raise InvalidOptionError(
            "engine", given, "an executor of threads or processes",
            "A subinterpreter cannot load NumPy and pandas.",
        )  # fmt: skip
    if isinstance(given, ThreadPoolExecutor):
        return Locality.PROCESS
    ours = isinstance(given, ProcessPoolExecutor) or any("loky." in name for name in names)
    return Locality.HOST if ours else Locality.ANYWHERE


def _is_thread_pool(given: Any) -> bool:
    return type(given).__name__ == "ThreadPool"


def _watched(pool: Any, threads: bool) -> tuple[Callable[[bytes], Future[bytes]], Locality]:
    if threads:
        return Watched(pool, run=InThreads()).submit, Locality.PROCESS
    return Watched(pool).submit, Locality.HOST


def _adapted_pathos(given: Any) -> tuple[Callable[[bytes], Future[bytes]], Locality]:
    serve = getattr(given, "_serve", None)
    inner = serve() if serve is not None else None
    if hasattr(inner, "apply_async"):
        return _watched(inner, _is_thread_pool(given))
    if hasattr(inner, "ppservers"):
        return _Polled(given).submit, Locality.ANYWHERE
    raise InvalidOptionError(
        "engine",
        given,
        "a pathos ProcessPool, ThreadPool or ParallelPool",
        "pdparallel cannot wait for the results of other pathos pools.",
    )


class _Polled:
    """Adapter of a pathos ParallelPool, with servers on any machine; a thread waits for each result."""

    def __init__(self, given: Any) -> None:
        self._given = given

    def submit(self, task: bytes) -> Future[bytes]:
        future: Future[bytes] = Future()
        future.set_running_or_notify_cancel()
        result = self._given.apipe(_run_where_there_is_nothing, task)
        threading.Thread(target=self._wait, args=(result, future), name="pdparallel-pp", daemon=True).start()
        return future

    @staticmethod
    def _wait(result: Any, future: Future[bytes]) -> None:
        pause = 0.001
        try:
            # get() of a result that is not ready may wait forever: ppft sets the flag only after it wakes the waiter.
            while not result.ready():
                time.sleep(pause)
                pause = min(2 * pause, MAX_PAUSE_SECONDS)
            answer = result.get()
        except BaseException as error:
            future.set_exception(error)
            return
        if isinstance(answer, bytes):
            future.set_result(answer)
        else:  # a server prints its errors instead of returning them
            future.set_exception(died((), RuntimeError(f"the server gave {answer!r} instead of an answer")))


def _run_where_there_is_nothing(task: bytes) -> bytes:
    # pathos sends the source of this function alone, without the globals of its module.
    from pdparallel.worker.run_task import run_task_in_thread

    return run_task_in_thread(task)


def _explained(error: BaseException) -> BaseException:
    if isinstance(error, BrokenExecutor):
        return died((), error)
    return error
