"""Run a chunk of units as coroutines in a worker, and wait for all of them."""

from __future__ import annotations

import contextlib
import itertools
import math
import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pdparallel.core.call import Work
from pdparallel.core.chunking import Chunk
from pdparallel.core.outcome import Failure, Outcome, note_initializer
from pdparallel.data.iterate import own_units
from pdparallel.transport.outcomes import raised_by_function
from pdparallel.typing import ProgressSlots
from pdparallel.worker.coroutines import CHECK_SECONDS, NOTHING, Coroutines

__all__ = ["record_coroutines"]


def record_coroutines(
    work: Work, piece: Any, chunk: Chunk, until: float = math.inf, notes: ProgressSlots | None = None,
    one_by_one: bool = False, begun: Mapping[int, Any] | None = None,
    measures: bool = False,
) -> Outcome:  # fmt: skip
    """Call the function for each unit of a piece, some at once, and wait for all of them.

    No call begins after the time ``until``, but the first one does. ``one_by_one`` finds the unit that ends its worker.
    ``measures`` tells for how long single calls wait.
    """
    came = threading.Event()
    running = Coroutines(work, came.set, 1 if one_by_one else None, begun, notes, measures=measures)
    problem: Failure | None = None
    try:
        with running:
            try:
                running.initialize()
            except BaseException as exception:
                with contextlib.suppress(Exception):
                    note_initializer(exception)
                return Outcome(chunk, [], Failure(0, exception))
            running.wants_more = False
            if notes is not None:  # of all units, because any of them may end the worker
                notes[2] = chunk.stop - 1
                notes[1] = chunk.start
            if begun is not None and len(begun) == len(chunk) and work.retry is None:
                units: list[Any] = [None] * len(chunk)
            else:
                units = own_units(work.unit_format, work.func, work.given)(piece)
            running.feed(chunk.start, units)
            while not running.is_idle and problem is None:
                left = until - time.perf_counter()
                came.wait(min(CHECK_SECONDS, max(left, 0.001)))
                came.clear()
                if left <= 0:
                    running.begin_no_more()
                at = running.stuck()
                if at is not None:
                    problem = Failure(at - chunk.start, running.stuck_error())
    except BaseException as exception:
        problem = Failure(0, exception, by_function=raised_by_function(exception))
    found = dict(running.finished)
    failing = [at for at, value in found.items() if type(value) is Failure]
    if failing:
        problem = replace(found[min(failing)], offset=min(failing) - chunk.start)
    n = 1 if work.unit_format == "chunk" else len(chunk)
    returns = list(itertools.takewhile(
        lambda value: value is not NOTHING and type(value) is not Failure,
        (found.get(at, NOTHING) for at in range(chunk.start, chunk.start + n)),
    ))  # fmt: skip
    if problem is None and len(returns) < n:  # the time was up
        chunk = Chunk(chunk.start, chunk.start + len(returns))
    try:
        return Outcome(
            chunk, returns, problem, running.seconds, retried=running.retried,
            waited=running.waited if measures else None,
        )  # fmt: skip
    finally:
        problem = None  # its traceback refers to this frame
        found.clear()
        failing.clear()
