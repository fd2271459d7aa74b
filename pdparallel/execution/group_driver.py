"""The driver of methods of groups, for which only pandas knows the units of each pass."""

from __future__ import annotations

import contextlib
import itertools
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
import pandas as pd

from pdparallel.core.call import Call
from pdparallel.core.cancellation import begin, current
from pdparallel.core.chunking import Chunk
from pdparallel.core.options import Options
from pdparallel.core.outcome import Failure, Outcome
from pdparallel.core.returns import ReturnPlaceholder, Returns
from pdparallel.data.aligned_series import GroupIdentity, as_aligned
from pdparallel.data.fastpath.group import LOOK_AFTER, LazyTrial
from pdparallel.engines.registry import is_warm
from pdparallel.execution import failures, placement
from pdparallel.execution.collector import ResultCollector, annotate_exception
from pdparallel.execution.events import told_to_pandas
from pdparallel.execution.pandas_driver import LeavingError, outside
from pdparallel.execution.placement import PoolDecision
from pdparallel.execution.runner import run
from pdparallel.progress.reporter import of_all
from pdparallel.typing import Func

__all__ = ["First", "GroupDriver", "GroupPass", "GroupPasses", "PassRecord"]


@dataclass(frozen=True, slots=True)
class First:
    """The first unit of a go as the function was given it, whatever that made of it in place."""

    kind: Any
    columns: pd.Index | None
    index: pd.Index
    name: Any
    is_named: bool

    @classmethod
    def of(cls, unit: Any) -> First:
        """That of a unit, before the function is called with it."""
        if isinstance(unit, pd.Series):
            return cls(type(unit), None, unit.index, unit.name, False)
        is_named = "name" in vars(unit)
        return cls(type(unit), unit.columns, unit.index, unit.name if is_named else None, is_named)

    @property
    def is_frame(self) -> bool:
        return self.columns is not None


@dataclass(frozen=True, slots=True)
class GroupPass:
    """What pandas asks for in one go."""

    call: Call
    fits: Callable[[Any, int], bool]
    several: int = 0
    of_all: int | None = None


class GroupPasses(Protocol):
    """Foresees what pandas will ask for, go by go, by the first unit of each."""

    @property
    def tries(self) -> bool:
        """Whether there may be several gos."""

    @property
    def looks_again(self) -> bool:
        """Whether pandas looks at the labels of a unit once more, when it has the answer."""

    def size(self, number: int, first: First) -> int:
        """How many answers pandas will want in the go of that number."""

    def go(self, number: int, first: First) -> GroupPass | None:
        """That go; None where it cannot be foreseen."""

    def is_next(self, number: int, unit: Any) -> bool:
        """Whether a unit belongs to the go after that of ``number``; asked only where there may be several."""

    def place(self, number: int, unit: Any, at: int) -> str:
        """A unit of a go in words, for messages."""

    def is_shaped(self, answers: Sequence[Any]) -> bool:
        """Whether it is known what pandas makes of such answers, without asking it."""


@dataclass(slots=True)
class PassRecord:
    """What the function returned in a go that this process began, and how long that took when last looked at."""

    number: int
    first: First
    began: float
    seconds: float = 0.0
    answers: list[Any] = field(default_factory=list)
    given: list[GroupIdentity] = field(default_factory=list)
    raised: BaseException | None = None

    def returns(self) -> list[Any]:
        """The answers, as they are best kept."""
        # Asked for again and again: a million numbers are left alone.
        are_objects = bool(self.answers) and type(self.answers[0]) in (pd.DataFrame, pd.Series)
        return (
            list(map(as_aligned, self.answers, self.given or itertools.repeat(None))) if are_objects else self.answers
        )

    def outcome(self, go: GroupPass) -> Outcome:
        """The same as of the first units of the go."""
        returns = self.returns()
        if go.several:
            returns = [returns[at : at + go.several] for at in range(0, len(returns), go.several)]
        return Outcome(Chunk(0, len(returns)), returns, None, self.seconds)


class _HandOverError(BaseException):
    """Leaves pandas' own call for others to go on; no ``except Exception`` on the way stops it."""


class _UnforeseenError(Exception):
    """There is no call that others could take over."""


