"""Engine that runs tasks on a Ray cluster, through a driver process that an error in Ray may end.

::

    this process --- tasks ---> driver --- ray.put, once per call: the function
                 <-- answers --        --- ray.put: the chunk, which the worker reads without a copy
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import pickle
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import Future
from pathlib import Path
from typing import Any, ClassVar

from pdparallel.core.lifetime import at_exit
from pdparallel.engines.base import Engine
from pdparallel.engines.cluster_worker import KIND, answer_of, wanted
from pdparallel.engines.pool_cache import CachedPool, PoolCache
from pdparallel.engines.process_start import folder_for_sockets
from pdparallel.errors import WorkerDiedError, WorkerStartError
from pdparallel.transport.task import Locality, Parts

__all__ = ["RayEngine"]

#: Seconds that the driver gets to end Ray before it is killed.
END_SECONDS = 15.0

#: Seconds for which the removal of the folder is repeated: processes of a killed Ray may still write to it.
REMOVE_SECONDS = 5.0

#: Example of the path of a Ray socket below the folder for temporary files, for its length.
LIKE_A_SOCKET = "pdparallel-ray-12345678/session_2026-01-01_00-00-00_123456_1234567/sockets/plasma_store"

#: Seconds between two requests for the number of cores of the cluster.
LOOK_SECONDS = 1.0

#: Characters of the driver's standard error that an error quotes.
QUOTED = 2000


class _Driver(CachedPool):
    """Driver process, which uses Ray, and its open tasks."""

    def __init__(self, theirs: dict[str, Any], n_workers: int) -> None:
        self._folder = tempfile.mkdtemp(prefix="pdparallel-ray-", dir=folder_for_sockets(LIKE_A_SOCKET))
        self._lock = threading.Lock()
        self._open: dict[int, _Carried] = {}
        self._numbers = itertools.count()
        self._asked: queue.SimpleQueue[tuple[Any, ...] | None] = queue.SimpleQueue()
        self._heard = threading.Event()  # Ray has started, or failed to start
        self._cores, self._looked = 0, 0.0
        self._error: Exception | None = None
        self._said = Path(self._folder, "driver.err")
        try:
            with self._said.open("wb") as said:
                self._process = subprocess.Popen(
                    [
                        sys.executable, "-m", "pdparallel.engines.ray_driver",
                        json.dumps(theirs), str(n_workers), self._folder,
                    ],
                    stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said, start_new_session=True,
                    env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
                )  # fmt: skip
        except BaseException:
            shutil.rmtree(self._folder, ignore_errors=True)
            raise
        # A thread writes, so that an interrupt never leaves half of a message in the pipe.
        self._threads = [
            threading.Thread(target=target, name="pdparallel-ray", daemon=True) for target in (self._write, self._read)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def usable(self) -> bool:
        return self._error is None and self._process.poll() is None

    @property
    def up(self) -> bool:
        return self._cores > 0 and self.usable

    @property
    def cores(self) -> int:
        """Latest known number of cores of the cluster; 0 if Ray did not start."""
        now = time.monotonic()
        if self._heard.is_set() and now - self._looked > LOOK_SECONDS:
            self._looked = now
            self.ask("cores")
        self._heard.wait()
        return self._cores

    def ask(self, *message: Any) -> None:
        self._asked.put(message)

    def carry(self, key: int, task: Parts, versions: dict[str, str]) -> _Carried:
        """Send a task to the driver, and return its future."""
        with self._lock:
            if self._error is not None:
                raise _again(self._error)
            number = next(self._numbers)
            carried = self._open[number] = _Carried(self, number)
        self.ask("task", number, key, versions, task.head, task.piece)
        return carried

    def _write(self) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(OSError), self._process.stdin as pipe:  # it may have ended
            while (message := self._asked.get()) is not None:
                pickle.dump(message, pipe, protocol=pickle.HIGHEST_PROTOCOL)
                pipe.flush()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with contextlib.suppress(EOFError, pickle.UnpicklingError, OSError), self._process.stdout as pipe:
            while True:
                kind, *rest = pickle.load(pipe)
                if kind == "cores":
                    [self._cores] = rest
                    self._heard.set()
                elif kind == "no ray":
                    self._error = WorkerStartError(f"Ray did not start: {rest[0]}")
                else:
                    self._finish(kind, *rest)
        self._lost()

    def _finish(self, kind: str, number: int, rest: Any = None) -> None:
        with self._lock:
            carried = self._open.pop(number)
        try:
            if kind == "done":
                carried.set_result(answer_of(rest, "Ray"))
            elif kind == "cancelled":
                carried.end_cancelled()
            else:
                raise WorkerDiedError(rest) if kind == "died" else rest
        except Exception as error:
            carried.set_exception(error)

    def _lost(self) -> None:
        """Fail all open tasks after the end of the driver."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(1.0)
        with self._lock:
            if self._error is None:
                code, said = self._process.returncode, ""
                with contextlib.suppress(OSError):
                    said = self._said.read_text(errors="replace")[-QUOTED:].strip()
                text = f"The helper process for Ray ended with exit code {code}"
                if self._heard.is_set():
                    self._error = WorkerDiedError(f"{text}. The next call starts another one. It said:\n{said}")
                else:
                    self._error = WorkerStartError(f"{text} before Ray started. It said:\n{said}")
            carried, self._open = list(self._open.values()), {}
        self._asked.put(None)
        self._heard.set()
        for one in carried:
            one.set_exception(_again(self._error))  # each gets its own notes

    def end(self, *, kill: bool) -> None:
        self._asked.put(None)
        try:
            self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(OSError):  # killpg ends its children, too
                os.killpg(self._process.pid, signal.SIGKILL) if hasattr(os, "killpg") else self._process.kill()
            self._process.wait()
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join()
        stop = time.monotonic() + REMOVE_SECONDS
        while os.path.exists(self._folder) and time.monotonic() < stop:
            shutil.rmtree(self._folder, ignore_errors=True)
            time.sleep(0.01)


