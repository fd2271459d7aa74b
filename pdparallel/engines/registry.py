"""Choice of the engine from the options of a call; each engine's module is imported on first use."""

from __future__ import annotations

import atexit
import contextlib
import sys
from typing import Any, Unpack

from pdparallel.core.lifetime import AT_SHUTDOWN
from pdparallel.core.mistakes import by_name
from pdparallel.core.options import Options, checked, resolve, show_options
from pdparallel.core.tracebacks import trim_tracebacks
from pdparallel.engines.base import Engine
from pdparallel.typing import OptionsDict
from pdparallel.worker.run_task import inside_task, inside_worker

__all__ = ["is_warm", "let_pools_go", "open_engine", "shutdown", "warm_up"]


def open_engine(options: Options) -> Engine:
    """Return the engine of a call; the caller must close it."""
    engine = options.engine
    if isinstance(engine, Engine):
        return engine
    if _is_dask(engine) and not inside_worker():
        from pdparallel.engines.dask import DaskEngine

        return DaskEngine(None if engine == "dask" else engine, options.workers, options.threads)
    if not isinstance(engine, str) and not inside_task():
        from pdparallel.engines.executor import ExecutorEngine

        return ExecutorEngine(engine, options.workers)
    if engine == "serial" or inside_worker():
        # Inside a worker, each core has a process already.
        from pdparallel.engines.serial import SerialEngine

        return SerialEngine()
    if engine == "thread":
        from pdparallel.engines.thread import ThreadEngine

        return ThreadEngine(options.workers)
    if engine == "pathos":
        from pdparallel.engines.pathos import PathosEngine

        return PathosEngine(options.workers, options.method, options.threads)
    if engine == "ray":
        from pdparallel.engines.ray import RayEngine

        return RayEngine(options.workers)
    from pdparallel.engines.process import ProcessEngine

    return ProcessEngine(options.workers, options.method, options.threads)


def _is_dask(engine: Any) -> bool:
    if isinstance(engine, str):
        return engine == "dask" or "://" in engine
    # If Dask is not imported, the object is not one of its objects. Another thread may be importing it.
    client = getattr(sys.modules.get("distributed"), "Client", ())
    return isinstance(engine, (client, getattr(sys.modules.get("distributed.deploy"), "Cluster", ())))


def is_warm(options: Options) -> bool:
    """Return whether the workers run to which ``engine="auto"`` would send the rest of a call."""
    is_kept = getattr(sys.modules.get("pdparallel.engines.process"), "is_warm", None)
    return is_kept is not None and bool(is_kept(options.workers, options.method, options.threads))


def shutdown() -> None:
    """End the cached pools and their workers now; the next call starts new ones.

    Pools end by themselves after some idle minutes, and at the end of the process. A call that runs in another thread
    keeps its workers until it is done.

    Examples
    --------
    >>> import pdparallel
    >>> pdparallel.shutdown()
    """
    let_pools_go()
    _ask_launch("release_forkserver")


@show_options(defaults=False)
@trim_tracebacks
@by_name("pdparallel.warm_up")
def warm_up(**options: Unpack[OptionsDict]) -> None:
    """Start the workers of the next call in the background, and return at once.

    Workers start by themselves when a call needs them, which takes about a second. In a program whose first call must
    be fast, start them early. They end by themselves after some idle minutes.

    Parameters
    ----------
    **options
        The options of the later call, as far as they choose workers: ``engine``, ``n_workers``, ``start_method`` and
        ``threads_per_worker``. With ``engine="auto"`` these are worker processes. Engines without processes of their
        own need no start.

    Raises
    ------
    InvalidOptionError
        If an option or its value is not allowed.

    See Also
    --------
    shutdown : End the workers.

    Examples
    --------
    >>> import pdparallel
    >>> pdparallel.warm_up(n_workers=2)
    """
    chosen = resolve(checked(options))
    if inside_worker() or chosen.engine in ("numba", "asyncio"):
        return
    with contextlib.closing(open_engine(chosen)) as engine:
        if engine.restarts:
            with contextlib.suppress(Exception):  # the call itself raises it
                for _ in range(engine.n_workers):
                    engine.submit(b"")


def let_pools_go() -> None:
    """End the cached pools; the forkserver stays, so that the next pools start quickly."""
    from pdparallel.engines import pool_cache

    for ending in AT_SHUTDOWN:
        ending()
    pool_cache.drop_all()


# Registered before any pool library is imported, so that it runs after those have ended their pools.
@atexit.register
def _stop_forkserver() -> None:
    _ask_launch("stop_forkserver")


def _ask_launch(name: str) -> None:
    """Call a function of ``process_start`` if that is imported; another thread may be importing it."""
    function = getattr(sys.modules.get("pdparallel.engines.process_start"), name, None)
    if function is not None:
        function()