class GroupDriver:
    """Stands in for the function in pandas' own call of a method of groups.

    :meth:`run` lets pandas start. It keeps the answers, and leaves pandas' call if workers or lazy groups would end
    sooner. :meth:`begin` then runs the rest, and :meth:`answer` asks pandas again, with the answers that are known.
    """

    def __init__(self, func: Func, goes: GroupPasses, options: Options, fill: failures.FailureFill) -> None:
        self._func = func
        self._goes = goes
        self._options = options
        self._fill = fill
        self._kept: deque[PassRecord] = deque()
        self._passes: dict[int, GroupPass | None] = {}
        # While pandas runs: when to check, and what the checks found.
        self._stop = current()
        self._worth = PoolDecision(options, None if self._stop is None else placement.MAX_LOOK_SECONDS)
        self._next_look = 0.0
        self._began = 0.0
        self._before = 0.0
        self._trial: LazyTrial | None = None
        self._tried = False
        self._changed = False
        self._for_workers = False
        # Of the pass that is answered: its number, the rest of it, and the exception that ends it.
        self._number = -1
        self._at = 0
        self._answers: deque[Any] = deque()
        self._raises: BaseException | None = None
        self._fits: Callable[[Any, int], bool] = _any
        self._unforeseen = False
        self._packed: tuple[Returns, GroupPass] | None = None

    def run(self, ask: Callable[[Func], Any]) -> tuple[bool, Any]:
        """Let pandas start; returns whether it came to the end, and its answer."""
        begin()
        self._began = time.perf_counter()
        try:
            answer = outside(ask, self._recording())
        except _HandOverError:
            return False, None
        self._worth.record_inline_work()
        return True, answer

    def _recording(self) -> Func:
        # All that each unit needs is at hand here: what this costs, a function that does next to nothing has to pay.
        func, clock, goes, tries = self._func, time.perf_counter, self._goes, self._goes.tries
        looks_again = goes.looks_again
        kept: PassRecord | None = None
        gives_series: bool | None = None

        def watch(unit: Any, *args: Any, **kwargs: Any) -> Any:
            nonlocal kept, gives_series
            try:
                if kept is None or kept.raised is not None or (tries and goes.is_next(kept.number, unit)):
                    kept, gives_series = self._start_pass(unit), None
                elif clock() >= self._next_look:
                    self._consider(kept)
                given = None if gives_series is False else GroupIdentity.of(unit)
                if looks_again:
                    index, columns = unit.index, unit.columns if tries and unit.ndim == 2 else None
            except Exception as error:
                raise LeavingError(error) from None
            try:
                if self._trial is None:
                    value = func(unit, *args, **kwargs)
                else:
                    value = self._trial.call(func, unit, args, kwargs)
            except BaseException as exception:
                kept.raised = exception
                with contextlib.suppress(Exception):  # the exception matters more than its note
                    annotate_exception(Failure(0, exception), goes.place(kept.number, unit, len(kept.answers)))
                raise
            kept.answers.append(value)
            if looks_again and not (unit.index.is_(index) and (columns is None or unit.columns.is_(columns))):
                self._changed = True
            if gives_series is None:
                gives_series = type(value) is pd.Series
            if gives_series:
                kept.given.append(given)  # type: ignore[arg-type]  # it is there from the first unit on
            return value

        watch.__name__ = getattr(func, "__name__", "<function>")  # which pandas looks at
        return watch

    def _start_pass(self, unit: Any) -> PassRecord:
        """The next go."""
        now = time.perf_counter()
        if not self._kept:
            self._before = now - self._began
        self._trial = None
        kept = PassRecord(len(self._kept), First.of(unit), now)
        self._kept.append(kept)
        # From here on: what pandas did before says nothing of the function, and one unit little.
        self._next_look = now + self._worth.look
        return kept

    def _consider(self, kept: PassRecord) -> None:
        """Leave pandas' call if others would be done sooner, or if it is to end."""
        if self._stop is not None:
            self._stop.look()
        now = time.perf_counter()
        size, done = self._goes.size(kept.number, kept.first), len(kept.answers)
        kept.seconds = now - kept.began
        # A unit that has got other labels is one that nobody can hand to pandas again.
        if done < size and not self._changed:
            left, cost = size - done, kept.seconds / done
            with contextlib.suppress(_UnforeseenError):
                if self._trial is not None:
                    if len(self._trial.seconds) >= LOOK_AFTER:
                        self._judge(kept, left, cost)
                elif self._worth.should_use_pool(
                    cost, left, lambda: is_warm(self._options), lambda: self._so_far(kept)
                ):
                    self._for_workers = True
                    raise _HandOverError
                elif not self._tried and left > LOOK_AFTER and left * cost > placement.TRIAL_WORTH_SECONDS:
                    self._tried = True
                    if not self._goes.tries:
                        self._trial = LazyTrial(self._func)
        looked = time.perf_counter()
        kept.began += looked - now  # to look is no part of what the function takes
        self._next_look = looked if self._trial is not None else looked + self._worth.look

    def _judge(self, kept: PassRecord, left: int, cost: float) -> None:
        """Go on without pandas' loop if lazy groups save enough, by what was tried."""
        trial, self._trial = self._trial, None
        assert trial is not None
        median = sorted(trial.seconds)[len(trial.seconds) // 2]
        enough = placement.lazy_groups_pay(cost, median, left, self._before)
        if trial.pays and enough and self._goes.is_shaped(kept.returns()):
            self._so_far(kept)
            raise _HandOverError

    def _so_far(self, kept: PassRecord) -> tuple[Call, Outcome]:
        go = self._go(kept.number, kept.first)
        if go is None or (go.several and len(kept.answers) % go.several):
            raise _UnforeseenError
        return go.call, kept.outcome(go)

    def _go(self, number: int, first: First) -> GroupPass | None:
        if number not in self._passes:
            self._passes[number] = self._goes.go(number, first)
        return self._passes[number]

    # Answering

    def answer(self, ask: Callable[[Func], Any]) -> Any:
        """pandas' own answer, with what the workers recorded."""
        if self._packed is not None:
            returns, go = self._packed
            self._take(returns.values(), go)
        return outside(ask, self._answer)

    def begin(self, first: First | None = None) -> Returns | None:
        """Have the first go done; what came of it, where that is all that is known, and nothing was raised."""
        alone = len(self._kept) <= 1
        first = self._kept[0].first if self._kept else first
        assert first is not None
        returns = self._next_pass(first, unpack=False)
        return returns if alone else None

    def _answer(self, unit: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            if not self._unforeseen and (not self._answers or not self._fits(unit, self._at)) and self._raises is None:
                self._next_pass(First.of(unit))  # pandas may leave a go in the middle, when it does not like an answer
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

    def _next_pass(self, first: First, unpack: bool = True) -> Returns | None:
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
        for_workers = kept is not None and self._for_workers
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
