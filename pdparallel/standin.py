"""Stand-in: stands in pandas' own call for the user's function, where only pandas knows what it calls it with.

What ``groupby(...).agg(f)`` does with what ``f`` returns, or with what it raises, is pandas' own to decide, and differs
from version to version.  So pandas is asked each time, and gets a function that it cannot tell from the user's:

- *watching*, it calls the user's function and keeps what that returns.  A call that is soon done is pandas' own, and
  costs what pandas costs.  Where the rest is worth workers, they do it, from the unit on that pandas has come to;
- *answering*, it knows from the first unit what pandas will ask for in one go, has it done by the workers, and hands
  out what they recorded.  Where pandas then asks for something else, as after an exception that it did not expect, that
  is one more go; where it asks for what nobody foresaw, the user's function answers itself.
"""

from __future__ import annotations

import contextlib
import itertools
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np

from pdparallel import missing
from pdparallel.auto import MOST_LOOK_SECONDS, Worth
from pdparallel.call import Call
from pdparallel.engines.registry import is_warm
from pdparallel.ledger import told
from pdparallel.likeness import Given, Like, likened
from pdparallel.observing import told_to_pandas
from pdparallel.options import Options
from pdparallel.outcome import Failure, Outcome
from pdparallel.packing import Returns
from pdparallel.plan import Chunk
from pdparallel.progress import of_all
from pdparallel.runner import run
from pdparallel.stopping import begin, current
from pdparallel.typing import Func

__all__ = ["Go", "Goes", "StandIn"]


@dataclass(frozen=True, slots=True)
class Go:
    """What pandas asks for in one go.

    Attributes
    ----------
    call : Call
        The units, and what is called with them.
    fits : callable
        Takes a unit and its number: whether that is the one which pandas was expected to ask for.
    several : int
        Answers that a return of the call holds, as a list; 0 where a return is an answer.
    of_all : int or None
        Units in all, where further gos follow this one; 0 where its units were counted in one before.
    """

    call: Call
    fits: Callable[[Any, int], bool]
    several: int = 0
    of_all: int | None = None


class Goes(Protocol):
    """Foresees what pandas will ask for, go by go, by the first unit of each."""

    def size(self, number: int, first: Any) -> int:
        """How many answers pandas will want in the go of that number."""

    def go(self, number: int, first: Any) -> Go | None:
        """That go; None where it cannot be foreseen."""

    def is_next(self, number: int, unit: Any) -> bool:
        """Whether a unit belongs to the go after that of ``number``."""

    def place(self, number: int, unit: Any, at: int) -> str:
        """A unit of a go in words, for messages."""


class _HandOverError(BaseException):
    """Leaves pandas' own call for the workers; no ``except Exception`` on the way stops it."""


@dataclass(slots=True)
class _Kept:
    """What the function returned in a go that this process began, and how long that took when last looked at.

    ``raised`` ended it, if anything did.
    """

    number: int
    first: Any
    began: float
    seconds: float = 0.0
    answers: list[Any] = field(default_factory=list)
    raised: BaseException | None = None


