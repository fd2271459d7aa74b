"""Engine that runs tasks on the workers of a Dask cluster.

::

    function   scattered once per call       each worker that needs it fetches it and keeps it until the call ends
    chunk      scattered to one worker       Dask runs the task where the data are
    answer     gathered                      as soon as it exists; then all three are released

Dask cannot recompute scattered data, so data that are lost with a worker are sent again from here.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import uuid
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any, ClassVar

import dask
import distributed
from distributed.comm import connect

from pdparallel.core.cancellation import StoppedError
from pdparallel.core.lifetime import at_exit
from pdparallel.engines.base import Engine
from pdparallel.engines.cluster_worker import KIND, answer_of, by_value, on_worker, wanted
from pdparallel.engines.pool_cache import CachedPool, PoolCache
from pdparallel.errors import InvalidOptionError, WorkerDiedError, WorkerStartError
from pdparallel.transport.task import Locality, Parts
from pdparallel.worker.run_task import run_parts

__all__ = ["DaskEngine", "run"]

#: Largest function or chunk, in bytes, that is sent with its task through the scheduler instead of to a worker
#: (``benchmarks/cluster.py``).
INLINE_BYTES = 1 << 16

#: Seconds to wait for a direct connection to a worker. Without one, all data go through the scheduler.
REACH_SECONDS = 2.0

#: Tasks submitted per worker of an adaptive cluster: Dask adds a worker for each five seconds of work.
ADAPTIVE_IN_FLIGHT = 16

#: Workers that an adaptive cluster may add at once, beyond doubling.
SOON = 8

#: Seconds between two checks of the number of worker threads.
LOOK_SECONDS = 1.0

#: Seconds without a worker after which a warning is logged.
NOBODY_SECONDS = 15.0

#: Seconds to wait for a connection, for the first answer, and for the end.
CONNECT_SECONDS, START_SECONDS, END_SECONDS = 10.0, 60.0, 10.0

#: By client, whether this process can connect to the workers directly.
_reached: weakref.WeakKeyDictionary[distributed.Client, bool] = weakref.WeakKeyDictionary()


class _Connected(CachedPool):
    """Client that pdparallel made."""

    def __init__(self, target: Any) -> None:
        self.client = _connect(target)

    @property
    def usable(self) -> bool:
        return bool(self.client.status == "running")

    def end(self, *, kill: bool) -> None:
        with contextlib.suppress(Exception):  # it is closed already
            self.client.close(timeout=END_SECONDS)


class _Here(_Connected):
    """Cluster on this machine, with its client."""

    def __init__(self, n_workers: int, threads: int) -> None:
        self._folder = tempfile.mkdtemp(prefix="pdparallel-dask-")
        arguments = [str(n_workers), str(threads), self._folder]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "pdparallel.engines.dask_local", *arguments],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            start_new_session=True,
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
                "DASK_TEMPORARY_DIRECTORY": self._folder,
            },
        )  # fmt: skip
        try:
            address = self._process.stdout.readline().strip() if self._process.stdout is not None else ""
            if not address:
                said = self._process.communicate()[1]
                raise WorkerStartError(f"Dask could not start a cluster on this machine. It said:\n{said}")
            super().__init__(address)
            threading.Thread(target=self._listen, name="pdparallel-dask", daemon=True).start()
        except BaseException:
            self._stop()
            raise

    def _listen(self) -> None:
        """Log the standard error of the cluster, which logs only errors."""
        with contextlib.suppress(ValueError, OSError):  # it was closed meanwhile
            for line in self._process.stderr or ():
                logging.getLogger("distributed").error("%s", line.rstrip("\n"))

    def end(self, *, kill: bool) -> None:
        super().end(kill=kill)
        self._stop()

    def _stop(self) -> None:
        with contextlib.suppress(OSError):
            if self._process.stdin is not None:
                self._process.stdin.close()
        try:
            self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)


def _connect(target: Any) -> distributed.Client:
    try:
        return distributed.Client(target, set_as_default=False, timeout=CONNECT_SECONDS)
    except OSError as error:  # a timeout is one
        raise WorkerStartError(
            f"No Dask scheduler answers at {target}: {error}. Start one (dask scheduler), or check the address."
        ) from None  # a chain of three errors that say no more


#: Clusters on this machine by number of workers and threads, and clients of others by address.
_clusters: PoolCache[_Here] = PoolCache()
_clients: PoolCache[_Connected] = PoolCache()


def _end_all() -> None:
    _clients.clear()
    _clusters.clear()


at_exit(_end_all, of_pools=True)

_logger = logging.getLogger("pdparallel")


class DaskEngine(Engine):
    """Engine on a Dask cluster: the given one, that of the current client, or one on this machine."""

    name: ClassVar[str] = "dask"
    locality = Locality.STORE
    task_seconds = 0.01  # benchmarks/cluster.py

    def __init__(self, given: Any, n_workers: int, threads: int) -> None:
        self._given = given
        self._local = n_workers, threads
        self._lock = threading.Lock()
        self._let_go: Callable[[], Any] | None = None
        self._connection: _Connection | None = None
        self._closed = False
        if isinstance(given, distributed.Client) and given.asynchronous:
            raise InvalidOptionError(
                "engine", given, "a client that blocks: Client(address) without asynchronous=True",
                "In asynchronous code: await df.par(engine=address).background.apply_rows(func).",
            )  # fmt: skip

    @property
    def n_workers(self) -> int:  # type: ignore[override]
        """Number of threads of all workers, which changes with the cluster; at least 1."""
        if self._connection is None and self._makes_a_cluster():
            return self._local[0]
        connection = self._connected()
        return max(1, connection.threads, connection.most)

    @property
    def in_flight(self) -> int:
        """Largest number of tasks in flight; more for an adaptive cluster, which grows with its queue."""
        return self.n_workers * ADAPTIVE_IN_FLIGHT if self._connected().most else super().in_flight

    def _makes_a_cluster(self) -> bool:
        return self._given is None and _current() is None and not _clusters.is_ready(self._local)

    def _connected(self) -> _Connection:
        with self._lock:
            if self._closed:
                raise RuntimeError("the engine is closed")
            if self._connection is None:
                self._connection = _Connection(self._client())
            return self._connection

    def _client(self) -> distributed.Client:
        given = self._given
        if isinstance(given, distributed.Client):
            return given
        if isinstance(given, str):
            kept = _clients.acquire(given, lambda: _Connected(given))
            self._let_go = lambda: _clients.release(kept)
            return kept.client
        if given is not None:
            mine = _Connected(given)
            self._let_go = lambda: mine.end(kill=False)  # the owner may close the cluster after this call
            return mine.client
        current = _current()
        if current is not None:
            return current
        here = _clusters.acquire(self._local, lambda: _Here(*self._local))
        self._let_go = lambda: _clusters.release(here)
        return here.client

    def submit(self, task: Parts) -> Future[bytes]:
        return self._connected().submit(task)

    def close(self, *, kill: bool = False) -> None:
        with self._lock:
            self._closed = True
            connection, self._connection = self._connection, None
            let_go, self._let_go = self._let_go, None
        if connection is not None:
            connection.close()
        if let_go is not None:
            let_go()  # also with kill: the tasks are cancelled, and the workers stay usable


def _current() -> distributed.Client | None:
    with contextlib.suppress(ValueError):  # there is none
        client = distributed.default_client()
        if client.status == "running" and not client.asynchronous:
            return client
    return None


class _Connection:
    """Tasks of one call on a client; most of the code runs in the client's event loop."""

    def __init__(self, client: distributed.Client) -> None:
        if client.status != "running":
            raise WorkerStartError(f"The Dask client is {client.status}. Make a new client and give it as engine=.")
        self._client = client
        self._loop = client.loop.asyncio_loop
        self._run = by_value(on_worker, KIND)
        self._versions = wanted()
        self._function: tuple[bytes, asyncio.Future[Any]] | None = None
        self._blamed = asyncio.Lock()
        self._direct = False
        self._open: set[Future[Any]] = set()
        self._last = asyncio.Event()  # set when the latest task is submitted
        self._last.set()
        self.threads = self.most = 0
        self._wait(self._look)
        self._following = asyncio.run_coroutine_threadsafe(self._follow(), self._loop)

    def _wait(self, step: Callable[[], Any]) -> None:
        waited = asyncio.run_coroutine_threadsafe(step(), self._loop)
        try:
            waited.result(START_SECONDS)
        except (OSError, TimeoutError) as error:
            waited.cancel()
            raise WorkerStartError(
                f"The Dask scheduler at {_address(self._client)} does not answer. Check that it still runs."
            ) from error

    # Workers

    async def _look(self) -> None:
        """Update the number of threads; find out once whether this process can reach the workers."""
        workers = await self._client.nthreads()
        if workers and not self.threads:
            if self._client not in _reached:
                _reached[self._client] = await self._reaches(next(iter(workers)))
            self._direct = _reached[self._client]
        self.threads = sum(workers.values())
        self.most = _most(self._client.cluster, self.threads)

    async def _reaches(self, address: str) -> bool:
        if self._client.direct_to_workers is not None:
            return bool(self._client.direct_to_workers)
        try:
            comm = await connect(address, timeout=REACH_SECONDS, **self._client.connection_args)
        except (TimeoutError, OSError):
            return False
        await comm.close()
        return True

    async def _follow(self) -> None:
        """Repeat ``_look``, because clusters grow and shrink."""
        alone_since, told = time.monotonic(), False
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            with contextlib.suppress(OSError, asyncio.TimeoutError):  # the tasks raise a better error
                await self._look()
            if self.threads:
                alone_since = time.monotonic()
            elif not told and time.monotonic() - alone_since > NOBODY_SECONDS:
                told = True
                _logger.warning(
                    "the Dask cluster at %s has no worker: the call waits until there is one", _address(self._client)
                )

    # Tasks

    def submit(self, task: Parts) -> Future[bytes]:
        """Run a task on the cluster."""
        future = asyncio.run_coroutine_threadsafe(self._carry(task), self._loop)
        self._open.add(future)
        future.add_done_callback(self._open.discard)
        return future

    async def _carry(self, task: Parts) -> bytes:
        # Tasks are submitted in order, or the failure of a row would wait for a long task behind it. Otherwise the task
        # whose data are placed first would be first. Dask starts tasks of the same 0.1 s in any order.
        before, mine = self._last, asyncio.Event()
        self._last = mine
        try:
            return await self._carry_once(task, before, mine)
        except distributed.KilledWorker:
            # Dask blames all tasks that a worker had when it died. They run again one after the other, so that
            # the innocent ones succeed.
            async with self._blamed:
                try:
                    return await self._carry_once(task, before, mine)
                except distributed.KilledWorker as error:
                    raise _died(error.allowed_failures + 1) from error

    async def _carry_once(self, task: Parts, before: asyncio.Event, mine: asyncio.Event) -> bytes:
        lost = 0
        while True:
            running = None
            try:
                try:
                    function, piece = await self._placed_function(task.work), await self._placed(task.piece)
                    await before.wait()
                    running = self._client.submit(
                        self._run, self._versions, __name__, task.head, function, piece,
                        key=f"{KIND}-{uuid.uuid4().hex}", pure=False, fifo_timeout="0 s",
                    )  # fmt: skip
                finally:
                    mine.set()
                with self._client.as_current():  # gather waits, too, but logs each failed task
                    await distributed.wait([running])
                if running.status == "error":
                    raise await running.exception()
                [returned] = await self._client.gather([running], direct=self._direct, asynchronous=True)
                return answer_of(returned, f"the Dask cluster at {_address(self._client)}")
            except asyncio.CancelledError:  # cancelled by this process
                if running is not None:
                    with contextlib.suppress(OSError):
                        await self._client.cancel([running], asynchronous=True)
                raise
            except (distributed.CancelledError, OSError) as error:
                # The data were lost with their worker, or the worker left during the transfer.
                if self._client.status != "running":
                    raise WorkerDiedError(
                        f"The connection to the Dask scheduler at {_address(self._client)} is lost: {error}. "
                        "Check that the scheduler runs, and make the call again."
                    ) from error
                lost += 1
                self._forget_function()
                if lost > dask.config.get("distributed.scheduler.allowed-failures", 3):
                    raise _died(lost) from error

    async def _placed(self, data: bytes | bytearray) -> Any:
        """Return a reference to scattered data, or the data if they are small or no worker exists yet."""
        if len(data) > INLINE_BYTES and self.threads:
            with contextlib.suppress(TimeoutError):  # all workers have left
                [placed] = await self._client.scatter([data], direct=self._direct, hash=False, asynchronous=True)
                return placed
        return bytes(data)

    async def _placed_function(self, work: bytes) -> Any:
        if self._function is None or self._function[0] is not work:
            self._function = work, asyncio.ensure_future(self._placed(work))
        return await asyncio.shield(self._function[1])

    def _forget_function(self) -> None:
        """Forget a function that was lost with its worker, so that it is sent again."""
        if self._function is not None and self._function[1].done():
            placed = self._function[1].exception() or self._function[1].result()
            if isinstance(placed, BaseException) or getattr(placed, "status", "finished") != "finished":
                self._function = None

    def close(self) -> None:
        """Cancel all open tasks; running ones poll for that."""
        self._following.cancel()
        for future in list(self._open):
            future.cancel()
        self._function = None


