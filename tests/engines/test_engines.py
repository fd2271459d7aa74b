"""The contract of an engine, run over all of them: bytes in, bytes out, an error for a dead worker, and an end."""

from __future__ import annotations

import concurrent.futures
import contextlib
import faulthandler
import gc
import itertools
import multiprocessing
import multiprocessing.pool
import os
import signal
import struct
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing.connection import wait
from typing import Any

import multiprocess
import pandas as pd
import pathos.pools
import psutil
import pytest

import pdparallel
from pdparallel.core.call import Call, Work
from pdparallel.core.chunking import Chunk, cut
from pdparallel.core.options import resolve
from pdparallel.engines import executor
from pdparallel.engines import pathos as pathos_engine
from pdparallel.engines.base import Engine
from pdparallel.engines.executor import ExecutorEngine
from pdparallel.engines.pathos import PathosEngine
from pdparallel.engines.process import ProcessEngine
from pdparallel.engines.process_start import BROKEN_EXITCODE, Context, stop_forkserver
from pdparallel.engines.serial import SerialEngine
from pdparallel.engines.thread import ThreadEngine
from pdparallel.errors import InvalidOptionError, WorkerDiedError, WorkerStartError
from pdparallel.execution.encode import pack
from pdparallel.transport.task import Locality, Parts, references
from tests.conftest import children, wait_until

#: The last is the quickest.
METHODS = [method for method in ("forkserver", "spawn", "fork") if method in multiprocessing.get_all_start_methods()]

Make = Callable[[], Iterator[Engine]]


def _serial(locality: Locality) -> Make:
    def make() -> Iterator[Engine]:
        yield SerialEngine(locality)

    return make


def _thread() -> Iterator[Engine]:
    yield ThreadEngine(2)


def _process(method: str) -> Make:
    def make() -> Iterator[Engine]:
        yield ProcessEngine(2, method, 1)

    return make


def _pathos(method: str) -> Make:
    def make() -> Iterator[Engine]:
        yield PathosEngine(2, method, 1)

    return make


def _given(kind: str) -> Make:
    def make() -> Iterator[Engine]:
        fork = multiprocessing.get_context(METHODS[-1])
        if kind == "threads":
            with ThreadPoolExecutor(2) as threads:
                yield ExecutorEngine(threads, 2)
        elif kind == "processes":
            with ProcessPoolExecutor(2, mp_context=fork) as processes:
                yield ExecutorEngine(processes, 2)
        elif kind == "pool":
            with fork.Pool(2) as pool:
                yield ExecutorEngine(pool, 2)
        elif kind == "threadpool":
            with multiprocessing.pool.ThreadPool(2) as threadpool:
                yield ExecutorEngine(threadpool, 2)
        elif kind == "multiprocess":
            with multiprocess.get_context(METHODS[-1]).Pool(2) as dilled:
                yield ExecutorEngine(dilled, 2)
        elif kind == "pathos":
            wrapped = pathos.pools.ProcessPool(nodes=2, id="contract")
            try:
                yield ExecutorEngine(wrapped, 2)
            finally:
                wrapped.terminate()
                wrapped.join()
                wrapped.clear()
        else:
            assert kind == "remote"
            with ThreadPoolExecutor(2) as behind:
                yield ExecutorEngine(_Remote(behind), 2)

    return make


class _Remote:
    """An executor of a kind that nobody knows: nothing may be assumed of where its workers are."""

    def __init__(self, inner: ThreadPoolExecutor) -> None:
        self.inner = inner
        self.sizes: list[int] = []

    def submit(self, func: Callable[[bytes], bytes], task: bytes) -> Future[bytes]:
        self.sizes.append(len(task))
        return self.inner.submit(func, bytes(task))


