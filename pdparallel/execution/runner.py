"""Runner: the data path of every call, from the plan to the recorded returns.

::

    |=================== parent ====================|================= worker =================|
     df.par.apply_rows(f)
       accessor   check arguments
       verbs      what is asked          -> Call
       plan       position ranges        -> chunks
       parcel     f: dill, once; the frame: once,
                  into an arena (memfd)  -> Task (arena, chunk) --+
       delivery   bounded in flight,
       engine     to whichever is free                            v
                                                     map the arena (private, copy on write),
                                                     take rows start:stop, call f, record
       delivery   what was lost again    <------------------------ Outcome, as bytes
       ledger     by position; the first failing position wins
     assemble     shape once, in pandas

The path is a generator, which comes back to whoever asked each time that something has come to the ledger: who wants
all goes through it to the end; who wants results one after the other takes them from the ledger in between, and while
nobody asks for more, no further chunk is begun.

With ``engine="auto"`` the parent does the first units itself and keeps what they returned.  If the rest is worth it, a
pool starts in the background while the parent works on; what is left when its workers have loaded the function is
handed over.  A function that cannot be sent or loaded stays in this process.
"""

from __future__ import annotations

import contextlib
import threading
import warnings
from collections.abc import Generator, Iterator
from concurrent.futures import Future, wait
from dataclasses import replace

from pdparallel.checkpoint.store import opened
from pdparallel.core.call import Call
from pdparallel.core.cancellation import CancelToken, current, mark_started
from pdparallel.core.chunking import Chunk, PendingRanges, PendingUnits
from pdparallel.core.options import Options
from pdparallel.core.outcome import Outcome
from pdparallel.core.returns import Returns
from pdparallel.engines.base import Engine
from pdparallel.engines.registry import is_warm, open_engine
from pdparallel.errors import FunctionNotSerializableError, InvalidOptionError, PerformanceHint
from pdparallel.execution import placement
from pdparallel.execution.collector import ResultCollector
from pdparallel.execution.encode import CallEncoder, pack
from pdparallel.execution.events import Watch, watch
from pdparallel.execution.inline import InlineRunner
from pdparallel.execution.placement import Reason
from pdparallel.execution.scheduler import Delivery
from pdparallel.progress.reporter import Bar, bar
from pdparallel.transport.functions import level_of_the_user

__all__ = ["check", "path", "run"]


def run(
    call: Call,
    options: Options,
    prefix: Outcome | None = None,
    force_pool: bool = False,
    collector: ResultCollector | None = None,
) -> Returns:
    """Everything that the function returned, in order of position."""
    check(options)
    collector = collector or ResultCollector(call)
    with opened(call, options, collector) as finished:
        if prefix is not None:
            collector.add(prefix)
            finished = [*finished, prefix.chunk]
        gaps = PendingRanges(call.n, finished, call.plan)
        with bar(options.progress, call.n, options.desc or call.verb, call.unit, call.n - len(gaps)) as shown:
            if collector.failure is None:
                for _ in path(call, options, collector, gaps, shown, force_pool, prefix):
                    pass
            collector.raise_failure()
    return collector.returns()


def check(options: Options) -> None:
    """Refuse what the engine cannot do, before anything runs."""
    if options.timeout is None:
        return
    with contextlib.closing(open_engine(options)) as engine:  # which starts nothing before it has a task
        if not engine.restarts:
            raise InvalidOptionError(
                "timeout", options.timeout, f"None with engine={engine.name!r}",
                "A time limit needs processes that can be ended: engine='process' or engine='pathos'.",
            )  # fmt: skip


def path(
    call: Call,
    options: Options,
    collector: ResultCollector,
    gaps: PendingUnits,
    shown: Bar,
    force_pool: bool = False,
    prefix: Outcome | None = None,
) -> Generator[None, None, None]:
    """The way of a call from what is left to do into the ledger; comes back each time that something has come there."""
    with watch(call, options, gaps, prefix) as observed:
        mark_started()
        stop = current()
        if placement.needs_engine(options):
            if gaps and collector.failure is None:
                why = _why_an_engine(options)
                yield from _by_engine(call, options, collector, gaps, shown, stop, observed, why)
            else:
                observed.decided("there is nothing left to do")
            return
        parent = InlineRunner(call, options, collector, shown, gaps, stop, observed)
        if not force_pool:
            yield from parent.run_until_worth(lambda: is_warm(options), prefix)
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
    """Hand what is left to an engine; the parent, if it is given, works on meanwhile, and does what cannot be sent."""
    engine = open_engine(options)
    encoder: CallEncoder | None = None
    delivery: Delivery | None = None
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
        delivery = Delivery(call, options, engine, encoder, collector, shown, stop, observed)
        yield from delivery.run(_chunks(options, gaps, engine, collector, encoder, stop, most_seconds))
    finally:
        if most_seconds is not None and delivery is not None:
            wait(delivery.left(), placement.MAX_THREAD_SECONDS)
        # Whatever broke in, an interrupt included: no worker goes on with a call that nobody waits for.
        engine.close(kill=delivery is not None and not delivery.settled)
        if encoder is not None:
            observed.travelled_once(encoder.once)
            _close(encoder, [] if delivery is None else delivery.left())


def _stay(problem: BaseException | None, observed: Watch) -> None:
    """Say that a function stays in this process, and why."""
    observed.decided(Reason.CANNOT.value)
    text = str(problem)
    if not isinstance(problem, FunctionNotSerializableError):
        text = f"The function cannot be loaded in a worker process: {type(problem).__name__}: {problem}"
    warnings.warn(f"This call runs in this process only. {text}", PerformanceHint, stacklevel=level_of_the_user())


def _why_an_engine(options: Options) -> str:
    """Say in words why the call starts on an engine."""
    if options.engine != "auto":
        return "engine= names it"
    return f"{'timeout=' if options.initializer is None else 'initializer='} needs workers"


def _close(encoder: CallEncoder, running: list[Future[bytes]]) -> None:
    """Close a parcel when no task refers to it any more: what it held may then be another call's, by the same name."""
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
    """The chunks of what is left; each is cut when its turn comes, by what the units before it cost."""
    units, seconds = collector.units, collector.seconds
    while gaps:
        if most_seconds is not None and collector.seconds - seconds > most_seconds * (collector.units - units):
            return
        cost = collector.seconds / collector.units if collector.units else None
        size = options.chunk_size or gaps.next_size(
            engine.n_workers, cost, encoder.bytes_of_a_unit, engine.task_seconds
        )
        if cost is None and options.chunk_size is None and (options.checkpoint is not None or stop is not None):
            size = 1  # what a long first chunk holds would not be in the folder for hours, nor could it be stopped
        most = encoder.most_units(engine.in_flight)
        if most is not None and options.chunk_size is None:
            size = min(size, most)
        chunk = gaps.first(size)
        gaps.drop(chunk.stop)
        yield chunk