class StandIn:
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

    def __init__(self, func: Func, goes: Goes, options: Options, fill: missing.Fill) -> None:
        self.__name__ = getattr(func, "__name__", "<function>")  # which pandas looks at
        self._func = func
        self._goes = goes
        self._options = options
        self._fill = fill
        self._stop = current()
        self._worth = Worth(options, None if self._stop is None else MOST_LOOK_SECONDS)
        self._next_look = 0.0
        self._kept: deque[_Kept] = deque()
        self._gos: dict[int, Go | None] = {}
        # Of the go that is answered: its number, what is left of it, and what ends it.
        self._number = -1
        self._at = 0
        self._answers: deque[Any] = deque()
        self._raises: BaseException | None = None
        self._fits: Callable[[Any, int], bool] = _any
        self._unforeseen = False
        self._packed: tuple[Returns, Go] | None = None

    # Watching

    def watched(self, ask: Callable[[Func], Any]) -> tuple[bool, Any]:
        """Let pandas begin.

        Parameters
        ----------
        ask : callable
            Takes a function; pandas' own call with it.

        Returns
        -------
        tuple of bool and object
            Whether pandas has come to its end, and its answer; else the workers are to go on.
        """
        begin()
        try:
            answer = ask(self._watch)
        except _HandOverError:
            return False, None
        self._worth.stayed()
        return True, answer

    def _watch(self, unit: Any, *args: Any, **kwargs: Any) -> Any:
        kept = self._kept[-1] if self._kept else None
        now = time.perf_counter()
        if kept is None or kept.raised is not None or self._goes.is_next(kept.number, unit):
            kept = _Kept(0 if kept is None else kept.number + 1, _as_given(unit), now)
            self._kept.append(kept)
            # From here on: what pandas did before says nothing of the function, and one unit little.
            self._next_look = now + self._worth.look
        elif now >= self._next_look:
            self._consider(kept, now)
        given = Given.of(unit)
        try:
            value = self._func(unit, *args, **kwargs)
        except BaseException as exception:
            place = self._goes.place(kept.number, unit, len(kept.answers))
            kept.raised = told(Failure(0, exception), place)
            raise
        kept.answers.append(likened(value, given))
        return value

    def _consider(self, kept: _Kept, now: float) -> None:
        """Leave pandas' call if workers would be done sooner, or if it is to end."""
        if self._stop is not None:
            self._stop.look()
        size, done = self._goes.size(kept.number, kept.first), len(kept.answers)
        kept.seconds = now - kept.began
        if done < size:
            with contextlib.suppress(_UnforeseenError):
                cost = kept.seconds / done
                if self._worth.a_pool(cost, size - done, lambda: is_warm(self._options), lambda: self._so_far(kept)):
                    raise _HandOverError
        looked = time.perf_counter()
        kept.began += looked - now  # to look is no part of what the function takes
        self._next_look = looked + self._worth.look

    def _go(self, number: int, first: Any) -> Go | None:
        if number not in self._gos:
            self._gos[number] = self._goes.go(number, first)
        return self._gos[number]

    def _so_far(self, kept: _Kept) -> tuple[Call, Outcome]:
        go = self._go(kept.number, kept.first)
        if go is None or (go.several and len(kept.answers) % go.several):
            raise _UnforeseenError
        return go.call, _outcome(kept, go)

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
        return ask(self._answer)

    def begin(self, first: Any = None) -> Returns | None:
        """Have the first go done; what came of it, where that is all that is known, and nothing was raised.

        Parameters
        ----------
        first : object, optional
            Its first unit, where pandas did not begin.
        """
        alone = len(self._kept) <= 1
        returns = self._begin(self._kept[0].first if self._kept else first, unpack=False)
        return returns if alone else None

    def _answer(self, unit: Any, *args: Any, **kwargs: Any) -> Any:
        if not self._unforeseen and (not self._answers or not self._fits(unit, self._at)) and self._raises is None:
            self._begin(unit)  # pandas may leave a go in the middle, when it does not like an answer
            self._unforeseen = self._unforeseen or not self._fits(unit, 0)
        if self._unforeseen:
            told_to_pandas()
            return self._by_itself(unit, *args, **kwargs)
        if not self._answers:
            assert self._raises is not None
            raises, self._raises = self._raises, None
            raise raises
        self._at += 1
        value = self._answers.popleft()
        return value.over(unit) if type(value) is Like else value

    def _begin(self, first: Any, unpack: bool = True) -> Returns | None:
        """Have the next go done, or take what is kept of it."""
        self._number, self._at, self._fits = self._number + 1, 0, _any
        self._answers.clear()
        kept = self._kept.popleft() if self._kept else None
        if kept is not None and (self._kept or kept.raised is not None):
            self._answers, self._raises = deque(kept.answers), kept.raised
            return None
        go = self._go(self._number, first)
        if go is None:
            self._unforeseen = True
            return None
        self._fits = go.fits
        before: list[Any] = []
        call = replace(go.call, taking=before.extend)
        try:
            begun = None if kept is None else _outcome(kept, go)
            with of_all(go.of_all):
                returns = run(call, self._options, begun, decided=kept is not None)
        except Exception as exception:  # of which pandas may make something, or of an answer before it
            self._raises = exception
            self._take(before, go)
            return None
        missing.settle(call, returns, self._fill)
        if unpack:
            self._take(returns.values(), go)
        else:
            self._packed = returns, go
        return returns

    def _take(self, values: list[Any], go: Go) -> None:
        self._answers.extend(itertools.chain.from_iterable(values) if go.several else values)

    def _by_itself(self, unit: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return self._func(unit, *args, **kwargs)
        except Exception as exception:
            if self._options.errors == "raise":
                raise
            return exception if self._options.errors == "return" else np.nan


def _any(unit: Any, at: int) -> bool:
    return True


def _as_given(unit: Any) -> Any:
    """A unit with the labels and the name that it has now, whatever the function makes of it in place."""
    kept = unit.copy(deep=False)
    if "name" in vars(unit):
        object.__setattr__(kept, "name", unit.name)
    return kept


class _UnforeseenError(Exception):
    """There is no call that workers could take over."""


def _outcome(kept: _Kept, go: Go) -> Outcome:
    returns: list[Any] = kept.answers
    if go.several:
        returns = [returns[at : at + go.several] for at in range(0, len(returns), go.several)]
    return Outcome(Chunk(0, len(returns)), returns, None, kept.seconds)
