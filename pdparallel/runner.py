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
from pdparallel.delivery import Delivery
from pdparallel.engines.base import Engine
from pdparallel.engines.registry import is_warm, open_engine
from pdparallel.errors import InvalidOptionError
from pdparallel.ledger import Ledger
from pdparallel.options import Options
from pdparallel.packing import Returns
from pdparallel.plan import Chunk, next_size
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
    ledger = Ledger(call)
    with bar(options.progress, call.n, call.verb, call.unit) as advance:
        parent = Parent(call, options, ledger, advance)
        begins_here = options.engine == "auto" and options.timeout is None  # this process cannot be ended
        if begins_here:
            parent.begin(lambda: is_warm(options))
        if parent.head < call.n:
            engine = open_engine(options)
            if options.timeout is not None and not engine.restarts:
                raise InvalidOptionError(
                    "timeout", options.timeout, f"None with engine={engine.name!r}",
                    "Only a worker process of pdparallel's own can be ended: engine='process' or 'pathos'.",
                )  # fmt: skip
            settled = True
            try:
                with contextlib.closing(pack(call, engine.reach, options.serializer)) as parcel:
                    if begins_here:
                        parent.go_on_until_up(engine)
                    settled = False
                    chunks = _chunks(call, options, parent.head, engine, ledger)
                    settled = Delivery(call, options, engine, parcel, ledger, advance).run(chunks)
            finally:
                # Whatever broke in, an interrupt included: no worker goes on with a call that nobody waits for.
                engine.close(kill=not settled)
        ledger.raise_failure()
    return ledger.returns()


def _chunks(call: Call, options: Options, head: int, engine: Engine, ledger: Ledger) -> Iterator[Chunk]:
    """The chunks from a position on; each is cut when its turn comes, by what the units before it cost."""
    if call.plan is not None:
        yield from (chunk for chunk in call.plan if chunk.start >= head)
        return
    while head < call.n:
        cost = ledger.seconds / ledger.units if ledger.units else None
        size = options.chunk_size or next_size(call.n - head, engine.n_workers, cost)
        yield Chunk(head, min(head + size, call.n))
        head += size
