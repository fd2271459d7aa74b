"""Substitutes for the user's function inside pandas' own calls.

:class:`PandasStart` lets pandas start a small call. :func:`run_in_pandas` lets pandas make a whole call, if only pandas
knows the units. Groups have a driver of their own, :mod:`pdparallel.execution.group_driver`. An error of this package
leaves pandas' call as a :class:`LeavingError`, because pandas catches many an ``Exception``.
"""

from __future__ import annotations

import contextlib
import math
import sys
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import replace
from types import CoroutineType
from typing import Any

import pandas as pd

from pdparallel.core import random_state
from pdparallel.core.awaitables import gives_coroutine
from pdparallel.core.call import Call, Work
from pdparallel.core.cancellation import mark_started
from pdparallel.core.options import Options
from pdparallel.core.outcome import Assigned, Failed, Outcome
from pdparallel.core.returns import Returns
from pdparallel.data.fastpath.row import blocks_of, is_unshared
from pdparallel.execution import failures, placement
from pdparallel.execution.events import told_to_pandas
from pdparallel.execution.inline import BLOCK_SECONDS, MAX_IN_BLOCK, outcome_of
from pdparallel.progress.reporter import ProgressScope, count_calls
from pdparallel.typing import Func
from pdparallel.worker.event_loop import blocking
from pdparallel.worker.loop import calling, prepare
from pdparallel.worker.retrying import retrying

__all__ = [
    "LeavingError",
    "PandasStart",
    "PandasStoppedError",
    "inline_context",
    "outside",
    "run_in_pandas",
]


@contextlib.contextmanager
def inline_context(work: Work) -> Iterator[None]:
    """Give the function in this process the initializer and the random numbers that it has in a worker."""
    told_to_pandas()
    mark_started()
    prepare(work)
    with random_state.whole(work.seed):
        yield


def run_in_pandas(
    call: Call, ask: Callable[[Func], Any], options: Options, fill: failures.FailureFill, placeholder: Any,
    seen: list[Any] | None = None, shape: Callable[[Returns], Any] | None = None, prefix: Outcome | None = None,
) -> Any:  # fmt: skip
    """Let pandas call the function here, because only pandas knows its units.

    ``seen`` receives the units if they are labels. pandas gets ``placeholder`` for a failed call; ``shape`` makes the
    result again with what takes its place.
    """
    work, repeats = retrying(call.work)
    func = count_calls(
        calling(work), options.progress, options.desc or call.verb, call.unit,
        int if repeats is None else lambda: repeats.retried,
    )  # fmt: skip
    kept: list[Any] = []
    done = [] if prefix is None else Returns([prefix.returns]).values()

    def keep(unit: Any) -> Any:
        if seen is not None:
            seen.append(unit)
        value = done[len(kept)] if len(kept) < len(done) else func(unit)
        if gives_coroutine(value):
            value = blocking(lambda coroutine: coroutine)(value)
        kept.append(value)
        return placeholder if type(value) is Failed else value

    with ProgressScope(), inline_context(call.work):
        result = ask(keep)
        returns = Returns([kept])
        return shape(returns) if failures.replace_failures(call, returns, fill) and shape is not None else result


class PandasStoppedError(BaseException):
    """Ends pandas' loop. It is no ``Exception``, so that pandas does not catch it."""


class PandasStart:
    """Function that pandas calls in place of the user's, until the first check is due.

    ``is_worth`` takes the seconds and the number of calls so far, and the seconds before the first call. It decides
    whether to stop pandas. By default pandas is stopped.
    """

    def __init__(self, work: Work, is_worth: Callable[[float, int, float], bool] | None = None) -> None:
        self.returns: list[Any] = []
        self.seconds = 0.0
        self.failure: BaseException | None = None
        self.assigned: Assigned | None = None
        self._work = work
        self._is_worth = is_worth

    def function(self) -> Func:
        """Return the function for pandas. Call this once."""
        calls = self._calls(calling(self._work), time.perf_counter())
        next(calls)
        # send() is a C function that calls a Python function without C between, so it costs no more than that.
        return calls.send

    def outcome(self) -> Outcome:
        """Return the returns so far as the outcome of a chunk."""
        called = len(self.returns) + (self.failure is not None)
        found = outcome_of(called, self.returns, self.failure, self.seconds)
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
                if type(value) is CoroutineType:
                    keep(value)
                    self.seconds = clock() - began
                    raise PandasStoppedError
                # pandas reuses one Series, with other data in it.
                keep(value.copy(deep=False) if value is unit and isinstance(value, pd.Series) else value)
                unit = yield value
            now = clock()
            if now > until:
                self.seconds = now - began
                if self._is_worth is None or self._is_worth(self.seconds, len(self.returns), began - made):
                    if blocks_of(unit) is not blocks:
                        self.assigned = Assigned(0, False, is_unshared(unit))
                    raise PandasStoppedError
                size, until = sys.maxsize, math.inf
            elif now - block < BLOCK_SECONDS:
                size = min(4 * size, MAX_IN_BLOCK)
            block = now


class LeavingError(BaseException):
    """Carries an error out of pandas' own call. It is no ``Exception``, so that pandas does not catch it."""

    def __init__(self, error: BaseException) -> None:
        self.error = error


def outside(ask: Callable[[Func], Any], func: Func) -> Any:
    """Call pandas with a function; raise the error that a :class:`LeavingError` carries."""
    try:
        return ask(func)
    except LeavingError as leaving:
        error = leaving.error
    try:
        raise error  # outside of the block above, whose exception would be shown as its context
    finally:
        del error  # its traceback refers to this frame
