"""Collectors of the outcomes of a call, which find the failure that pandas would have met first."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace

from pdparallel.core.call import Call
from pdparallel.core.mistakes import hint_for_row
from pdparallel.core.outcome import Failed, Failure, Outcome, is_of_initializer
from pdparallel.core.returns import Returns
from pdparallel.core.tracebacks import users_lines, users_part
from pdparallel.errors import CallTimeoutError, WorkerDiedError
from pdparallel.typing import UnitFormat

__all__ = ["ResultCollector", "StreamingCollector", "annotate_exception"]


class ResultCollector:
    """Collector that keeps all outcomes, in any order, for a result that is built from all of them."""

    #: True if the caller waits for each outcome, so that none is held back for later ones.
    passes_on = False
    #: True if a result that is ready waits for those before it.
    is_ordered = False

    def __init__(self, call: Call) -> None:
        self._call = call
        self._outcomes: dict[int, Outcome] = {}
        self.keep: Callable[[Outcome], None] | None = None  # writes each outcome to the checkpoint
        self.failure: Outcome | None = None  # the one with the first failing position so far
        self.units = 0
        self.seconds = 0.0
        self.measured = self.waited = 0.0  # seconds for which it is known whether the function waited; and if it did
        self.awaited = call.work.is_async  # whether units are coroutines, so that several run at the same time
        self._looked_at = 0
        self._fails = False

    def add(self, outcome: Outcome) -> None:
        self._outcomes[outcome.chunk.start] = outcome
        self._note(outcome)
        if self._call.again is not None:
            self._look_at_assignments(self._call.again)

    def _look_at_assignments(self, again: Callable[[int], Outcome]) -> None:
        """Repeat the first row of a chunk that was assigned to, if pandas would have made that fail."""
        # That depends on the rows before, which the worker of the chunk does not know.
        while (outcome := self._outcomes.get(self._looked_at)) is not None and len(outcome.chunk):
            if outcome.assigned is not None:
                first, shares, unshared = outcome.assigned
                self._fails = self._fails and not shares
                if first is not None:
                    if self._fails:
                        outcome = self._outcomes[self._looked_at] = _with_row(outcome, first, again)
                        self._note_failure(outcome)
                    self._fails = unshared
            self._looked_at = outcome.chunk.stop
            if outcome.failure is not None:
                self._looked_at = -1

    def accepts_more(self, on_their_way: int) -> bool:
        """Return whether another chunk may start while ``on_their_way`` chunks are in flight."""
        return True

    def _note(self, outcome: Outcome) -> None:
        self.units += len(outcome.chunk)
        self.seconds += outcome.seconds
        self.awaited = self.awaited or outcome.awaited
        if outcome.waited is not None:
            self.measured += outcome.seconds
            self.waited += outcome.waited
        self._note_failure(outcome)
        if self.keep is not None:
            self.keep(outcome)

    def _note_failure(self, outcome: Outcome) -> None:
        if outcome.failure is not None and not self.fails_before(outcome.chunk.start):
            self.failure = outcome

    def fails_before(self, position: int) -> bool:
        """Return whether a unit before a position has failed."""
        return self.failure is not None and self.failure.chunk.start < position

    def raise_failure(self) -> None:
        """Raise the first failure, if there is one, with a note of its place and its worker's traceback as cause."""
        if self.failure is None:
            return
        failure = self.failure.failure
        assert failure is not None
        if self._call.validate_prefix is not None:  # pandas may reject a return before the failure, and that error wins
            before = [start for start in sorted(self._outcomes) if start <= self.failure.chunk.start]
            returns = Returns([self._outcomes[start].returns for start in before])
            if len(returns):
                self._call.validate_prefix(returns)
        place = self._call.where(self.failure.chunk, failure.offset)
        exception = annotate_exception(failure, f"{self._call.verb}, {place}", self._call.work.unit_format)
        of_function = users_lines if failure.by_function else users_part
        raise exception.with_traceback(of_function(exception.__traceback__))

    def is_of_the_function(self, exception: BaseException) -> bool:
        """Return whether an exception is the first failure and the user's function raised it."""
        failure = None if self.failure is None else self.failure.failure
        return failure is not None and failure.exception is exception and failure.by_function

    def returns(self) -> Returns:
        """Return all values that the function returned, in order of position."""
        returns = Returns([self._outcomes[start].returns for start in sorted(self._outcomes)])
        if self._call.work.unit_format != "chunk" and len(returns) != self._call.n:
            raise RuntimeError(f"{len(returns)} returns for {self._call.n} {self._call.unit}s: please report this")
        return returns


def _with_row(outcome: Outcome, offset: int, again: Callable[[int], Outcome]) -> Outcome:
    """Return the outcome with the result of a repeated call for one row."""
    one = again(outcome.chunk.start + offset)
    returns, failure = list(outcome.returns), outcome.failure
    if one.failure is not None:
        return replace(outcome, returns=returns[:offset], failure=replace(one.failure, offset=offset))
    returns[offset : offset + 1] = one.returns
    if failure is not None and failure.offset == offset:
        failure = None
    return replace(outcome, returns=returns, failure=failure)


class StreamingCollector(ResultCollector):
    """Collector that passes outcomes on and forgets them, for results that may exceed memory."""

    passes_on = True

    def __init__(self, call: Call, ordered: bool, most: int) -> None:
        super().__init__(call)
        self.is_ordered = ordered
        self._most = most  # chunks in flight, or waiting for earlier ones
        self._next = 0

    def accepts_more(self, on_their_way: int) -> bool:
        return on_their_way + len(self._outcomes) < self._most

    def taken(self) -> Iterator[Outcome]:
        """Yield the outcomes that can be passed on now; if ordered, none after a failure."""
        while self._outcomes:
            start = self._next if self.is_ordered else next(iter(self._outcomes))
            outcome = self._outcomes.pop(start, None)
            if outcome is None:
                return
            self._next = outcome.chunk.stop if outcome.failure is None else -1
            yield outcome


def annotate_exception(failure: Failure | Failed, place: str, unit_format: UnitFormat | None = None) -> BaseException:
    """Return the exception of a failure with notes of its place and, for a wrong unit format, a hint."""
    exception = failure.exception
    # An exception class may refuse attributes; the exception matters more than its note.
    with contextlib.suppress(Exception):
        names_unit = isinstance(exception, (CallTimeoutError, WorkerDiedError)) and exception._names_unit
        if not names_unit and not is_of_initializer(exception):
            exception.add_note(f"pdparallel: {place}")
        hint = None if unit_format is None else hint_for_row(exception, unit_format)
        if hint is not None:
            exception.add_note(f"pdparallel: {hint}")
    with contextlib.suppress(Exception):
        if failure.traceback_text and exception.__cause__ is None:
            exception.__cause__ = WorkerTraceback(failure)
    return exception


class WorkerTraceback(Exception):  # noqa: N818 - shown as a cause, never raised
    """Cause of an exception that shows its traceback in the worker."""

    def __init__(self, failure: Failure | Failed) -> None:
        super().__init__(f"in a worker process\n\n{failure.traceback_text.rstrip()}")