def _most(cluster: Any, threads: int) -> int:
    """Return the number of workers that an adaptive cluster may soon have; 0 for other clusters."""
    adaptive = getattr(cluster, "_adaptive", None)  # set by cluster.adapt(); Dask has no public name for it
    most = getattr(adaptive, "maximum", None)
    if most is None or getattr(adaptive, "state", "running") != "running":
        return 0
    return int(min(most, 2 * threads + SOON))


def _address(client: distributed.Client) -> str:
    scheduler = client.scheduler
    return "an unknown address" if scheduler is None else str(scheduler.address)


def _died(times: int) -> WorkerDiedError:
    return WorkerDiedError(
        f"{times} Dask workers ended, one after the other, while they had the same chunk. Their logs say why. "
        "A smaller chunk_size= loses fewer rows."
    )


# The worker's side

#: Seconds between two checks whether a running task was cancelled.
WATCH_SECONDS = 0.2

#: Running tasks by thread: the worker's table of tasks, and the key of the task in it.
_running: dict[int, tuple[Any, str]] = {}
_running_lock = threading.Lock()


def _watch() -> None:
    """Raise an exception in threads whose task was cancelled, until no task runs."""
    raise_in = ctypes.pythonapi.PyThreadState_SetAsyncExc
    while True:
        time.sleep(WATCH_SECONDS)
        with _running_lock:
            if not _running:
                _watching.clear()  # the next task starts another watcher
                return
            for thread, (tasks, key) in _running.items():
                if _is_cancelled(tasks, key):
                    raise_in(ctypes.c_ulong(thread), ctypes.py_object(StoppedError))


