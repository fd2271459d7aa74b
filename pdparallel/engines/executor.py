"""Executor: any executor or pool that the user made and keeps: pdparallel submits to it and never closes it."""

from __future__ import annotations

import multiprocessing.pool
import threading
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from typing import Any, ClassVar

from pdparallel.engines.base import Engine, InThreads, chained, died
from pdparallel.engines.pool_futures import Watched
from pdparallel.errors import InvalidOptionError, WorkerStartError
from pdparallel.transport.task import Locality
from pdparallel.worker.run_task import run_task_in_thread

__all__ = ["ExecutorEngine"]


class ExecutorEngine(Engine):
    """A :class:`concurrent.futures.Executor`, a :mod:`multiprocessing` or ``multiprocess`` pool, or a pathos pool."""

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
        except (RuntimeError, ValueError) as error:  # executors raise the one, pools the other
            if not any(words in str(error) for words in _WORDS_OF_CLOSED):
                raise
            kind = type(self._given).__name__
            raise WorkerStartError(
                f"The {kind} of engine= is closed ({error}). Give an open one, and make the call inside its with block."
            ) from None

    def close(self, *, kill: bool = False) -> None:
        # It is the user's: nothing is ended, also not with kill; a task that runs runs out.
        pass


#: Words of executors and pools that are shut down.
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
    """How far the workers of an executor are; of one that nobody knows nothing is assumed."""
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
    """A pathos ParallelPool, whose servers may be on other machines, and whose results tell nobody that they are
    there."""

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
        try:
            answer = result.get()
        except BaseException as error:
            future.set_exception(error)
            return
        if isinstance(answer, bytes):
            future.set_result(answer)
        else:  # what goes wrong there is printed there
            future.set_exception(died((), RuntimeError(f"the server gave {answer!r} instead of an answer")))


def _run_where_there_is_nothing(task: bytes) -> bytes:
    # Its source travels, without what is around it.
    from pdparallel.worker.run_task import run_task_in_thread

    return run_task_in_thread(task)


def _explained(error: BaseException) -> BaseException:
    if isinstance(error, BrokenExecutor):
        return died((), error)
    return error
