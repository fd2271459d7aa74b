"""The driver of methods of groups, for which only pandas knows the units of each pass."""

from __future__ import annotations

import contextlib
import itertools
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from types import CoroutineType
from typing import Any, Protocol

import numpy as np
import pandas as pd

from pdparallel.core.awaitables import then
from pdparallel.core.call import Call
from pdparallel.core.cancellation import current, mark_started
from pdparallel.core.chunking import Chunk
from pdparallel.core.columnar import ReturnPlaceholder
from pdparallel.core.options import Options
from pdparallel.core.outcome import Failure, Outcome
from pdparallel.core.returns import Returns
from pdparallel.data.aligned_series import GroupIdentity, as_aligned
from pdparallel.data.fastpath.group import LOOK_AFTER, LazyTrial
from pdparallel.engines.registry import is_warm
from pdparallel.execution import failures, placement
from pdparallel.execution.collector import ResultCollector, annotate_exception
from pdparallel.execution.events import told_to_pandas
from pdparallel.execution.pandas_driver import LeavingError, outside
from pdparallel.execution.placement import PoolDecision
from pdparallel.execution.runner import run
from pdparallel.execution.waiting import Asked, WaitingHint
from pdparallel.progress.reporter import of_all
from pdparallel.typing import Func
from pdparallel.worker.event_loop import blocking
from pdparallel.worker.waiting import WaitClock

__all__ = ["First", "GroupDriver", "GroupPass", "GroupPasses", "PassRecord"]


@dataclass(frozen=True, slots=True)
class First:
    """First unit of a pass, as it was before the function could change it in place."""

    kind: Any
    columns: pd.Index | None
    index: pd.Index
    name: Any
    is_named: bool

    @classmethod
    def of(cls, unit: Any) -> First:
        """Describe a unit before the function is called with it."""
        if isinstance(unit, pd.Series):
            return cls(type(unit), None, unit.index, unit.name, False)
        is_named = "name" in vars(unit)
        return cls(type(unit), unit.columns, unit.index, unit.name if is_named else None, is_named)

    @property
    def is_frame(self) -> bool:
        return self.columns is not None


@dataclass(frozen=True, slots=True)
class GroupPass:
    """The calls of the function that pandas makes in one pass over the groups."""

    call: Call
    fits: Callable[[Any, int], bool]
    several: int = 0
    of_all: int | None = None


class GroupPasses(Protocol):
    """Predicts the passes of pandas; each by its number and first unit."""

    @property
    def tries(self) -> bool:
        """Whether pandas may make several passes."""

    @property
    def looks_again(self) -> bool:
        """Whether pandas reads the labels of a unit again after the call."""

    @property
    def verb(self) -> str:
        """The method as users write it."""

    def size(self, number: int, first: First) -> int:
        """Return the number of answers in a pass."""

    def next_pass(self, number: int, first: First) -> GroupPass | None:
        """Return the pass, or None if it cannot be predicted."""

    def is_next(self, number: int, unit: Any) -> bool:
        """Return whether a unit belongs to the pass after ``number``."""

    def place(self, number: int, unit: Any, at: int) -> str:
        """Return the place of a unit in words, for messages."""

    def is_shaped(self, answers: Sequence[Any]) -> bool:
        """Return whether the result of such answers is known without pandas."""


@dataclass(slots=True)
class PassRecord:
    """Answers of a pass that pandas started, and the seconds up to the last check."""

    number: int
    first: First
    began: float
    seconds: float = 0.0
    measured: float = 0.0
    waited: float = 0.0
    answers: list[Any] = field(default_factory=list)
    given: list[GroupIdentity] = field(default_factory=list)
    raised: BaseException | None = None

    def returns(self) -> list[Any]:
        """Return the answers in their compact form."""
        # This is called often, so a million numbers stay as they are.
        are_objects = bool(self.answers) and type(self.answers[0]) in (pd.DataFrame, pd.Series)
        return (
            list(map(as_aligned, self.answers, self.given or itertools.repeat(None))) if are_objects else self.answers
        )

    def outcome(self, group_pass: GroupPass) -> Outcome:
        """Return the answers as the outcome of the first units of the pass."""
        returns = self.returns()
        if group_pass.several:
            returns = [returns[at : at + group_pass.several] for at in range(0, len(returns), group_pass.several)]
        # The time before the first check is not measured.
        waited = self.waited * self.seconds / self.measured if self.measured else None
        return Outcome(Chunk(0, len(returns)), returns, None, self.seconds, waited=waited)


class _HandOverError(BaseException):
    """Leaves pandas' call, because others finish sooner. It is no ``Exception``, so that pandas does not catch it."""