ENGINES: dict[str, Make] = {
    "serial": _serial(Locality.PROCESS),
    "serial by arena": _serial(Locality.HOST),
    "serial by chunk": _serial(Locality.ANYWHERE),
    "serial by store": _serial(Locality.STORE),
    "thread": _thread,
    "process forkserver": _process("forkserver"),
    "process spawn": _process("spawn"),
    "process fork": _process("fork"),
    "pathos forkserver": _pathos("forkserver"),
    "pathos spawn": _pathos("spawn"),
    "pathos fork": _pathos("fork"),
    "given ThreadPoolExecutor": _given("threads"),
    "given ProcessPoolExecutor": _given("processes"),
    "given Pool": _given("pool"),
    "given ThreadPool": _given("threadpool"),
    "given multiprocess Pool": _given("multiprocess"),
    "given pathos ProcessPool": _given("pathos"),
    "given unknown executor": _given("remote"),
}
for method in ("forkserver", "fork"):
    if method not in multiprocessing.get_all_start_methods():
        del ENGINES[f"process {method}"], ENGINES[f"pathos {method}"]
SEPARATE = [name for name in ENGINES if "process" in name.lower() or "pathos" in name or name == "given Pool"]


@pytest.fixture
def engine(request: pytest.FixtureRequest, alone: None) -> Iterator[Engine]:
    made = ENGINES[request.param]()
    engine = next(made)
    try:
        yield engine
    finally:
        engine.close()
        for _ in made:
            raise AssertionError("an engine is made once")


every_engine = pytest.mark.parametrize("engine", ENGINES, indirect=True)
separate_processes = pytest.mark.parametrize("engine", SEPARATE, indirect=True)


def _call(func: Callable[..., object], n: int = 10) -> Call:
    s = pd.Series(range(n), index=[f"r{i}" for i in range(n)], dtype="int64")
    return Call("map", Work(func, (), {}, "value"), s, n, "value", s.index.__getitem__)


@every_engine
def test_outcomes_belong_to_their_chunks(engine: Engine) -> None:
    factor = 3
    call = _call(lambda x: x * factor)
    encoder = pack(call, engine.locality, "dill")
    chunks = cut(0, 10, size=3)
    futures = [(chunk, engine.submit(encoder.task(chunk))) for chunk in chunks]
    for chunk, future in reversed(futures):
        outcome = encoder.outcome(future.result(timeout=60))
        assert outcome.chunk == chunk
        assert list(outcome.returns) == [x * 3 for x in range(chunk.start, chunk.stop)]
        assert outcome.failure is None
    encoder.close()


@pytest.mark.part(2)
@every_engine
def test_only_bytes_cross(engine: Engine) -> None:
    encoder = pack(_call(lambda x: x), engine.locality, "dill")
    task = encoder.task(Chunk(0, 2))
    answer = engine.submit(task).result(timeout=60)
    if isinstance(task, Parts):
        assert (type(task.head), type(task.work), type(task.piece)) == (bytes, bytes, bytearray)
    else:
        assert type(task) is bytes
    assert type(answer) is bytes
    encoder.close()


@every_engine
def test_an_exception_is_an_answer(engine: Engine) -> None:
    def fails(x: int) -> int:
        if x == 4:
            raise KeyError("no four", x)
        return x

    encoder = pack(_call(fails), engine.locality, "dill")
    outcome = encoder.outcome(engine.submit(encoder.task(Chunk(2, 8))).result(timeout=60))
    assert list(outcome.returns) == [2, 3]
    assert outcome.failure is not None
    assert outcome.failure.offset == 2
    assert type(outcome.failure.exception) is KeyError
    assert outcome.failure.exception.args == ("no four", 4)
    encoder.close()


@pytest.mark.part(2)
@every_engine
def test_an_unknown_call_is_an_answer(engine: Engine) -> None:
    """A task whose call is over (its arena closed, its references gone) must not end a worker."""
    encoder = pack(_call(lambda x: x), engine.locality, "dill")
    task = encoder.task(Chunk(0, 2))
    encoder.close()
    answer = engine.submit(task).result(timeout=60)
    if engine.locality is Locality.PROCESS:
        assert answer.decode() not in references  # nobody would take it
    elif engine.locality not in (Locality.ANYWHERE, Locality.STORE):  # there the task carries everything
        outcome = pack(_call(lambda x: x), Locality.ANYWHERE, "dill").outcome(answer)
        assert outcome.failure is not None