class _Carried(Future[bytes]):
    """Future of a Ray task; its cancellation ends the task in the worker."""

    def __init__(self, driver: _Driver, number: int) -> None:
        super().__init__()
        self._driver = driver
        self._number = number

    def cancel(self) -> bool:
        if not self.done():
            self._driver.ask("cancel", self._number)
        return self.done()

    def end_cancelled(self) -> None:
        super().cancel()
        self.set_running_or_notify_cancel()


def _again(error: Exception) -> Exception:
    return type(error)(*error.args)


def _theirs() -> dict[str, Any]:
    """Return the arguments of ``ray.init`` that join the user's Ray in this process; empty if there is none."""
    ray: Any = sys.modules.get("ray")
    with contextlib.suppress(Exception):  # Ray is being imported or shut down
        client = ray.util.client.ray
        if client.is_connected():
            return {"address": f"ray://{client.get_context().client_worker._conn_str}"}
    with contextlib.suppress(Exception):
        if ray.is_initialized():
            here = ray.get_runtime_context()
            found = {"address": here.gcs_address, "namespace": here.namespace, "runtime_env": dict(here.runtime_env)}
            json.dumps(found)
            return found
    return {}


_warm: PoolCache[_Driver] = PoolCache()

at_exit(_warm.clear, of_pools=True)

#: Keys by which drivers know functions.
_keys = itertools.count()


class RayEngine(Engine):
    """Engine on the Ray that runs, or on one on this machine, which stays for the next call."""

    name: ClassVar[str] = "ray"
    locality = Locality.STORE
    task_seconds = 0.004  # benchmarks/cluster.py

    def __init__(self, n_workers: int) -> None:
        self._local = n_workers
        self._lock = threading.Lock()
        self._driver: _Driver | None = None
        self._function: tuple[bytes, int] | None = None
        self._carried: list[_Carried] = []
        self._theirs = _theirs()
        self._versions = wanted()
        self._closed = False

    @property
    def _key(self) -> tuple[str, str]:
        """Key of the driver, without the number of workers, because a process can have only one Ray."""
        return KIND, self._theirs.get("address", "")

    @property
    def n_workers(self) -> int:  # type: ignore[override]
        """Number of cores of the cluster, which may grow and shrink."""
        if self._closed or not (self._theirs or self._driver or _warm.is_ready(self._key)):
            return self._local
        driver = self._ready()
        return max(1, driver.cores) if self._theirs or driver.up else self._local

    def _ready(self) -> _Driver:
        with self._lock:
            if self._closed:
                raise RuntimeError("the engine is closed")
            if self._driver is None:
                self._driver = _warm.acquire(self._key, lambda: _Driver(self._theirs, self._local))
            return self._driver

    def submit(self, task: Parts) -> Future[bytes]:
        driver = self._ready()
        with self._lock:
            if self._function is None or self._function[0] is not task.work:
                self._forget(driver)
                self._function = task.work, next(_keys)
                driver.ask("work", self._function[1], task.work)
            self._carried = [one for one in self._carried if not one.done()]
            carried = driver.carry(self._function[1], task, self._versions)
            self._carried.append(carried)
            return carried

    def _forget(self, driver: _Driver) -> None:
        if self._function is not None:
            driver.ask("forget", self._function[1])

    def close(self, *, kill: bool = False) -> None:
        with self._lock:
            self._closed = True
            driver, self._driver = self._driver, None
            carried, self._carried = self._carried, []
            if driver is not None:
                self._forget(driver)
            self._function = None
        if kill:
            for one in carried:
                one.cancel()
        if driver is not None:
            _warm.release(driver)  # the tasks are cancelled, and the workers stay usable
