"""An example of a new engine: it starts a new Python for each task, so a task finds nothing of an earlier one.

An engine has two methods. ``submit(task)`` takes the bytes of a task and returns a future of the bytes of its outcome.
``run_task_in_thread`` turns a task into an outcome in the worker. ``close`` stops the workers.
``locality`` says how the data travel to the workers. They share the objects (``Locality.PROCESS``), the machine
(``HOST``) or nothing (``ANYWHERE``).

The file of a real engine would be ``pdparallel/engines/fresh.py``. The contract is ``tests/engines/test_engines.py``:
it runs for each engine in ``ENGINES`` there. It also kills the workers of an engine if "process" is in its name. An
engine object works at once for one call: ``df.par(engine=FreshEngine(2)).apply_rows(f)``. A name for it needs these
steps:

1. Add the name to ``EngineName`` (``typing.py``) and to the docstring of ``Options``.
2. Open it in ``open_engine`` (``engines/registry.py``), which imports its module when a call first needs it.
3. Add its module to ``ENGINES`` (``tests/project/test_layers.py``). No engine imports another one.
4. Add it to ``ENGINES`` in ``tests/oracle/test_table_engines.py`` and in ``tests/faults/table.py``.
   Add it to ``PROCESSES`` there if its workers can die.
5. Describe it in ``docs`` and in ``CHANGELOG.md``.

An engine that keeps a pool for the next call uses ``engines/pool_cache.py``. An engine that replaces its own dead
processes has ``restarts = True`` and ``kill(pid)``; then lost rows run again and ``timeout=`` works. Dask and Ray have
their own store of objects (``Locality.STORE``). Such an engine gets a task in three parts, and one function object for
all tasks.
"""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from typing import ClassVar

from pdparallel.engines.base import Engine, how_it_ended
from pdparallel.errors import WorkerDiedError
from pdparallel.transport.task import Locality
from pdparallel.worker.run_task import run_task_in_thread

__all__ = ["FreshEngine"]

#: The function itself may write to descriptor 1, so the answer uses a copy of it.
WORKER = f"""
import os, sys
from {run_task_in_thread.__module__} import {run_task_in_thread.__name__}
answer = os.dup(1)
os.dup2(2, 1)
with open(answer, "wb") as out:
    out.write({run_task_in_thread.__name__}(sys.stdin.buffer.read()))
"""


class FreshEngine(Engine):
    """Processes of one task each.

    Parameters
    ----------
    n_workers : int
        How many run at once.
    """

    name: ClassVar[str] = "fresh"
    locality = Locality.HOST

    def __init__(self, n_workers: int) -> None:
        self.n_workers = n_workers
        self._threads = ThreadPoolExecutor(n_workers, thread_name_prefix="pdparallel-fresh")
        self._running: set[subprocess.Popen[bytes]] = set()

    def submit(self, task: bytes) -> Future[bytes]:
        return self._threads.submit(self._run, task)

    def _run(self, task: bytes) -> bytes:
        with subprocess.Popen([sys.executable, "-c", WORKER], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            self._running.add(process)
            answer, _ = process.communicate(task)
            self._running.discard(process)
        if not answer or process.returncode:  # os._exit(0) gives no bytes and no error
            how = how_it_ended(process.returncode)
            raise WorkerDiedError(
                f"The worker process {process.pid} {how} while it had work.", process.pid, process.returncode
            )
        return answer

    def close(self, *, kill: bool = False) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
        if kill:
            for process in tuple(self._running):
                process.kill()
        self._threads.shutdown()