class _UnforeseenError(Exception):
    """The pass cannot be predicted, so others cannot continue it."""


class GroupDriver:
    """Stands in for the function in pandas' own call of a method of groups.

    :meth:`run` lets pandas start. It keeps the answers, and leaves pandas' call if workers or lazy groups would end
    sooner. :meth:`run_first_pass` then runs the rest. :meth:`answer` asks pandas again, with the known answers.
    """

    def __init__(self, func: Func, passes: GroupPasses, options: Options, fill: failures.FailureFill) -> None:
        self._func = func
        self._predicted = passes
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
        self._clock: WaitClock | None = None
        self._looked = 0.0
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
        mark_started()
        hint = WaitingHint(self._options)
        self._began = time.perf_counter()
        try:
            answer = outside(ask, self._recording())
        except _HandOverError:
            return False, None
        self._worth.record_inline_work()
        if self._clock is not None:
            groups, measured = sum(len(one.answers) for one in self._kept), sum(one.measured for one in self._kept)
            waited = sum(one.waited for one in self._kept)
            asked = Asked(self._predicted.verb, "group", self._func)
            hint.judge(asked, time.perf_counter() - self._began, groups, measured, waited)
        return True, answer

    def _recording(self) -> Func:
        # Local names only: a function that does nearly nothing pays for each lookup.
        func, clock, passes, tries = self._func, time.perf_counter, self._predicted, self._predicted.tries
        looks_again = passes.looks_again
        kept: PassRecord | None = None
        gives_series: bool | None = None

        def watch(unit: Any, *args: Any, **kwargs: Any) -> Any:
            nonlocal kept, gives_series
            try:
                if kept is None or kept.raised is not None or (tries and passes.is_next(kept.number, unit)):
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
                self._note_raised(kept, unit, exception)
                raise
            if type(value) is CoroutineType:
                value = self._await(kept, value, unit)
            kept.answers.append(value)
            if looks_again and not (unit.index.is_(index) and (columns is None or unit.columns.is_(columns))):
                self._changed = True
            if gives_series is None:
                gives_series = type(value) is pd.Series
            if gives_series:
                kept.given.append(given)  # type: ignore[arg-type]  # set from the first unit on
            return value

        watch.__name__ = getattr(func, "__name__", "<function>")  # which pandas looks at
        return watch

    def _await(self, kept: PassRecord, value: Any, unit: Any) -> Any:
        """Leave pandas' call, because the function gives coroutines. If its units are not known, wait for this one."""
        given = GroupIdentity.of(unit)
        kept.answers.append(then(value, lambda value: as_aligned(value, given)))
        with contextlib.suppress(_UnforeseenError):
            self._so_far(kept)
            group_pass = self._pass(kept.number, kept.first)
            if group_pass is not None and not group_pass.several and not self._predicted.looks_again:
                raise _HandOverError
        kept.answers.pop().close()  # of the wrapper only
        try:
            return blocking(lambda: value)()
        except BaseException as exception:
            self._note_raised(kept, unit, exception)
            raise

    def _note_raised(self, kept: PassRecord, unit: Any, exception: BaseException) -> None:
        """Keep the exception of a call, and add a note of its group."""
        kept.raised = exception
        with contextlib.suppress(Exception):  # the exception matters more than its note
            place = self._predicted.place(kept.number, unit, len(kept.answers))
            annotate_exception(Failure(0, exception), place)

    def _start_pass(self, unit: Any) -> PassRecord:
        """Start the record of the next pass."""
        now = time.perf_counter()
        if not self._kept:
            self._before = now - self._began
        self._trial = None
        kept = PassRecord(len(self._kept), First.of(unit), now)
        self._kept.append(kept)
        self._restart_clock(now)
        # Measure from here on. What pandas did before says nothing about the function.
        self._next_look = now + self._worth.check_interval
        return kept

    def _consider(self, kept: PassRecord) -> None:
        """Leave pandas' call if others finish sooner, or if the call was cancelled."""
        if self._stop is not None:
            self._stop.raise_if_cancelled()
        now = time.perf_counter()
        size, done = self._predicted.size(kept.number, kept.first), len(kept.answers)
        kept.seconds = now - kept.began
        if self._clock is None:  # short calls do not pay for it
            self._clock = WaitClock()
        else:
            kept.measured += now - self._looked
            kept.waited += self._clock.waited(now - self._looked)
        # After a change of labels in place, pandas cannot be given that unit again.
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
                    if not self._predicted.tries:
                        self._trial = LazyTrial(self._func)
        looked = time.perf_counter()
        kept.began += looked - now  # the check is no part of the function's time
        self._next_look = looked if self._trial is not None else looked + self._worth.check_interval
        self._restart_clock(looked)

    def _restart_clock(self, now: float) -> None:
        self._looked = now
        if self._clock is not None:
            self._clock.start()

    def _judge(self, kept: PassRecord, left: int, cost: float) -> None:
        """Leave pandas' loop if the trial shows that lazy groups save enough."""
        trial, self._trial = self._trial, None
        assert trial is not None
        median = sorted(trial.seconds)[len(trial.seconds) // 2]
        enough = placement.lazy_groups_pay(cost, median, left, self._before)
        if trial.pays and enough and self._predicted.is_shaped(kept.returns()):
            self._so_far(kept)
            raise _HandOverError

    def _so_far(self, kept: PassRecord) -> tuple[Call, Outcome]:
        group_pass = self._pass(kept.number, kept.first)
        if group_pass is None or (group_pass.several and len(kept.answers) % group_pass.several):
            raise _UnforeseenError
        return group_pass.call, kept.outcome(group_pass)

    def _pass(self, number: int, first: First) -> GroupPass | None:
        if number not in self._passes:
            self._passes[number] = self._predicted.next_pass(number, first)
        return self._passes[number]

    def answer(self, ask: Callable[[Func], Any]) -> Any:
        """Call pandas again, with the recorded answers."""
        if self._packed is not None:
            returns, group_pass = self._packed
            self._take(returns.values(), group_pass)
        return outside(ask, self._answer)

    def run_first_pass(self, first: First | None = None) -> Returns | None:
        """Run the first pass; return its answers if it is the only one and nothing was raised."""
        alone = len(self._kept) <= 1
        first = self._kept[0].first if self._kept else first
        assert first is not None
        returns = self._next_pass(first, unpack=False)
        return returns if alone else None

    def _answer(self, unit: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            if not self._unforeseen and (not self._answers or not self._fits(unit, self._at)) and self._raises is None:
                self._next_pass(First.of(unit))  # pandas may end a pass early
                self._unforeseen = self._unforeseen or not self._fits(unit, 0)
            if self._unforeseen:
                told_to_pandas()
            elif self._answers:
                self._at += 1
                value = self._answers.popleft()
                return value.restore(unit) if isinstance(value, ReturnPlaceholder) else value
        except Exception as error:  # pandas may catch only what the function raised
            raise LeavingError(error) from None
        if self._unforeseen:
            return self._by_itself(unit, *args, **kwargs)
        assert self._raises is not None
        raises, self._raises = self._raises, None
        raise raises

    def _next_pass(self, first: First, unpack: bool = True) -> Returns | None:
        """Run the next pass, or take its recorded answers."""
        self._number, self._at, self._fits = self._number + 1, 0, _any
        self._answers.clear()
        kept = self._kept.popleft() if self._kept else None
        if kept is not None and (self._kept or kept.raised is not None):
            self._answers, self._raises = deque(kept.returns()), kept.raised
            return None
        group_pass = self._pass(self._number, first)
        if group_pass is None:
            self._unforeseen = True
            return None
        self._fits = group_pass.fits
        before: list[Any] = []
        call = replace(group_pass.call, validate_prefix=before.extend)
        collector = ResultCollector(call)
        for_workers = kept is not None and self._for_workers
        prefix = None if kept is None else kept.outcome(group_pass)
        try:
            with of_all(group_pass.of_all):
                returns = run(call, self._options, prefix, for_workers, collector)
        except Exception as exception:  # pandas may catch it, or reject an answer before it
            if not collector.is_of_the_function(exception):
                raise
            self._raises = exception
            self._take(before, group_pass)
            return None
        failures.replace_failures(call, returns, self._fill)
        if unpack:
            self._take(returns.values(), group_pass)
        else:
            self._packed = returns, group_pass
        return returns

    def _take(self, values: list[Any], group_pass: GroupPass) -> None:
        if group_pass.several:
            # A placeholder of a failed call stands for each of its answers.
            lists = (value if type(value) is list else [value] * group_pass.several for value in values)
            values = list(itertools.chain.from_iterable(lists))
        self._answers.extend(values)

    def _by_itself(self, unit: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            value = self._func(unit, *args, **kwargs)
            return blocking(lambda: value)() if type(value) is CoroutineType else value
        except Exception as exception:
            if self._options.errors == "raise":
                raise
            return exception if self._options.errors == "return" else np.nan


def _any(unit: Any, at: int) -> bool:
    return True
