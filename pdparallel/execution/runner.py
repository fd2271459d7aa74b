"""Data path of every call, from the chunks to the collected returns.

::

    |=================== parent ====================|================= worker =================|
     df.par.apply_rows(f)
       api            check arguments      -> Call
       chunking       position ranges      -> chunks
       encode         f: dill, once; the frame: once,
                      into an arena (memfd) -> Task (arena, chunk) --+
       scheduler      limits tasks in flight                         |
       engine         chooses a free worker                          v
                                                     map the arena (private, copy on write),
                                                     take rows start:stop, call f, record
       scheduler      retries lost chunks  <------------------------ Outcome, as bytes
       collector      by position; the first failing position wins
     operations       build the result once, in pandas

``path`` is a generator that yields each time the collector has got an outcome. A caller that needs all results exhausts
it. A caller that streams results takes them from the collector in between. No further chunk starts until it continues.

With ``engine="auto"`` the parent does the first units itself and keeps their returns. If the rest is worth it, a pool
starts in the background while the parent works on. The pool gets the rest when its workers have loaded the function.
A function that cannot be sent or loaded stays in this process.
"""

from __future__ import annotations

import contextlib
import threading
import warnings
from collections.abc import Generator, Iterator, Mapping
from concurrent.futures import Future, wait
from dataclasses import replace
from typing import Any

from pdparallel.checkpoint.store import opened
from pdparallel.core.call import Call
from pdparallel.core.cancellation import CancelToken, current, ending, mark_started
from pdparallel.core.chunking import Chunk, PendingRanges, PendingUnits
from pdparallel.core.options import Options
from pdparallel.core.outcome import Outcome
from pdparallel.core.returns import Returns
from pdparallel.engines.base import Engine
from pdparallel.engines.registry import is_warm, open_engine
from pdparallel.errors import FunctionNotSerializableError, InvalidOptionError, PerformanceHint
from pdparallel.execution import placement
from pdparallel.execution.collector import ResultCollector
from pdparallel.execution.coroutines import CoroutineRunner
from pdparallel.execution.encode import CallEncoder, pack
from pdparallel.execution.events import Watch, watch
from pdparallel.execution.inline import InlineRunner
from pdparallel.execution.placement import Placement, Reason, place
from pdparallel.execution.scheduler import Scheduler
from pdparallel.execution.waiting import COROUTINE, WaitingHint
from pdparallel.progress.reporter import Bar, bar
from pdparallel.transport.functions import level_of_the_user

__all__ = ["check", "path", "run"]

#: Coroutines in a chunk for each one that runs at a time, while much is left. A chunk ends with its slowest ones.
ROUNDS_OF_COROUTINES = 4


def run(
    call: Call,
    options: Options,
    prefix: Outcome | None = None,
    force_pool: bool = False,
    collector: ResultCollector | None = None,
) -> Returns:
    """Run a call, and return all values that the function returned, in order of position."""
    check(options)
    begun: dict[int, Any] = {}
    if prefix is not None and prefix.awaits:
        begun, prefix = dict(enumerate(prefix.returns, prefix.chunk.start)), None
        options = replace(options, engine="asyncio")
    collector = collector or ResultCollector(call)
    hint = WaitingHint(options)
    with opened(call, options, collector) as finished:
        if prefix is not None:
            collector.add(prefix)
            finished = [*finished, prefix.chunk]
        gaps = PendingRanges(call.n, finished, call.plan)
        with bar(options.progress, call.n, options.desc or call.verb, call.unit, call.n - len(gaps)) as shown:
            if collector.failure is None:
                for _ in path(call, options, collector, gaps, shown, force_pool, prefix, begun):
                    pass
            collector.raise_failure()
    hint.give(call, collector, 0.0 if prefix is None else prefix.seconds)
    return collector.returns()


def check(options: Options) -> None:
    """Reject options that the engine does not support, before anything runs."""
    if options.engine == "numba":
        for name, value in (("timeout", options.timeout), ("initializer", options.initializer)):
            if value is not None:
                hint = "Compiled code runs in this process. Give engine='process'."
                raise InvalidOptionError(name, value, "None with engine='numba'", hint)
        return
    if options.timeout is None or options.engine == "asyncio":
        return
    with contextlib.closing(open_engine(options)) as engine:  # it starts nothing before its first task
        if not engine.restarts:
            raise InvalidOptionError(
                "timeout", options.timeout, f"None with engine={engine.name!r}",
                f"{'A thread' if engine.name == 'thread' else 'Its worker'} cannot be ended. Give engine='process', or "
                f"{COROUTINE}, whose calls can be cancelled.",
            )  # fmt: skip