@separate_processes
@pytest.mark.part(2)
@pytest.mark.parametrize("death", ["SIGKILL", "SIGSEGV", "exit 0", "exit 3"])
def test_a_dead_worker_is_an_error_at_once(engine: Engine, death: str) -> None:
    def dies(x: int) -> int:
        if x != 5:
            return x
        if death.startswith("exit"):
            os._exit(int(death[-1]))
        if death == "SIGSEGV":
            faulthandler.disable()
        os.kill(os.getpid(), signal.Signals[death])
        time.sleep(60)
        return x

    encoder = pack(_call(dies), engine.locality, "dill")
    future = engine.submit(encoder.task(Chunk(4, 6)))
    with pytest.raises(WorkerDiedError) as caught:
        future.result(timeout=60)  # the time limit of two seconds is the fault table's; here: never a wait
    assert "worker" in str(caught.value).lower()
    if isinstance(engine, (ProcessEngine, PathosEngine)):
        assert caught.value.pid is not None
        expected = {"exit 0": 0, "exit 3": 3}.get(death)
        assert caught.value.exitcode == (-signal.Signals[death] if expected is None else expected)
    engine.close(kill=True)
    encoder.close()


@every_engine
def test_close_twice_and_kill_are_all_right(engine: Engine) -> None:
    engine.close()
    engine.close(kill=True)


