"""Runner: the data path of every call, from the plan to the recorded returns.

::

    |=================== parent ====================|================= worker =================|
     df.par.apply_rows(f)
       accessor   check arguments        -> Call
       plan       position ranges        -> chunks
       parcel     f: dill, once; the frame: once,
                  into an arena (memfd)  -> Task (arena, chunk) --+
       engine     submit, bounded in flight                       v
                                                     map the arena (private, copy on write),
                                                     take rows start:stop, call f, record
       engine     future.result()        <------------------------ Outcome, as bytes
       ledger     by position; the first failing position wins
     assemble     shape once, in pandas

With ``engine="auto"`` the parent does the first units itself and keeps what they returned.  Where the rest is worth it,
a pool starts in the background while the parent works on; what is left when it is up is handed over.
"""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from typing import Any

from pdparallel.call import Call
from pdparallel.engines.base import Engine
from pdparallel.engines.registry import is_warm, open_engine
from pdparallel.errors import WorkerDiedError
from pdparallel.options import Options
from pdparallel.outcome import Failure, Outcome
from pdparallel.plan import Chunk, cut, pieces_for_records
from pdparallel.progress import Advance, bar
from pdparallel.transport.frames import take
from pdparallel.transport.objects import SharedTable, dump, load
from pdparallel.transport.outcomes import users_part
from pdparallel.transport.parcel import Parcel, pack
from pdparallel.worker import inside_worker, record

__all__ = ["run"]

#: Seconds after which the parent looks whether the rest is worth a pool; it costs nothing on smaller calls.
LOOK_SECONDS = 0.02

#: Seconds of work, in one process, from which it is worth starting a pool: about what one takes to start, during which
#: the parent works on (benchmarks/handover.py).
COLD_WORTH_SECONDS = 1.0

#: The same for a pool that is up: what a call of it costs before the first row is done (benchmarks/handover.py).
WARM_WORTH_SECONDS = 0.05

#: Returns that are written and read to know what their travelling costs; a few hundred take some microseconds.
SAMPLE = 200

#: Tasks on their way for each worker: one that runs and one that waits, so that no worker waits for the parent.
IN_FLIGHT = 2

#: Seconds that tasks which run when a call fails get to end by themselves, before their workers are ended.
RUN_OUT_SECONDS = 0.2


def run(call: Call, options: Options) -> list[Any]:
    """Everything that the function returned, in order of position.

    Raises
    ------
    Exception
        What the function raised at the first failing position, with the worker's traceback as its cause and a note
        of label and position.
    WorkerDiedError
        Where a worker ended.
    """
    ledger = _Ledger(call)
    with bar(options.progress, call.n, call.verb, call.unit) as advance:
        head = _begin_here(call, options, ledger, advance) if options.engine == "auto" else 0
        if head < call.n:
            engine = open_engine(options)
            settled = True
            try:
                with contextlib.closing(pack(call, engine.reach, options.serializer)) as parcel:
                    if options.engine == "auto":
                        head = _go_on_here(call, options, engine, head, ledger, advance)
                    settled = False
                    settled = _hand_over(call, engine, parcel, _chunks(call, options, head, engine), ledger, advance)
            finally:
                # Whatever broke in, an interrupt included: no worker goes on with a call that nobody waits for.
                engine.close(kill=not settled)
        ledger.raise_failure()
    return ledger.returns()


def _chunks(call: Call, options: Options, head: int, engine: Engine) -> Sequence[Chunk]:
    if call.plan is not None:
        return [chunk for chunk in call.plan if chunk.start >= head]
    return cut(head, call.n, size=options.chunk_size, pieces=pieces_for_records(engine.n_workers))


# engine="auto": the parent's own part


def _begin_here(call: Call, options: Options, ledger: _Ledger, advance: Advance) -> int:
    """Work in this process for as long as that is the quicker way; returns the first position that is left."""
    alone = options.workers == 1 or inside_worker()
    least = WARM_WORTH_SECONDS if is_warm(options) else COLD_WORTH_SECONDS
    began = time.perf_counter()
    head = 0
    for chunk in _growing(call, options, 0):
        outcome = _work_here(call, chunk, ledger, advance)
        head, left = chunk.stop, call.n - chunk.stop
        spent = time.perf_counter() - began
        if (
            not alone
            and spent >= LOOK_SECONDS
            and spent / head * left > least
            and _saved_by_workers(spent / head, outcome, options.workers) * left > WARM_WORTH_SECONDS
        ):
            break
    return head


def _saved_by_workers(cost: float, outcome: Outcome, workers: int) -> float:
    """Seconds that a unit takes less when workers do it: they share its work, but what it returns travels.

    Parameters
    ----------
    cost : float
        Seconds of a unit in this process.
    outcome : Outcome
        The latest one: some of its returns are written and read as if they travelled.
    workers : int
        How many share the work and the writing; the parent alone reads.
    """
    sample = outcome.returns[:1]
    write, read = _seconds_of_travel(sample)
    if write + read < LOOK_SECONDS / 100:  # small ones: more of them tell better
        sample = outcome.returns[:SAMPLE]
        write, read = _seconds_of_travel(sample)
    units = len(outcome.chunk) * len(sample) / max(1, len(outcome.returns))
    return cost - (cost + write / units) / workers - read / units


def _seconds_of_travel(returns: list[Any]) -> tuple[float, float]:
    table = SharedTable()
    began = time.perf_counter()
    try:
        data = dump(returns, table, grow=True)
        written = time.perf_counter()
        load(data, table)
    except Exception:  # what cannot travel stays here: pandas' answer needs no travelling
        return math.inf, math.inf
    return written - began, time.perf_counter() - written


