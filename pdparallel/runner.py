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

With ``engine="auto"`` the parent does the first units itself and keeps what they returned.  Where the rest is worth it,
a pool starts in the background while the parent works on; what is left when it is up is handed over.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from pdparallel.auto import Parent
from pdparallel.call import Call
from pdparallel.checkpoint.folder import opened
from pdparallel.delivery import Delivery
from pdparallel.engines.base import Engine
from pdparallel.engines.registry import is_warm, open_engine
from pdparallel.errors import InvalidOptionError
from pdparallel.ledger import Ledger
from pdparallel.options import Options
from pdparallel.outcome import Outcome
from pdparallel.packing import Returns
from pdparallel.plan import Chunk, Gaps, next_size
from pdparallel.progress import bar
from pdparallel.transport.parcel import pack

__all__ = ["run"]


def run(call: Call, options: Options) -> Returns:
    """Everything that the function returned, in order of position.

    Raises
    ------
    Exception
        What the function raised at the first failing position, with the worker's traceback as its cause and a note
        of label and position.
    WorkerDiedError
        Where workers ended, and kept ending when their chunks were run again.
    CallTimeoutError
        Where a call took longer than ``timeout=`` allows.
    """
    if options.timeout is not None:
        _check_that_workers_can_be_ended(options)
    ledger = Ledger(call)
    with opened(call, options, ledger) as finished, bar(options.progress, call.n, call.verb, call.unit) as advance:
        if call.begun is not None:
            values, seconds = call.begun
            finished = [Chunk(0, len(values))]
            ledger.add(Outcome(finished[0], values, seconds=seconds))
        gaps = Gaps(call.n, finished, call.plan)
        if finished:
            advance(call.n - len(gaps))
        parent = Parent(call, options, ledger, advance, gaps)
        # This process cannot be ended after a time, and what an initializer sets is for workers.
        begins_here = options.engine == "auto" and options.timeout is None and options.initializer is None
        if begins_here:
            parent.begin(lambda: is_warm(options))
        if gaps:
            engine = open_engine(options)
            settled = True
            try:
                with contextlib.closing(pack(call, engine.reach, options.serializer)) as parcel:
                    if begins_here:
                        parent.go_on_until_up(engine)
                    settled = False
                    chunks = _chunks(options, gaps, engine, ledger)
                    settled = Delivery(call, options, engine, parcel, ledger, advance).run(chunks)
            finally:
                # Whatever broke in, an interrupt included: no worker goes on with a call that nobody waits for.
                engine.close(kill=not settled)
        ledger.raise_failure()
    return ledger.returns()


def _check_that_workers_can_be_ended(options: Options) -> None:
    with contextlib.closing(open_engine(options)) as engine:  # which starts nothing before it has a task
        if not engine.restarts:
            raise InvalidOptionError(
                "timeout", options.timeout, f"None with engine={engine.name!r}",
                "Only a worker process of pdparallel's own can be ended: engine='process' or 'pathos'.",
            )  # fmt: skip


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