def path(
    call: Call,
    options: Options,
    collector: ResultCollector,
    gaps: PendingUnits,
    shown: Bar,
    force_pool: bool = False,
    prefix: Outcome | None = None,
    begun: Mapping[int, Any] | None = None,
) -> Generator[None, None, None]:
    """Run the pending units of a call; yield each time the collector has got an outcome.

    ``prefix`` is the outcome of units done before. ``force_pool`` says that the rest is known to be worth workers.
    ``begun`` has coroutines that the function has returned, by position.
    """
    with watch(call, options, gaps, prefix) as observed:
        stop = current()
        if stop is not None:
            stop.uses_loop = options.engine == "asyncio" and stop.loop is not None
        mark_started()
        if options.engine == "asyncio":
            why = placement.COROUTINES if call.work.is_async else "engine= names it"
            yield from _on_loop(call, options, collector, gaps, shown, stop, observed, why, begun)
            return
        if place(options) is Placement.ENGINE:
            if not gaps or collector.failure is not None:
                observed.decided("there is nothing left to do")
            elif options.engine == "numba":
                from pdparallel.execution.compiled import CompiledRunner  # few calls need it

                observed.decided("engine= names it", "numba", options.workers)
                yield from CompiledRunner(call, options, collector, shown, gaps, stop, observed).run()
            else:
                why = _why_an_engine(options)
                yield from _by_engine(call, options, collector, gaps, shown, stop, observed, why)
            return
        parent = InlineRunner(call, options, collector, shown, gaps, stop, observed)
        if not force_pool:
            yield from parent.run_until_worth(lambda: is_warm(options), prefix)
            if parent.awaited:
                why = "the function returns coroutines"
                yield from _on_loop(call, options, collector, gaps, shown, stop, observed, why)
                return
            if parent.reason is Reason.THREADS and gaps and collector.failure is None:
                threads = replace(options, engine="thread")
                yield from _by_engine(
                    call,
                    threads,
                    collector,
                    gaps,
                    shown,
                    stop,
                    observed,
                    parent.reason.value,
                    most_seconds=parent.most_in_threads,
                )
                if not gaps or collector.failure is not None:
                    return
                parent.leave_threads()
                yield from parent.run_until_worth(lambda: is_warm(options))
        if not gaps or collector.failure is not None:
            observed.decided(parent.reason.value)
        else:
            why = (Reason.WORTH if force_pool else parent.reason).value
            yield from _by_engine(call, options, collector, gaps, shown, stop, observed, why, parent)


def _on_loop(
    call: Call, options: Options, collector: ResultCollector, gaps: PendingUnits, shown: Bar, stop: CancelToken | None,
    observed: Watch, why: str, begun: Mapping[int, Any] | None = None,
) -> Generator[None, None, None]:  # fmt: skip
    """Run the pending units as coroutines on an event loop of this process."""
    if not gaps or collector.failure is not None:
        observed.decided("there is nothing left to do")
        return
    observed.decided(why, "asyncio", options.max_concurrency)
    runner = CoroutineRunner(call, options, collector, shown, gaps, stop, observed, begun)
    yield from runner.run()
    if not runner.awaited and collector.failure is None:
        warnings.warn(
            "The function returned nothing to await, so its calls ran one after the other. Make it a coroutine "
            "function (async def), or use engine='thread'.",
            PerformanceHint, stacklevel=level_of_the_user(),
        )  # fmt: skip


