"""The faults: at which stage of a call, what goes wrong there, and what the user is to see.

A fault is a call that is sabotaged.  Its positions are those of ``DF``: 40 rows in chunks of four, so that row 17 is in
the middle of a chunk, 16 and 19 are its first and last, and 0 and 39 the first and last of all.
"""

from __future__ import annotations

import _thread
import asyncio
import contextlib
import functools
import importlib.util
import io
import itertools
import math
import multiprocessing.util
import os
import resource
import shutil
import signal
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable
from concurrent.futures import CancelledError
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pytest

import pdparallel
from pdparallel import (
    CallTimeoutError,
    CompiledResultDiffersError,
    FunctionNotCompilableError,
    FunctionNotSerializableError,
    InvalidOptionError,
    ResultNotSerializableError,
    WorkerDiedError,
)
from pdparallel.testing.saboteurs import (
    Bomb,
    NoTextError,
    NotReadable,
    TwoArgumentsError,
    WithLockError,
    kills,
    loops,
    raises,
)
from tests.service import Service

__all__ = ["ENGINES", "FAULTS", "Fault", "func_for"]

N = 40
DF = pd.DataFrame({"a": range(N), "b": 1.5}, index=[f"x{at}" for at in range(N)])

#: Options of each engine, by the name in the table.
ENGINES: dict[str, dict[str, Any]] = {
    "process, forkserver": {"engine": "process"},
    "process, spawn": {"engine": "process", "start_method": "spawn"},
    "process, fork": {"engine": "process", "start_method": "fork"},
    "pathos": {"engine": "pathos"},
    "thread": {"engine": "thread"},
    "serial": {"engine": "serial"},
    "asyncio": {"engine": "asyncio"},
    "numba": {"engine": "numba"},
}
#: Engines that run any function.
OF_ANY_FUNCTION = tuple(name for name in ENGINES if name != "numba")
PROCESSES = ("process, forkserver", "process, spawn", "process, fork", "pathos")

#: Where coroutine functions are awaited: on the loop of this process, and on one in each worker.
LOOPS = ("asyncio", "process, forkserver")

#: Where the tests have a service and a client for it.
WITH_SERVICE = ("asyncio",) if all(map(importlib.util.find_spec, ("aiohttp", "httpx"))) else ()

#: Where functions are compiled.
COMPILED = ("numba",) if importlib.util.find_spec("numba") else ()

#: Seconds within which an error comes that needs no new worker; one with new workers; and one by pathos, whose pool
#: takes seconds to end.  A machine under load gets more, but far less than the five minutes that a hang would take.
SOON, NEW_WORKERS = 20.0, 60.0


@dataclass(frozen=True)
class Fault:
    """A sabotaged call.

    Attributes
    ----------
    stage, sabotage : str
        When, and what goes wrong.
    call : callable
        Makes the call with the options of an engine.
    sees : type
        The class of the error, or None where the call is to come to its right end.
    says : str
        What the error's text or notes hold.
    engines : tuple of str
        Where it makes sense.
    limit : float
        Seconds.
    """

    stage: str
    sabotage: str
    call: Callable[[dict[str, Any]], Any]
    sees: type[BaseException] | None
    says: str = ""
    engines: tuple[str, ...] = OF_ANY_FUNCTION
    limit: float = SOON


