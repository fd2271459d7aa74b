"""Beginning: how a small call costs what it costs in pandas: pandas makes it, or a plain loop over its values.

Either is stopped where it takes long.  What the function returned by then is kept, and the runner goes on from there.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import operator
import sys
import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd

from pdparallel.core import random_state
from pdparallel.core.call import Work
from pdparallel.core.cancellation import begin, current
from pdparallel.core.chunking import Chunk
from pdparallel.core.options import Options
from pdparallel.core.outcome import Assigned, Failure, Outcome
from pdparallel.data.fastpath.row import blocks_of, is_unshared
from pdparallel.execution import placement
from pdparallel.execution.events import observed, told_to_pandas
from pdparallel.typing import Func
from pdparallel.worker.loop import calling, prepare

__all__ = ["Beginning", "PandasStoppedError", "begins_here", "called_here", "done_here", "ends_by_clock"]

#: Seconds of a block of calls inside pandas, between two looks at the clock.
BLOCK_SECONDS = 0.001

#: Calls of a block at most, however light they are: those that follow may be heavy.
MAX_IN_BLOCK = 512


def begins_here(options: Options) -> bool:
    """Whether pandas itself may begin: with options under which each call of the function is what pandas would do."""
    return (
        not observed() and options.engine == "auto" and options.errors == "raise" and options.progress is False
        and options.timeout is None and options.initializer is None
        and options.seed is None and options.checkpoint is None
    )  # fmt: skip


def ends_by_clock(options: Options) -> bool:
    """Whether a call may begin here that is ended by the clock, and by nobody else who says where or when."""
    return options.chunk_size is None and begins_here(options) and current() is None


@contextlib.contextmanager
def called_here(work: Work) -> Iterator[None]:
    """For what pandas calls in this process: with the initializer and the random numbers that it has in a worker."""
    told_to_pandas()
    begin()
    prepare(work)
    with random_state.whole(work.seed):
        yield


def done_here(work: Work, units: Sequence[Any]) -> Outcome:
    """As many of the units as some milliseconds are enough for, without all that a runner needs."""
    func, returns, clock = calling(work), list[Any](), time.perf_counter
    rest, left, size = iter(units), len(units), 1
    failure: BaseException | None = None
    began = block = now = clock()
    try:
        while True:
            size = min(size, left)
            left -= size
            # Not by map(), which takes a StopIteration of the function for its own end.
            returns += [func(unit) for unit in itertools.islice(rest, size)]
            now = clock()
            if not left or now - began > placement.LOOK_SECONDS:
                break
            if now - block < BLOCK_SECONDS:
                size = min(4 * size, MAX_IN_BLOCK)
            block = now
    except BaseException as exception:
        failure = exception
    try:
        called = len(units) - operator.length_hint(rest)
        return _outcome(max(called, 1), returns, failure, now - began)  # an interrupt may come before the first
    finally:
        failure = None  # its traceback leads to this frame: a circle


def _outcome(called: int, returns: list[Any], exception: BaseException | None, seconds: float) -> Outcome:
    """Of so many first units, without the frame that called the function for them; the last one raised, if any did."""
    if exception is None:
        return Outcome(Chunk(0, called), returns, None, seconds)
    below = exception.__traceback__.tb_next if exception.__traceback__ is not None else None
    exception = exception.with_traceback(below or exception.__traceback__)
    failure = Failure(called - 1, exception, by_function=isinstance(exception, Exception))
    return Outcome(Chunk(0, called), returns, failure, seconds)


class PandasStoppedError(BaseException):
    """Ends pandas' own loop; no ``except Exception`` on the way stops it."""


class Beginning:
    """A function that pandas calls in the place of the user's, until it has taken some milliseconds."""

    def __init__(self, work: Work) -> None:
        self.returns: list[Any] = []
        self.seconds = 0.0
        self.failure: BaseException | None = None
        self.assigned: Assigned | None = None
        self._work = work

    def begin(self) -> Func:
        """The function for pandas, asked for once."""
        calls = self._calls(calling(self._work), time.perf_counter())
        next(calls)
        # C calls this, and it calls a function of Python without C between: together no slower than C calls that.
        return calls.send

    def outcome(self) -> Outcome:
        """What has come so far, as of a chunk; a failure ends it."""
        called = len(self.returns) + (self.failure is not None)
        found = _outcome(called, self.returns, self.failure, self.seconds)
        return found if self.assigned is None else replace(found, assigned=self.assigned)

    def _calls(self, func: Func, made: float) -> Generator[Any, Any, None]:
        keep, clock = self.returns.append, time.perf_counter
        unit = yield
        blocks = blocks_of(unit)
        began = block = clock()
        until, size = began + placement.LOOK_SECONDS, 1
        while True:
            for _ in range(size):
                try:
                    value = func(unit)
                except BaseException as exception:
                    self.failure = exception
                    raise PandasStoppedError from None
                # pandas hands out one Series again and again with other data in it.
                keep(value.copy(deep=False) if value is unit and isinstance(value, pd.Series) else value)
                unit = yield value
            now = clock()
            if now > until:
                self.seconds = now - began
                if self._is_worth(began - made):
                    if blocks_of(unit) is not blocks:
                        self.assigned = Assigned(0, False, is_unshared(unit))
                    raise PandasStoppedError
                size, until = sys.maxsize, math.inf
            elif now - block < BLOCK_SECONDS:
                size = min(4 * size, MAX_IN_BLOCK)
            block = now

    def _is_worth(self, before: float) -> bool:
        """Asked once, after some milliseconds."""
        return True