@pytest.mark.parametrize("name", ["process", "pathos"])
class TestWarmPools:
    """A pool is kept between two calls, healed between them, and never shared with a fork."""

    @pytest.fixture(autouse=True)
    def _alone(self, alone: None) -> None:
        pass

    def pids(self, name: str, **options: object) -> set[int]:
        slow = lambda x: (time.sleep(0.05), os.getpid())[1]
        return set(pdparallel.map(slow, range(8), engine=name, n_workers=2, chunk_size=1, **options))

    def test_the_pool_is_kept(self, name: str) -> None:
        first = self.pids(name)
        assert os.getpid() not in first
        assert self.pids(name) <= first | self.pids(name)
        assert first & self.pids(name)

    def test_pools_of_other_kinds_stay_beside_it(self, name: str) -> None:
        first = self.pids(name)
        others = [method for method in METHODS if method != resolve().method]
        second = self.pids(name, **({"start_method": others[0]} if others else {"threads_per_worker": 4}))
        assert not first & second
        assert first & self.pids(name)
        for threads in (2, 3):
            self.pids(name, threads_per_worker=threads)
        assert wait_until(lambda: not [p for p in children() if p.pid in second])  # it was used longest ago

    def test_an_idle_worker_that_was_killed_is_noticed_before_the_next_call(self, name: str) -> None:
        for pid in self.pids(name):
            with contextlib.suppress(ProcessLookupError):  # the executor ends the others when one died
                os.kill(pid, signal.SIGKILL)
            assert wait_until(lambda pid=pid: not psutil.pid_exists(pid))
        assert pdparallel.map(abs, [-1, -2], engine=name, n_workers=2) == [1, 2]

    def test_an_exception_keeps_the_pool(self, name: str) -> None:
        first = self.pids(name)
        with pytest.raises(ZeroDivisionError):
            pdparallel.map(lambda x: 1 / x, [1, 0, 2], engine=name, n_workers=2)
        assert first & self.pids(name)

    def test_long_tasks_behind_a_failure_are_ended(self, name: str) -> None:
        def func(x: int) -> int:
            if x == 0:
                raise ZeroDivisionError
            time.sleep(300)
            return x

        began = time.monotonic()
        with pytest.raises(ZeroDivisionError):
            pdparallel.map(func, range(4), engine=name, n_workers=2, chunk_size=1)
        assert time.monotonic() - began < 60  # not 300
        assert pdparallel.map(abs, [-1], engine=name, n_workers=2) == [1]

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="has no fork")
    def test_a_forked_child_gets_a_pool_of_its_own(self, name: str) -> None:
        mine = self.pids(name)
        read, write = os.pipe()
        child = os.fork()
        if child == 0:  # pragma: no cover - runs in the child
            try:
                theirs = self.pids(name)
                os.write(write, b"shared" if theirs & mine else b"own")
                pdparallel.shutdown()
                gc.collect()  # _exit leaves no time for finalizers, and a semaphore has a name until then
            finally:
                os._exit(0)
        os.close(write)
        with os.fdopen(read, "rb") as pipe:
            said = pipe.read()
        os.waitpid(child, 0)
        assert said == b"own"
        assert self.pids(name) & mine

    def test_several_threads_at_once(self, name: str) -> None:
        results: dict[int, list[int]] = {}

        def call(number: int) -> None:
            results[number] = pdparallel.map(
                lambda x: x + number, range(20), engine=name, n_workers=2 if number % 2 else 1, chunk_size=3
            )

        threads = [threading.Thread(target=call, args=(number,)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert results == {number: [x + number for x in range(20)] for number in range(6)}


def test_sub_interpreters_are_refused() -> None:
    kind = getattr(concurrent.futures, "InterpreterPoolExecutor", None)
    if kind is None:  # before Python 3.14
        kind = type("InterpreterPoolExecutor", (concurrent.futures.ThreadPoolExecutor,), {})
    with (
        kind(1) as executor,
        pytest.raises(InvalidOptionError, match=r"A subinterpreter cannot load NumPy and pandas"),
    ):
        pd.Series([1, 2]).par(engine=executor).map(abs)


def test_an_unknown_executor_gets_the_data_by_chunk() -> None:
    with ThreadPoolExecutor(1) as threads:
        remote = _Remote(threads)
        df = pd.DataFrame({"a": range(100_000)})
        out = df.par(engine=remote, chunk_size=25_000).apply_chunks(lambda chunk: int(chunk["a"].sum()), combine=sum)
        assert out == int(df["a"].sum())
        # Never the whole frame with each task: 8 bytes a row, and a little beside.
        assert len(remote.sizes) == 4
        assert all(200_000 < size < 250_000 for size in remote.sizes)


def test_what_is_running_is_bounded() -> None:
    """However many chunks there are, few tasks wait at the engine at any time."""
    most = 0
    flying = 0
    lock = threading.Lock()

    class Counting(ThreadPoolExecutor):
        def submit(self, *args, **kwargs):  # type: ignore[no-untyped-def]
            nonlocal most, flying
            with lock:
                flying += 1
                most = max(most, flying)
            future = super().submit(*args, **kwargs)
            future.add_done_callback(landed)
            return future

    def landed(_future: object) -> None:
        nonlocal flying
        with lock:
            flying -= 1

    with Counting(2) as executor:
        assert pdparallel.map(abs, range(300), engine=executor, chunk_size=1) == list(range(300))
    assert 2 <= most <= 4


@pytest.mark.skipif("forkserver" not in multiprocessing.get_all_start_methods(), reason="has no forkserver")
def test_several_threads_read_the_same_exit_code() -> None:
    context = Context("forkserver")
    try:
        for _ in range(20):
            process = context.Process(target=time.sleep, args=(60,))
            process.start()
            together = threading.Barrier(4)

            def look(process=process, together=together) -> int | None:
                together.wait()
                wait([process.sentinel])
                return process.exitcode

            with ThreadPoolExecutor(4) as threads:
                looks = [threads.submit(look) for _ in range(4)]
                process.kill()
                assert [future.result() for future in looks] == [-signal.SIGKILL] * 4
            process.join()
            assert process.exitcode == -signal.SIGKILL
    finally:
        stop_forkserver()


@pytest.mark.skipif("forkserver" not in multiprocessing.get_all_start_methods(), reason="has no forkserver")
def test_a_process_whose_forkserver_was_killed_is_ended_when_it_is_looked_at() -> None:
    context = Context("forkserver")
    process = context.Process(target=time.sleep, args=(60,))
    process.start()
    stop_forkserver()
    assert wait_until(lambda: not process.is_alive())
    assert wait_until(lambda: not psutil.pid_exists(process.pid) or psutil.Process(process.pid).status() == "zombie")
    assert process.exitcode == BROKEN_EXITCODE
    context.close()


#: What a worker leaves of a multiprocess pool when it is killed at an odd moment; it may have the lock already.
KILLED_WHILE_IT = {
    "has nothing": (),
    "takes a task": ("lock of tasks",),
    "reads a task": ("lock of tasks", "half a task"),
    "gives a result": ("lock of results",),
    "writes a result": ("lock of results", "half a result"),
    "does all of it": ("lock of tasks", "half a task", "lock of results", "half a result"),
}
TRACES = {
    "lock of tasks": lambda pool: pool._inqueue._rlock.acquire(block=False),
    "half a task": lambda pool: os.read(pool._inqueue._reader.fileno(), 7),
    "lock of results": lambda pool: pool._outqueue._wlock.acquire(block=False),
    "half a result": lambda pool: os.write(pool._outqueue._writer.fileno(), struct.pack("!i", 1000) + b"half"),
}


@pytest.mark.part(2)
@pytest.mark.parametrize(
    ("method", "moment", "end"),
    [*itertools.product(METHODS[:1], KILLED_WHILE_IT, ["kill", "retire", "close"]),
     *itertools.product(METHODS[1:], KILLED_WHILE_IT, ["kill"])],
)  # fmt: skip
def test_a_pathos_pool_ends_whatever_a_dead_worker_left(method: str, moment: str, end: str) -> None:
    pool = pathos_engine._Pool(2, method, 1)
    inner = pool.watched.pool
    for worker in inner._pool:
        os.kill(worker.pid, signal.SIGSTOP)
    for _ in range(40):  # more than a pipe takes
        pool.watched.submit(b"x" * 5000)
    for trace in KILLED_WHILE_IT[moment]:
        TRACES[trace](inner)
    if end == "retire":
        process = inner._pool[0]
        process.kill()
        process.join()
    pool.end(kill=end == "kill")
    handlers = [inner._worker_handler, inner._task_handler, inner._result_handler]
    ending = [thread for thread in threading.enumerate() if thread.name == "pdparallel-pathos-end"]
    assert wait_until(lambda: not any(thread.is_alive() for thread in handlers + ending), 60)
    assert not any(process.is_alive() for process in pool._context.started)


def test_a_pathos_pool_that_ended_is_collected_whatever_a_dead_worker_left() -> None:
    pool = pathos_engine._Pool(1, METHODS[0], 1)
    inner = pool.watched.pool
    pool.end(kill=False)
    inner._inqueue._rlock.acquire(block=False)
    collected = weakref.ref(inner)
    del inner, pool
    gc.collect()
    assert collected() is None


def test_a_dead_worker_of_a_pathos_pool_gets_no_successor() -> None:
    pool = pathos_engine._Pool(1, METHODS[0], 1)
    inner = pool.watched.pool
    (process,) = inner._pool
    os.kill(process.pid, signal.SIGKILL)
    assert wait_until(lambda: inner._pool != [process])
    assert pool._context.started == [process]
    assert not pool.usable
    pool.end(kill=False)


@pytest.mark.parametrize("kind", [ThreadPoolExecutor, multiprocessing.pool.ThreadPool])
def test_an_executor_that_is_shut_down_is_named(kind: Callable[[int], Any]) -> None:
    given = kind(1)
    getattr(given, "shutdown", getattr(given, "close", None))()
    with pytest.raises(WorkerStartError, match=rf"^The {kind.__name__} of engine= is closed \(.*Give an open one"):
        pd.Series([1, 2]).par(engine=given).map(str)


def test_a_result_of_a_parallel_pool_is_taken_only_when_it_is_ready() -> None:
    """Its ``get`` may wait forever if the result comes at the same moment."""

    class Result:
        looks = 0

        def ready(self) -> bool:
            self.looks += 1
            return self.looks > 3

        def get(self) -> bytes:
            assert self.ready()
            return b"answer"

    class Given:
        @staticmethod
        def apipe(*args: Any) -> Result:
            return Result()

    assert executor._Polled(Given()).submit(b"task").result(60) == b"answer"