def func_for(options: dict[str, Any], func: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function, or its coroutine twin for an event loop."""
    if options["engine"] != "asyncio":
        return func

    @functools.wraps(func)
    async def twin(*args: Any) -> Any:
        await asyncio.sleep(0)
        return func(*args)

    return twin


# Sabotage of a running function


class OwnBase(BaseException):
    pass


def _an_open_file() -> Any:
    return open(os.devnull, "rb")


def _raise_of_two(done: int, total: int) -> None:
    raise LookupError("no display")


def _interrupt_of_two(done: int, total: int) -> None:
    raise KeyboardInterrupt


def _recurse() -> Any:
    return _recurse()


def _balloon() -> Any:
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    with open("/proc/self/statm") as file:
        used = int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (used + 2**28, hard))
    try:
        return len(bytearray(2**32))
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _close_stdout() -> Any:
    os.close(1)
    return 1.5


def _fork_and_end() -> Any:
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    return 1.5


def _fork_and_go_on() -> Any:
    os.fork()  # both return, and both go on
    return 1.5


def _temp_folder_is_deleted(options: dict[str, Any]) -> Any:
    """A worker removes the folder in which multiprocessing has what it needs, and ends, so that another must come."""
    folder = multiprocessing.util.get_temp_dir()

    def func(row: Any) -> Any:
        if row["a"] == 17 and os.path.isdir(folder):
            shutil.rmtree(folder)
            os._exit(3)
        return row["b"]

    try:
        return DF.par(**options, n_workers=2, chunk_size=4).apply_rows(func)
    finally:
        os.makedirs(folder, mode=0o700, exist_ok=True)  # which others in this process count upon, and nobody else sees


def _initialized_by(sabotage: Callable[[], Any]) -> Callable[[dict[str, Any]], Any]:
    """A call whose workers begin with the sabotage."""

    def call(options: dict[str, Any]) -> Any:
        par = DF.par(**options, n_workers=2, chunk_size=4, initializer=sabotage)
        return par.apply_rows(func_for(options, lambda row: row["b"]))

    return call


def _at(position: int, sabotage: Callable[[], Any], **more: Any) -> Callable[[dict[str, Any]], Any]:
    """A call whose function is sabotaged at a row."""

    def call(options: dict[str, Any]) -> Any:
        def func(row: Any) -> Any:
            return sabotage() if row["a"] == position else row["b"]

        return DF.par(**options, n_workers=2, chunk_size=4, **more).apply_rows(func_for(options, func))

    return call


def _returning(value: Callable[[], Any]) -> Callable[[dict[str, Any]], Any]:
    return _at(17, value)


# Sabotage of other stages


def _function_that_cannot_leave(options: dict[str, Any]) -> Any:
    generator = (number for number in range(3))
    return DF.par(**options, n_workers=2).apply_rows(lambda row: next(generator))


class LoadsBadly(NotReadable):
    """A function that cannot be rebuilt in another process."""

    def __call__(self, row: Any) -> float:
        return 1.5


def _function_that_does_not_load(options: dict[str, Any]) -> Any:
    return DF.par(**options, n_workers=2).apply_rows(LoadsBadly())


def _data_that_kills(options: dict[str, Any]) -> Any:
    return pdparallel.map(lambda item: 1, [1, Bomb(), 2], **options, n_workers=2)


def _data_that_does_not_load(options: dict[str, Any]) -> Any:
    return pdparallel.map(lambda item: 1, [1, NotReadable(), 2], **options, n_workers=2)


def _idle_worker_is_killed(options: dict[str, Any]) -> Any:
    par = DF["a"].par(**options, n_workers=2, chunk_size=4)
    for pid in set(par.map(lambda value: (time.sleep(0.01), os.getpid())[1])):
        os.kill(pid, signal.SIGKILL)
    return par.map(lambda value: 1.5)


def _killed_while_the_pool_starts(options: dict[str, Any]) -> Any:
    done = threading.Event()

    def kill_the_first_that_comes() -> None:
        import psutil

        me = psutil.Process()
        while not done.is_set():
            for process in me.children(recursive=True):
                if "pdparallel-worker" in process.name() or "spawn_main" in " ".join(process.cmdline()):
                    process.kill()
                    return
            time.sleep(0.001)

    killer = threading.Thread(target=kill_the_first_that_comes)
    killer.start()
    try:
        return DF["b"].par(**options, n_workers=2, chunk_size=4).map(lambda value: value)
    finally:
        done.set()
        killer.join()


def _iterator_is_closed_half_way(options: dict[str, Any]) -> Any:
    par = DF.par(**options, n_workers=2, chunk_size=1)
    with par.iter_chunks(lambda chunk: time.sleep(300 * (chunk["a"].iloc[0] > 3))) as results:
        return [next(results) for _ in range(2)]


def _iterator_is_dropped_half_way(options: dict[str, Any]) -> Any:
    return next(pdparallel.imap(func_for(options, lambda x: x), itertools.count(), **options, n_workers=2))


def _iterated(position: int, sabotage: Callable[[], Any]) -> Callable[[dict[str, Any]], Any]:
    """An iterator that is gone through, with a sabotaged item."""

    def call(options: dict[str, Any]) -> Any:
        func = func_for(options, lambda x: sabotage() if x == position else x)
        items = pdparallel.imap(func, itertools.count(), **options, n_workers=2, chunk_size=4)
        return sum(items)

    return call


def _iterable_that_raises(options: dict[str, Any]) -> Any:
    def items() -> Any:
        yield from range(17)
        raise LookupError("no further item")

    return list(pdparallel.imap(func_for(options, lambda x: x), items(), **options, n_workers=2, chunk_size=4))


def _background_is_cancelled(options: dict[str, Any]) -> Any:
    begun = tempfile.mkdtemp(prefix="pdparallel-begun-")

    def func(row: Any) -> Any:
        with contextlib.suppress(OSError):
            os.rmdir(begun)
        if options["engine"] == "asyncio":
            return asyncio.sleep(300)
        time.sleep(0.05 if options["engine"] in ("thread", "serial") else 300)
        return None

    future = DF.par(**options, n_workers=2, chunk_size=1).background.apply_rows(func)
    while os.path.exists(begun) and not future.done():
        time.sleep(0.01)
    future.cancel()
    return future.result()


def _in_the_background(position: int, sabotage: Callable[[], Any]) -> Callable[[dict[str, Any]], Any]:
    def call(options: dict[str, Any]) -> Any:
        def func(row: Any) -> Any:
            return sabotage() if row["a"] == position else row["b"]

        return DF.par(**options, n_workers=2, chunk_size=4).background.apply_rows(func_for(options, func)).result()

    return call


def _shown_by(progress: Callable[[int, int], object]) -> Callable[[dict[str, Any]], Any]:
    """A call whose progress is shown by the sabotage."""

    def call(options: dict[str, Any]) -> Any:
        par = DF.par(**options, n_workers=2, chunk_size=4, progress=progress)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "the progress display failed", UserWarning)
            assert par.apply_rows(func_for(options, lambda row: row["b"])).tolist() == [1.5] * N

    return call


def _standard_error_is_closed(options: dict[str, Any]) -> Any:
    before, sys.stderr = sys.stderr, io.StringIO()
    sys.stderr.close()
    try:
        par = DF.par(**options, n_workers=2, chunk_size=4, progress=True)
        return par.apply_rows(func_for(options, lambda row: row["b"]))
    finally:
        sys.stderr = before


# Sabotage of coroutines


def _awaited_at(position: int, sabotage: Callable[[], Any], **more: Any) -> Callable[[dict[str, Any]], Any]:
    """A call of a coroutine function that awaits the sabotage at a row."""

    def call(options: dict[str, Any]) -> Any:
        async def func(row: Any) -> Any:
            await asyncio.sleep(0)
            return await sabotage() if row["a"] == position else row["b"]

        return DF.par(**options, n_workers=2, chunk_size=4, **more).apply_rows(func)

    return call


async def _wait() -> None:
    await asyncio.sleep(300)


async def _cancel() -> None:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    await asyncio.sleep(0)


async def _ignore_cancellation() -> None:
    until = time.monotonic() + 8
    while time.monotonic() < until:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(8)


async def _block() -> None:
    time.sleep(8)


async def _close_the_loop() -> None:
    asyncio.get_running_loop().close()


async def _stop_the_loop() -> float:
    asyncio.get_running_loop().stop()
    await asyncio.sleep(0.001)
    return 1.5


async def _leave_a_task() -> float:
    asyncio.get_running_loop().create_task(asyncio.sleep(300))
    return 1.5


async def _exit_in_a_task() -> None:
    async def exits() -> None:
        raise SystemExit(3)

    await asyncio.get_running_loop().create_task(exits())


async def _interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)
    await asyncio.sleep(300)


def _callers_loop_ends(options: dict[str, Any]) -> Any:
    """The loop that runs the coroutines ends before the call."""

    async def main() -> Any:
        return DF.par(**options).background.apply_rows(lambda row: _wait())

    return asyncio.run(main()).result()


def _service_dies_half_way(options: dict[str, Any]) -> Any:
    """The call fails, and the same call goes on when the service lives again."""
    import httpx

    folder = tempfile.mkdtemp(prefix="pdparallel-kept-")
    try:
        with Service(latency=0.005, dies_after=20) as service:
            url = f"{service.url}/rows/"

            async def fetch(row: Any) -> Any:
                async with httpx.AsyncClient(verify=False) as client:
                    answer = await client.get(f"{url}{row['a']}")
                    return answer.json()["value"]

            par = DF.par(**options, checkpoint=os.path.join(folder, "kept"), max_concurrency=4)
            try:
                par.apply_rows(fetch)
            except httpx.TransportError:
                service.restart()
            else:
                raise AssertionError("the service did not die")
            assert par.apply_rows(fetch).tolist() == [a**2 for a in range(N)]
            # Those that succeeded run again only if the answer was lost with the service.
            assert service.successes().total() <= N + 4
    finally:
        shutil.rmtree(folder)


# Sabotage of compiled functions


def _compiled(func: Callable[[Any], Any], **more: Any) -> Callable[[dict[str, Any]], Any]:
    """A call of a function of numbers, with chunks that are smaller than the frame."""
    return lambda options: DF.par(**options, n_workers=2, chunk_size=4, **more).apply_rows(func)


def _compiled_of_texts(options: dict[str, Any]) -> Any:
    return DF.assign(b="x").par(**options).apply_rows(lambda row: row["b"])


def _numba_is_missing(options: dict[str, Any]) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(importlib.util, "find_spec", lambda name: None)
        return DF.par(**options)


def _killed_anyway(position: int, how: Callable[[], Any], says: str) -> dict[str, Any]:
    return {
        "call": _at(position, how),
        "sees": WorkerDiedError,
        "says": f"Row 'x{position}' (position {position}) {says} in all 3 attempts.",
        "engines": PROCESSES,
        "limit": NEW_WORKERS,
    }


FAULTS: tuple[Fault, ...] = (
    Fault("function written", "it holds a generator", _function_that_cannot_leave, FunctionNotSerializableError,
          "generator", engines=PROCESSES),
    Fault("function read", "it cannot be rebuilt", _function_that_does_not_load, LookupError,
          "could not be loaded in the worker process", engines=PROCESSES),
    Fault("data read", "it cannot be rebuilt", _data_that_does_not_load, LookupError,
          "could not be loaded in the worker process", engines=PROCESSES),
    Fault("data read", "os._exit(3)", _data_that_kills, WorkerDiedError, "exit code 3", PROCESSES, NEW_WORKERS),
    Fault("initializer", "ValueError", _initialized_by(raises(lambda: ValueError("no model"))), ValueError,
          "the initializer raised"),
    Fault("initializer", "SystemExit", _initialized_by(raises(lambda: SystemExit(3))), SystemExit,
          "the initializer raised"),
    Fault("initializer", "os._exit(3)", _initialized_by(lambda: os._exit(3)), WorkerDiedError, "exit code 3",
          PROCESSES, NEW_WORKERS),
    Fault("initializer", "SIGKILL", _initialized_by(kills(signal.SIGKILL)), WorkerDiedError, "SIGKILL",
          PROCESSES, NEW_WORKERS),
    *(
        Fault(f"running, {where} row", "ValueError", _at(at, raises(lambda: ValueError("wrong"))), ValueError,
              f"in row 'x{at}' (position {at})")
        for where, at in {"first": 0, "a chunk's first": 16, "a chunk's last": 19, "last": 39}.items()
    ),
    Fault("running", "BaseException", _at(17, raises(OwnBase)), OwnBase, "row 'x17'"),
    Fault("running", "SystemExit", _at(17, raises(lambda: SystemExit(3))), SystemExit, "row 'x17'"),
    Fault("running", "KeyboardInterrupt", _at(17, raises(KeyboardInterrupt)), KeyboardInterrupt, "row 'x17'"),
    Fault("running", "exception of two arguments", _at(17, raises(TwoArgumentsError(1, 2))), TwoArgumentsError,
          "1 and 2"),
    Fault("running", "exception that cannot travel", _at(17, raises(WithLockError)), Exception, "it holds a lock"),
    Fault("running", "exception group", _at(17, raises(lambda: ExceptionGroup("both", [ValueError(1), TypeError(2)]))),
          ExceptionGroup, "both"),
    Fault("running", "exception whose __str__ raises", _at(17, raises(NoTextError)), NoTextError, "row 'x17'"),
    Fault("running", "recursion without end", _at(17, _recurse), RecursionError, "row 'x17'"),
    Fault("running", "os._exit(0)", **_killed_anyway(17, lambda: os._exit(0), "ended its worker (exit code 0)")),
    Fault("running", "os._exit(3)", **_killed_anyway(17, lambda: os._exit(3), "crashed its worker (exit code 3)")),
    *(
        Fault(f"running, {where} row", "SIGKILL",
              **_killed_anyway(at, kills(signal.SIGKILL), "ended its worker (SIGKILL)"))
        for where, at in {"first": 0, "a chunk's last": 19, "last": 39}.items()
    ),
    Fault("running", "SIGSEGV", **_killed_anyway(17, kills(signal.SIGSEGV), "crashed its worker (SIGSEGV)")),
    Fault("running", "endless loop, timeout=1", _at(17, loops(), timeout=1), CallTimeoutError, "Row 'x17'", PROCESSES,
          NEW_WORKERS),
    Fault("running", "SIGSTOP, timeout=1", _at(17, kills(signal.SIGSTOP), timeout=1), CallTimeoutError, "Row 'x17'",
          PROCESSES, NEW_WORKERS),
    Fault("awaited", "it cancels itself", _awaited_at(17, _cancel), asyncio.CancelledError, "row 'x17'", LOOPS),
    Fault("awaited", "it waits without end, timeout=1", _awaited_at(17, _wait, timeout=1), CallTimeoutError,
          "in row 'x17'", LOOPS),
    Fault("awaited", "it ignores that it is cancelled, timeout=1", _awaited_at(17, _ignore_cancellation, timeout=1),
          CallTimeoutError, "in row 'x17'", LOOPS),
    Fault("awaited", "it blocks its event loop, timeout=1", _awaited_at(17, _block, timeout=1), CallTimeoutError,
          "in row 'x17'", LOOPS),
    Fault("awaited", "it closes its event loop", _awaited_at(17, _close_the_loop), RuntimeError, "row 'x17'", LOOPS),
    Fault("awaited", "it stops its event loop", _awaited_at(17, _stop_the_loop), None, engines=LOOPS),
    Fault("awaited", "it leaves a task", _awaited_at(17, _leave_a_task), None, engines=LOOPS),
    Fault("awaited", "SystemExit in a task of its own", _awaited_at(17, _exit_in_a_task), SystemExit, "row 'x17'",
          LOOPS),
    Fault("awaited", "SIGINT", _awaited_at(17, _interrupt), KeyboardInterrupt, engines=LOOPS[:1]),
    Fault("awaited", "the loop of the caller ends", _callers_loop_ends, RuntimeError, "The event loop was closed",
          LOOPS[:1]),
    Fault("awaited", "the service dies, and the same call goes on", _service_dies_half_way, None,
          engines=WITH_SERVICE, limit=NEW_WORKERS),
    Fault("compiled", "numba is not installed", _numba_is_missing, InvalidOptionError,
          "pip install 'pdparallel[numba]'", COMPILED),
    Fault("compiled", "it uses a function with other last digits", _compiled(lambda row: np.exp(row["a"])),
          FunctionNotCompilableError, "Use math.exp.", COMPILED),
    Fault("compiled", "it makes a text", _compiled(lambda row: str(row["a"])), FunctionNotCompilableError, "uses str",
          COMPILED),
    Fault("compiled", "a column that it reads has texts",
          _compiled_of_texts, FunctionNotCompilableError, "no column of numbers", COMPILED),
    Fault("compared", "compiled code gives another result",
          _compiled(lambda row: math.lgamma(row["a"] - 17), check=1e-12), CompiledResultDiffersError,
          "in row 'x0' (position 0)", COMPILED),
    Fault("compiled code runs", "ValueError", _compiled(lambda row: math.sqrt(16 - row["a"])), ValueError,
          "in row 'x17' (position 17)", COMPILED),
    Fault("compiled code runs", "an integer overflow, which Python computes",
          _compiled(lambda row: int(row["a"]) * 2**60), None, engines=COMPILED),
    Fault("running", "memory beyond RLIMIT_AS", _at(17, _balloon), MemoryError, "row 'x17'", PROCESSES),
    Fault("running", "standard output is closed", _at(17, _close_stdout), None, engines=PROCESSES),
    Fault("running", "it forks, the child ends", _at(17, _fork_and_end), None, engines=PROCESSES),
    Fault("running", "it forks, the child goes on", _at(17, _fork_and_go_on), None, engines=PROCESSES[:3]),
    Fault("running", "it deletes the temp folder, and ends", _temp_folder_is_deleted, None, engines=PROCESSES,
          limit=NEW_WORKERS),
    Fault("result written", "a lock, which arrives as a free one", _returning(_thread.allocate_lock), None),
    Fault("result written", "a generator", _returning(lambda: (x for x in ())), ResultNotSerializableError,
          "position 17", PROCESSES),
    Fault("result written", "an open file", _returning(_an_open_file), ResultNotSerializableError,
          "position 17", PROCESSES),
    Fault("result read", "it cannot be rebuilt", _returning(NotReadable), ResultNotSerializableError,
          "could not be rebuilt in this process", PROCESSES),
    Fault("the pool starts", "SIGKILL of the first worker", _killed_while_the_pool_starts, None,
          engines=("process, forkserver", "process, spawn"), limit=NEW_WORKERS),
    Fault("iterating", "it is closed half-way", _iterator_is_closed_half_way, None, engines=PROCESSES,
          limit=NEW_WORKERS),
    Fault("iterating", "it is dropped half-way", _iterator_is_dropped_half_way, None),
    Fault("iterating", "ValueError", _iterated(17, raises(lambda: ValueError("wrong"))), ValueError, "(position 17)"),
    Fault("iterating", "SIGKILL", _iterated(17, kills(signal.SIGKILL)), WorkerDiedError,
          "Item 17 ended its worker (SIGKILL) in all 3 attempts.", PROCESSES, NEW_WORKERS),
    Fault("iterating", "the iterable raises", _iterable_that_raises, LookupError, "no further item"),
    Fault("in the background", "it is cancelled", _background_is_cancelled, CancelledError, limit=NEW_WORKERS),
    Fault("in the background", "ValueError", _in_the_background(17, raises(lambda: ValueError("wrong"))), ValueError,
          "in row 'x17' (position 17)"),
    Fault("in the background", "SIGKILL", _in_the_background(17, kills(signal.SIGKILL)), WorkerDiedError,
          "Row 'x17' (position 17) ended its worker (SIGKILL) in all 3 attempts.", PROCESSES, NEW_WORKERS),
    Fault("progress shown", "the callable raises", _shown_by(_raise_of_two), None),
    Fault("progress shown", "KeyboardInterrupt", _shown_by(_interrupt_of_two), KeyboardInterrupt),
    Fault("progress shown", "the callable takes a second", _shown_by(lambda done, total: time.sleep(1)), None),
    Fault("progress shown", "standard error is closed", _standard_error_is_closed, None),
    Fault("between two calls", "SIGKILL of the idle workers", _idle_worker_is_killed, None, engines=PROCESSES,
          limit=NEW_WORKERS),
)  # fmt: skip
