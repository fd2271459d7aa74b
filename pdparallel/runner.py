"""Runner: the data path of every call, from the plan to the recorded returns.

::

    |=================== parent ====================|================= worker =================|
     df.par.apply_rows(f)
       accessor   check arguments
       verbs      what is asked          -> Call
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
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait

from pdparallel.auto import Parent
from pdparallel.call import Call
from pdparallel.checkpoint.folder import opened
from pdparallel.engines.base import Engine
from pdparallel.engines.registry import is_warm, open_engine
from pdparallel.errors import WorkerDiedError
from pdparallel.ledger import Ledger
from pdparallel.options import Options
from pdparallel.packing import Returns
from pdparallel.plan import Chunk, Gaps, next_size
from pdparallel.progress import Advance, bar
from pdparallel.transport.parcel import Parcel, pack

__all__ = ["run"]

#: Tasks on their way for each worker: one that runs and one that waits, so that no worker waits for the parent.
IN_FLIGHT = 2

#: Seconds that tasks which run when a call fails get to end by themselves, before their workers are ended.
RUN_OUT_SECONDS = 0.2


def run(call: Call, options: Options) -> Returns:
    """Everything that the function returned, in order of position.

    Raises
    ------
    Exception
        What the function raised at the first failing position, with the worker's traceback as its cause and a note
        of label and position.
    WorkerDiedError
        Where a worker ended.
    """
    ledger = Ledger(call)
    with opened(call, options, ledger) as finished, bar(options.progress, call.n, call.verb, call.unit) as advance:
        gaps = Gaps(call.n, finished, call.plan)
        if finished:
            advance(call.n - len(gaps))
        parent = Parent(call, options, ledger, advance, gaps)
        if options.engine == "auto":
            parent.begin(lambda: is_warm(options))
        if gaps:
            engine = open_engine(options)
            settled = True
            try:
                with contextlib.closing(pack(call, engine.reach, options.serializer)) as parcel:
                    if options.engine == "auto":
                        parent.go_on_until_up(engine)
                    settled = False
                    chunks = _chunks(options, gaps, engine, ledger)
                    settled = _hand_over(call, engine, parcel, chunks, ledger, advance)
            finally:
                # Whatever broke in, an interrupt included: no worker goes on with a call that nobody waits for.
                engine.close(kill=not settled)
        ledger.raise_failure()
    return ledger.returns()


def _chunks(options: Options, gaps: Gaps, engine: Engine, ledger: Ledger) -> Iterator[Chunk]:
    """The chunks of what is left; each is cut when its turn comes, by what the units before it cost."""
    while gaps:
        cost = ledger.seconds / ledger.units if ledger.units else None
        size = options.chunk_size or next_size(len(gaps), engine.n_workers, cost)
        if cost is None and options.checkpoint is not None and options.chunk_size is None:
            size = 1  # what a long first chunk holds would not be in the folder for hours
        chunk = gaps.first(size)
        gaps.drop(chunk.stop)
        yield chunk


def _hand_over(
    call: Call, engine: Engine, parcel: Parcel, waiting: Iterator[Chunk], ledger: Ledger, advance: Advance
) -> bool:
    """Run the chunks on the engine; returns whether no task of this call is left running."""
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


def _only_what_comes_before(flying: dict[Future[bytes], Chunk], ledger: Ledger) -> bool:
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
