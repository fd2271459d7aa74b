"""Stand-in: stands in pandas' own call for the user's function, where only pandas knows what it calls it with.

What ``groupby(...).agg(f)`` does with what ``f`` returns, or with what it raises, is pandas' own to decide, and differs
from version to version.  So pandas is asked each time, and gets a function that it cannot tell from the user's:

- *watching* (:mod:`pdparallel.execution.pandas_driver`), it calls the user's function and keeps what that
  returns.  Where the rest is worth it, others do it, from the unit on that pandas has come to;
- *answering*, it knows from the first unit what pandas will ask for in one go, has it done by the workers, and hands
  out what they recorded.  Where pandas then asks for something else, as after an exception that it did not expect, that
  is one more go; where it asks for what nobody foresaw, the user's function answers itself.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from pdparallel.core.options import Options
from pdparallel.core.returns import ReturnPlaceholder, Returns
from pdparallel.execution import failures
from pdparallel.execution.collector import ResultCollector
from pdparallel.execution.events import told_to_pandas
from pdparallel.execution.pandas_driver import First, GroupPass, GroupPasses, PandasDriver
from pdparallel.execution.runner import run
from pdparallel.progress.reporter import of_all
from pdparallel.typing import Func

__all__ = ["LeavingError", "ReplayFunction", "outside"]


class ReplayFunction:
    """Stands in for a function in a call of pandas.

    Parameters
    ----------
    func : callable
        The user's function.
    goes : Goes
        What pandas will ask for.
    options : Options
        How it is done.
    fill : callable
        What stands for a call of the function that failed.
    """

    def __init__(self, func: Func, goes: GroupPasses, options: Options, fill: failures.FailureFill) -> None:
        self._func = func
        self._goes = goes
        self._options = options
        self._fill = fill
        self._watching = PandasDriver(func, goes, options, self._go)
        self._kept = self._watching.kept
        self._passes: dict[int, GroupPass | None] = {}
        # Of the go that is answered: its number, what is left of it, and what ends it.
        self._number = -1
        self._at = 0
        self._answers: deque[Any] = deque()
        self._raises: BaseException | None = None
        self._fits: Callable[[Any, int], bool] = _any
        self._unforeseen = False
        self._packed: tuple[Returns, GroupPass] | None = None

    def watched(self, ask: Callable[[Func], Any]) -> tuple[bool, Any]:
        """Let pandas begin; see :meth:`pdparallel.execution.pandas_driver.Watching.watched`."""
        return self._watching.watched(ask)

    def _go(self, number: int, first: First) -> GroupPass | None:
        if number not in self._passes:
            self._passes[number] = self._goes.go(number, first)
        return self._passes[number]

    # Answering

    def answer(self, ask: Callable[[Func], Any]) -> Any:
        """pandas' own answer, with what the workers recorded.

        Parameters
        ----------
        ask : callable
            Takes a function; pandas' own call with it.
        """
        if self._packed is not None:
            returns, go = self._packed
            self._take(returns.values(), go)
        return outside(ask, self._answer)

    def begin(self, first: First | None = None) -> Returns | None:
        """Have the first go done; what came of it, where that is all that is known, and nothing was raised.

        Parameters
        ----------
        first : First, optional
            Its first unit, where pandas did not begin.
        """
        alone = len(self._kept) <= 1
        first = self._kept[0].first if self._kept else first
        assert first is not None
        returns = self._begin(first, unpack=False)
        return returns if alone else None

    def _answer(self, unit: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            if not self._unforeseen and (not self._answers or not self._fits(unit, self._at)) and self._raises is None:
                self._begin(First.of(unit))  # pandas may leave a go in the middle, when it does not like an answer
                self._unforeseen = self._unforeseen or not self._fits(unit, 0)
            if self._unforeseen:
                told_to_pandas()
            elif self._answers:
                self._at += 1
                value = self._answers.popleft()
                return value.restore(unit) if isinstance(value, ReturnPlaceholder) else value
        except Exception as error:  # only what the function raised is for pandas
            raise LeavingError(error) from None
        if self._unforeseen:
            return self._by_itself(unit, *args, **kwargs)
        assert self._raises is not None
        raises, self._raises = self._raises, None
        raise raises

    def _begin(self, first: First, unpack: bool = True) -> Returns | None:
        """Have the next go done, or take what is kept of it."""
        self._number, self._at, self._fits = self._number + 1, 0, _any
        self._answers.clear()
        kept = self._kept.popleft() if self._kept else None
        if kept is not None and (self._kept or kept.raised is not None):
            self._answers, self._raises = deque(kept.returns()), kept.raised
            return None
        go = self._go(self._number, first)
        if go is None:
            self._unforeseen = True
            return None
        self._fits = go.fits
        before: list[Any] = []
        call = replace(go.call, validate_prefix=before.extend)
        collector = ResultCollector(call)
        for_workers = kept is not None and self._watching.for_workers
        prefix = None if kept is None else kept.outcome(go)
        try:
            with of_all(go.of_all):
                returns = run(call, self._options, prefix, for_workers, collector)
        except Exception as exception:  # of which pandas may make something, or of an answer before it
            if not collector.is_of_the_function(exception):
                raise
            self._raises = exception
            self._take(before, go)
            return None
        failures.replace_failures(call, returns, self._fill)
        if unpack:
            self._take(returns.values(), go)
        else:
            self._packed = returns, go
        return returns

    def _take(self, values: list[Any], go: GroupPass) -> None:
        if go.several:
            # What stands for a call that failed does so for each of its answers.
            lists = (value if type(value) is list else [value] * go.several for value in values)
            values = list(itertools.chain.from_iterable(lists))
        self._answers.extend(values)

    def _by_itself(self, unit: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return self._func(unit, *args, **kwargs)
        except Exception as exception:
            if self._options.errors == "raise":
                raise
            return exception if self._options.errors == "return" else np.nan


def _any(unit: Any, at: int) -> bool:
    return True


# Leaving: how an error that is not the function's comes out of a call of pandas, which catches many an exception


class LeavingError(BaseException):
    """Carries an error out of pandas' own call; no ``except Exception`` on the way stops it.

    Parameters
    ----------
    error : BaseException
        What is raised outside.
    """

    def __init__(self, error: BaseException) -> None:
        self.error = error


def outside(ask: Callable[[Func], Any], func: Func) -> Any:
    """pandas' own call with a function; an error that left it is raised as it was."""
    try:
        return ask(func)
    except LeavingError as leaving:
        error = leaving.error
    try:
        raise error  # out of the block above, whose exception would be shown as its context
    finally:
        del error  # its traceback leads to this frame: a circle