def _go_on_here(call: Call, options: Options, engine: Engine, head: int, ledger: _Ledger, advance: Advance) -> int:
    """Start the pool in the background and work on until it is up; returns the first position that is left."""
    up = threading.Event()

    def start() -> None:
        with contextlib.suppress(Exception):  # what is wrong with the pool shows at the first task
            for knock in [engine.submit(b"") for _ in range(engine.n_workers)]:
                knock.result()
        up.set()

    threading.Thread(target=start, name="pdparallel-start", daemon=True).start()
    if up.wait(WARM_WORTH_SECONDS / 10):  # a warm pool answers in less
        return head
    for chunk in _growing(call, options, head):
        if up.is_set():
            break
        _work_here(call, chunk, ledger, advance)
        head = chunk.stop
    return head


def _work_here(call: Call, chunk: Chunk, ledger: _Ledger, advance: Advance) -> Outcome:
    outcome = record(call.work, take(call.data, call.work.hand, chunk), chunk)
    ledger.add(outcome)
    ledger.raise_failure()
    advance(len(chunk))
    return outcome


def _growing(call: Call, options: Options, start: int) -> Iterator[Chunk]:
    """Chunks for the parent: of the plan if there is one, else longer and longer up to a look's worth of time."""
    if call.plan is not None:
        yield from (chunk for chunk in call.plan if chunk.start >= start)
        return
    size = 1
    while start < call.n:
        began = time.perf_counter()
        stop = min(start + (options.chunk_size or size), call.n)
        yield Chunk(start, stop)
        spent = time.perf_counter() - began
        start = stop
        if spent < LOOK_SECONDS / 4:
            size *= 4


# Every other engine


def _hand_over(
    call: Call, engine: Engine, parcel: Parcel, chunks: Sequence[Chunk], ledger: _Ledger, advance: Advance
) -> bool:
    """Run the chunks on the engine; returns whether no task of this call is left running."""
    waiting = iter(chunks)
    flying: dict[Future[bytes], Chunk] = {}
    more = True
    while True:
        while more and len(flying) < engine.n_workers * IN_FLIGHT:
            chunk = next(waiting, None)
            if chunk is None or ledger.fails_before(chunk.start):
                more = False
                break
            try:
                future = engine.submit(parcel.task(chunk))
            except WorkerDiedError as error:
                raise _lost(call, [chunk, *flying.values()], error) from error.__cause__
            flying[future] = chunk
            if future.done():  # the serial engine: look at the outcome before the next chunk runs
                break
        if not flying:
            return True
        done, _ = wait(flying, return_when=FIRST_COMPLETED)
        for future in done:
            chunk = flying.pop(future)
            if future.cancelled():
                continue
            problem = future.exception()
            if isinstance(problem, WorkerDiedError):
                raise _lost(call, [chunk, *flying.values()], problem) from problem.__cause__
            if problem is not None:
                raise problem
            outcome = parcel.outcome(future.result())
            ledger.add(outcome)
            advance(len(chunk))
        if ledger.failure is not None and not _only_what_comes_before(flying, ledger):
            return False


def _only_what_comes_before(flying: dict[Future[bytes], Chunk], ledger: _Ledger) -> bool:
    """After a failure: cancel what comes behind it, wait for what comes before it; False if something still runs."""
    behind = [future for future, chunk in flying.items() if ledger.fails_before(chunk.start)]
    for future in behind:
        future.cancel()
    if len(behind) < len(flying):
        return True
    _, running = wait(behind, timeout=RUN_OUT_SECONDS)
    if not running:
        flying.clear()
    return not running


def _lost(call: Call, chunks: Sequence[Chunk], error: WorkerDiedError) -> WorkerDiedError:
    spans = sorted((chunk.start, chunk.stop - 1) for chunk in chunks)
    ranges = ", ".join(f"{first} to {last}" for first, last in spans[:4]) + (", ..." if len(spans) > 4 else "")
    error.add_note(f"pdparallel: {call.verb}; not finished at that moment: {call.unit}s at positions {ranges}")
    return error


class _Ledger:
    """What came back, by position, and the failure that pandas would have met first."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._outcomes: dict[int, Outcome] = {}
        self.failure: Outcome | None = None

    def add(self, outcome: Outcome) -> None:
        self._outcomes[outcome.chunk.start] = outcome
        if outcome.failure is not None and not self.fails_before(outcome.chunk.start):
            self.failure = outcome

    def fails_before(self, position: int) -> bool:
        return self.failure is not None and self.failure.chunk.start < position

    def raise_failure(self) -> None:
        if self.failure is None:
            return
        failure = self.failure.failure
        assert failure is not None
        exception = failure.exception
        place = self._call.where(self.failure.chunk, failure.offset)
        try:
            exception.add_note(f"pdparallel: {self._call.verb}, {place}")
        except Exception:  # an exception class may refuse attributes; the exception matters more than its note
            pass
        if failure.traceback_text and exception.__cause__ is None:
            exception.__cause__ = _WorkerTraceback(failure)
        raise exception.with_traceback(users_part(exception.__traceback__))

    def returns(self) -> list[Any]:
        if self._call.work.hand == "chunk":
            return [self._outcomes[start].returns[0] for start in sorted(self._outcomes)]
        gathered: list[Any] = []
        for start in sorted(self._outcomes):
            gathered.extend(self._outcomes[start].returns)
        if len(gathered) != self._call.n:
            raise RuntimeError(f"{len(gathered)} returns for {self._call.n} {self._call.unit}s: please report this")
        return gathered


class _WorkerTraceback(Exception):  # noqa: N818 - shown as a cause, never raised
    """Shows the traceback of a worker above the exception that came from there."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(f"\n\n{failure.traceback_text.rstrip()}")