#: Set while a thread runs ``_watch``.
_watching = threading.Event()


def _is_cancelled(tasks: Any, key: str) -> bool:
    task = tasks.get(key)
    return task is None or task.state == "cancelled"


@contextlib.contextmanager
def _stoppable() -> Iterator[None]:
    """End the current task if it is cancelled inside the ``with`` block."""
    worker, thread = distributed.get_worker(), threading.get_ident()
    tasks, key = worker.state.tasks, worker.get_current_task()
    with _running_lock:
        _running[thread] = tasks, key
        if not _watching.is_set():
            _watching.set()
            threading.Thread(target=_watch, name="pdparallel-watch", daemon=True).start()
    try:
        yield
    finally:
        while thread in _running:
            with contextlib.suppress(StoppedError), _running_lock:  # it may be raised here, too
                del _running[thread]
                # Revoke an exception that is not raised yet: it would be raised inside Dask.
                ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), None)
    if _is_cancelled(tasks, key):
        raise StoppedError


def run(head: bytes, work: bytes, piece: bytes) -> bytes:
    """Run a task in a worker; called by :func:`pdparallel.engines.cluster_worker.on_worker`."""
    try:
        return run_parts(head, work, memoryview(piece), _stoppable())
    except StoppedError:
        # Cancelled, so no answer is needed. If Dask needs one after all, the task must run again from its start.
        raise distributed.Reschedule from None