def _by_engine(
    call: Call,
    options: Options,
    collector: ResultCollector,
    gaps: PendingUnits,
    shown: Bar,
    stop: CancelToken | None,
    observed: Watch,
    why: str,
    parent: InlineRunner | None = None,
    most_seconds: float | None = None,
) -> Generator[None, None, None]:
    """Run the pending units on an engine; a given ``parent`` works until it is ready, or alone if it never is."""
    is_pausing = call.work.retry is not None or call.work.rate is not None
    ended = threading.Event() if is_pausing else None
    with contextlib.nullcontext() if ended is None else ending(ended):
        engine = open_engine(options)
    encoder: CallEncoder | None = None
    scheduler: Scheduler | None = None
    try:
        observed.decided(why, engine.name, engine.n_workers)
        tell = (lambda units: shown.under_way(lambda: units)) if engine.runs_here else None
        observed.packs()
        heard = options.capture_output is not False
        problem: BaseException | None = None
        try:
            encoder = pack(
                call, engine.locality, options.serializer, heard, noted=shown.check_interval is not None, tell=tell
            )
        except FunctionNotSerializableError as error:
            if parent is None:
                raise
            problem = error
        else:
            encoder.timed = observed.timed
            observed.packed()
            if parent is not None:
                problem = yield from parent.run_until_loaded(engine, encoder, is_warm(options))
        if problem is not None or encoder is None:
            assert parent is not None
            _stay(problem, observed)
            yield from parent.go_on()
            return
        scheduler = Scheduler(call, options, engine, encoder, collector, shown, stop, observed)
        yield from scheduler.run(_chunks(options, gaps, engine, collector, encoder, stop, most_seconds))
    finally:
        if most_seconds is not None and scheduler is not None:
            wait(scheduler.left(), placement.MAX_THREAD_SECONDS)
        # After any exception, also an interrupt: no worker continues with a call that nobody waits for.
        is_left = scheduler is not None and not scheduler.settled
        if is_left and ended is not None:
            ended.set()
        engine.close(kill=is_left)
        if encoder is not None:
            observed.travelled_once(encoder.once)
            _close(encoder, [] if scheduler is None else scheduler.left())


def _stay(problem: BaseException | None, observed: Watch) -> None:
    """Warn that a function stays in this process, and why."""
    observed.decided(Reason.CANNOT.value)
    text = str(problem)
    if not isinstance(problem, FunctionNotSerializableError):
        text = f"The function cannot be loaded in a worker process: {type(problem).__name__}: {problem}"
    warnings.warn(f"This call runs in this process only. {text}", PerformanceHint, stacklevel=level_of_the_user())


def _why_an_engine(options: Options) -> str:
    """Return the reason for an engine, in words."""
    if options.engine != "auto":
        return "engine= names it"
    return f"{'timeout=' if options.initializer is None else 'initializer='} needs workers"


def _close(encoder: CallEncoder, running: list[Future[bytes]]) -> None:
    """Close an encoder when no task refers to it any more, because another call may then reuse its file names."""
    lock, left = threading.Lock(), len(running)
    if not left:
        encoder.close()

    def ended(_: Future[bytes]) -> None:
        nonlocal left
        with lock:
            left -= 1
            last = left == 0
        if last:
            encoder.close()

    for future in running:
        future.add_done_callback(ended)


def _chunks(
    options: Options,
    gaps: PendingUnits,
    engine: Engine,
    collector: ResultCollector,
    encoder: CallEncoder,
    stop: CancelToken | None,
    most_seconds: float | None = None,
) -> Iterator[Chunk]:
    """Yield the chunks of the pending units; each is cut when it is needed, by the cost of the units before."""
    units, seconds = collector.units, collector.seconds
    while gaps:
        # Slower units mean that the engine (threads) gains nothing. The rest stays pending.
        if most_seconds is not None and collector.seconds - seconds > most_seconds * (collector.units - units):
            return
        at_once = options.max_concurrency if collector.awaited else 1
        cost = collector.seconds / collector.units / at_once if collector.units else None
        size = options.chunk_size or gaps.next_size(
            engine.n_workers, cost, encoder.bytes_of_a_unit, engine.task_seconds
        )
        is_kept = options.checkpoint is not None or stop is not None
        if cost is None and options.chunk_size is None and is_kept:
            size = 1  # a long first chunk would reach no checkpoint for hours, and could not be cancelled
        elif at_once > 1 and options.chunk_size is None:
            rounds = 1 if is_kept or collector.passes_on else ROUNDS_OF_COROUTINES
            size = max(size, min(rounds * at_once, -(-len(gaps) // engine.n_workers)))
        most = encoder.most_units(engine.in_flight)
        if most is not None and options.chunk_size is None:
            size = min(size, most)
        chunk = gaps.first(size)
        gaps.drop(chunk.stop)
        yield chunk
