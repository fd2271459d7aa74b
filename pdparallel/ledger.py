"""Ledger: what came back of a call, by position, and the failure that pandas would have met first."""

from __future__ import annotations

import contextlib

from pdparallel.call import Call
from pdparallel.outcome import Failed, Failure, Outcome
from pdparallel.packing import Returns
from pdparallel.transport.outcomes import users_part

__all__ = ["Ledger", "told"]


class Ledger:
    """Takes the outcomes of a call in any order.

    Parameters
    ----------
    call : Call
        Whose outcomes come.

    Attributes
    ----------
    failure : Outcome or None
        The outcome with the first failing position so far.
    units : int
        Units whose function has returned.
    seconds : float
        How long these took where they ran, for one core.
    """

    def __init__(self, call: Call) -> None:
        self._call = call
        self._outcomes: dict[int, Outcome] = {}
        self.failure: Outcome | None = None
        self.units = 0
        self.seconds = 0.0

    def add(self, outcome: Outcome) -> None:
        """Take an outcome."""
        self._outcomes[outcome.chunk.start] = outcome
        self.units += len(outcome.chunk)
        self.seconds += outcome.seconds
        if outcome.failure is not None and not self.fails_before(outcome.chunk.start):
            self.failure = outcome

    def fails_before(self, position: int) -> bool:
        """Whether a unit before that position has failed."""
        return self.failure is not None and self.failure.chunk.start < position

    def raise_failure(self) -> None:
        """Raise the first failure, if there is one, with a note of its place and its worker's traceback as cause."""
        if self.failure is None:
            return
        failure = self.failure.failure
        assert failure is not None
        if self._call.taking is not None:
            before = [start for start in sorted(self._outcomes) if start <= self.failure.chunk.start]
            returns = Returns([self._outcomes[start].returns for start in before])
            if len(returns):
                self._call.taking(returns)
        place = self._call.where(self.failure.chunk, failure.offset)
        exception = told(failure, f"{self._call.verb}, {place}")
        raise exception.with_traceback(users_part(exception.__traceback__))

    def returns(self) -> Returns:
        """Everything that came back, in order of position."""
        returns = Returns([self._outcomes[start].returns for start in sorted(self._outcomes)])
        if self._call.work.hand != "chunk" and len(returns) != self._call.n:
            raise RuntimeError(f"{len(returns)} returns for {self._call.n} {self._call.unit}s: please report this")
        return returns


def told(failure: Failure | Failed, place: str) -> BaseException:
    """The exception, with a note of its place, and with its traceback as cause where that is a text."""
    exception = failure.exception
    # An exception class may refuse attributes; the exception matters more than its note.
    with contextlib.suppress(Exception):
        exception.add_note(f"pdparallel: {place}")
    with contextlib.suppress(Exception):
        if failure.traceback_text and exception.__cause__ is None:
            exception.__cause__ = _WorkerTraceback(failure)
    return exception


class _WorkerTraceback(Exception):  # noqa: N818 - shown as a cause, never raised
    """Shows the traceback of a worker above the exception that came from there."""

    def __init__(self, failure: Failure | Failed) -> None:
        super().__init__(f"\n\n{failure.traceback_text.rstrip()}")
