"""Trial: the runs of a function, in this order and that, and what they show; see :mod:`pdparallel.testing.fitness`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple, TypeAlias

import pandas as pd

import pdparallel
from pdparallel.api.accessor import par
from pdparallel.core import random_state
from pdparallel.core.call import Work, in_words, shown
from pdparallel.core.chunking import Chunk
from pdparallel.core.format import shortened
from pdparallel.core.outcome import Failure, Outcome
from pdparallel.core.returns import Returns
from pdparallel.errors import FunctionNotSerializableError, ResultNotSerializableError
from pdparallel.testing.findings import Finding, Kind, advised
from pdparallel.testing.handed import TestInput, Verb, handed, here, name_of, named
from pdparallel.testing.variables import Variables, alike
from pdparallel.transport.functions import encode_work
from pdparallel.transport.outcomes import decode_outcome, described, encode_outcome
from pdparallel.transport.shared_classes import SharedTable
from pdparallel.typing import Func

__all__ = ["FitnessRun"]

#: Characters of a value that a message shows.
MAX_SHOWN = 60


class _CallResult(NamedTuple):
    """What came of a call: a value as it would be when it has travelled, or an exception."""

    value: Any
    error: BaseException | None = None

    @property
    def words(self) -> str:
        """What it is, in short."""
        if self.error is not None:
            return "an exception, " + _short(described(self.error))
        try:
            return _short(shown(self.value))
        except Exception:
            return f"a {type(self.value).__name__}"

    def like(self, other: _CallResult) -> bool:
        """Whether the same came of another call."""
        if self.error is None or other.error is None:
            return self.error is other.error and alike(self.value, other.value)
        return _described_alike(self.error, other.error)


def _described_alike(one: BaseException, other: BaseException) -> bool:
    return type(one) is type(other) and described(one) == described(other)


def _short(text: str) -> str:
    return shortened(" ".join(text.split()), MAX_SHOWN)


_Run: TypeAlias = list[_CallResult]


class FitnessRun:
    """The runs of a function, and what they show."""

    def __init__(self, variables: Variables, args: tuple[Any, ...], kwargs: dict[str, Any], seed: int | None) -> None:
        self.units: list[TestInput] = []
        self.word = "unit"
        self.findings: list[Finding] = []
        self.calls = self.calls_in_a_worker = 0
        self._variables = variables
        self._args, self._kwargs = args, kwargs
        self._seed = seed
        self._table = SharedTable()

    # What it is called with

    def take(self, data: Any, call: Verb | None, most: int) -> None:
        """Have the verb hand out what the function is called with."""
        func = self._variables.fresh()

        def counted(unit: Any, *args: Any, **kwargs: Any) -> Any:
            self.calls += 1
            return func(unit, *args, *self._args, **kwargs, **self._kwargs)

        counted.__name__ = getattr(func, "__name__", "<function>")  # which pandas looks at
        self.units, self.word = handed(counted, data, call, most, self._seed)

    # Running it

    def run(self, processes: bool) -> None:
        """All runs, each of which looks for something."""
        work = Work(self._variables.fresh(), self._args, self._kwargs, "item")
        travels = True
        try:
            encode_work(work, self._table, "dill")
        except FunctionNotSerializableError as error:
            travels = False
            self._found("function", str(error))
        alone = self._alone(range(len(self.units)), look=True)
        again = self._alone(reversed(range(len(self.units))))
        alone, steady = self._steady(alone, again)
        depends = self._depends_on_others(alone, steady)
        if processes and travels and not depends:
            self._in_a_worker(alone, steady)

    def _alone(self, order: Iterable[int], look: bool = False) -> _Run:
        """Each unit with the function as it was at first."""
        came = {at: self._once(self._variables.fresh(), at, look) for at in order}
        return [came[at] for at in range(len(self.units))]

    def _steady(self, alone: _Run, again: _Run) -> tuple[_Run, list[int]]:
        """The measure, and the positions at which the same comes each time."""
        moving = [at for at, came in enumerate(alone) if not came.like(again[at])]
        if moving and self._seed is None:
            self._seed = 0
            seeded, once_more = (self._alone(order) for order in (range(len(alone)), reversed(range(len(alone)))))
            still = [at for at, came in enumerate(seeded) if not came.like(once_more[at])]
            by_chance = [at for at in moving if at not in still]
            if by_chance:
                at = by_chance[0]
                self._found(
                    "random",
                    f"it draws random numbers: {self._where(at)} one call gives {alone[at].words}, and another "
                    f"{again[at].words}",
                    at,
                )
            alone, again, moving = seeded, once_more, still
        if moving:
            at = moving[0]
            self._found(
                "unsteady",
                f"its result changes from call to call: {self._where(at)} one call gives {alone[at].words}, and "
                f"another {again[at].words}",
                at,
            )
        return alone, [at for at in range(len(alone)) if at not in set(moving)]

    def _depends_on_others(self, alone: _Run, steady: list[int]) -> bool:
        """Whether it matters which calls were before."""
        in_order = self._after_others(range(len(self.units)))
        self._changes_variables()
        backwards = self._after_others(reversed(range(len(self.units))))
        for came, words in ((in_order, "earlier"), (backwards, "later")):
            at = next((at for at in steady if not came[at].like(alone[at])), None)
            if at is not None:
                self._found(
                    "order",
                    f"its result depends on other calls: {self._where(at)} it is {came[at].words} after the {words} "
                    f"{self.word}s, and {alone[at].words} alone",
                    at,
                )
                return True
        return False

    def _after_others(self, order: Iterable[int]) -> _Run:
        """All units with one function, one after the other."""
        func = self._variables.fresh()
        came = {at: self._once(func, at) for at in order}
        return [came[at] for at in range(len(self.units))]

    def _changes_variables(self) -> None:
        """Say which, and where first; only where there are any, for to compare them may take long."""
        changed: set[str] = set()
        if not self._variables.changed():
            return
        func = self._variables.fresh()
        for at in range(len(self.units)):
            self._once(func, at)
            for name in self._variables.changed():
                if name not in changed:
                    changed.add(name)
                    self._found("state", f"it changes {name}, first {self._where(at)}", at)

    def _once(self, func: Func, at: int, look: bool = False) -> _CallResult:
        unit = self.units[at].copy()
        self.calls += 1
        try:
            with _seeded(self._seed, at):
                value = func(unit, *self._args, **self._kwargs)
        except Exception as error:
            came = self._travelled(_CallResult(None, error), at, look)
        else:
            came = self._travelled(_CallResult(value), at, look)
        if look and not self._has("input") and not alike(unit, self.units[at].copy()):
            self._found("input", f"it changes the {self.word} that it gets, first {self._where(at)}", at)
        return came

    def _travelled(self, came: _CallResult, at: int, look: bool) -> _CallResult:
        """What a worker would send back, as it arrives."""
        failure = None if came.error is None else Failure(0, came.error)
        sent = Outcome(Chunk(at, at + 1), [came.value] if failure is None else [], failure)
        arrived = decode_outcome(encode_outcome(sent, self._table), self._table)
        if arrived.failure is not None and failure is None:
            self._does_not_travel(f"{self._where(at)}: {described(arrived.failure.exception)}", at, look)
            return came
        if arrived.failure is not None and failure is not None:
            if not _described_alike(arrived.failure.exception, failure.exception):
                words = described(arrived.failure.exception)
                self._does_not_travel(
                    f"the exception that it raises {self._where(at)} arrives as {_short(words)}", at, look
                )
            return came
        (value,) = Returns([arrived.returns]).values()
        if not alike(value, came.value):
            message = f"its result {self._where(at)}, {came.words}, arrives as {_short(repr(value))}"
            self._does_not_travel(message, at, look)
        return _CallResult(value)

    def _does_not_travel(self, message: str, at: int, look: bool) -> None:
        if look and not self._has("result"):
            self._found("result", message, at)

    def _in_a_worker(self, alone: _Run, steady: list[int]) -> None:
        # Each with the name that a group has, which a frame loses on its way.
        items = [(unit, name_of(unit)) for unit in self._copied()]
        values = pdparallel.map(
            _OfNamed(self._variables.fresh(), self._args, self._kwargs), items,
            engine="process", n_workers=1, errors="return", retries=0, seed=self._seed, checkpoint=None, progress=False,
        )  # fmt: skip
        self.calls_in_a_worker = len(items)
        for at in steady:
            came = _arrived(values[at], alone[at])
            if self._is_told(came) or came.like(alone[at]):
                continue
            self._found(
                "process",
                f"its result depends on the process: {self._where(at)} it is {alone[at].words} here, and "
                f"{came.words} in a worker",
                at,
            )
            return

    def _copied(self) -> Iterator[Any]:
        return (unit.copy() for unit in self.units)

    def _is_told(self, came: _CallResult) -> bool:
        """Whether what came is the word for something that was found already."""
        return isinstance(came.error, ResultNotSerializableError) and self._has("result")

    # Chunks

    def cut(self, data: Any) -> None:
        """Whether the result of chunks depends on where they are cut."""
        whole = self._chunks(data, len(data) or 1)
        if isinstance(whole.value, list) or whole.error is not None:
            return  # one result for each chunk, which is another thing for another cut by its nature
        for size in (1, 2):
            came = self._chunks(data, size)
            if not came.like(whole):
                self._found(
                    "cut",
                    f"its result depends on the cut into chunks: {_first_difference(came, whole)}with chunks of "
                    f"{size} it is {came.words}, and {whole.words} in one chunk",
                )
                return

    def _chunks(self, data: Any, size: int) -> _CallResult:
        func = self._variables.fresh()
        self.calls += max(1, -(-len(data) // size))
        try:
            with here():
                ours = par(data.copy())(chunk_size=size, seed=self._seed, errors="raise")
                return _CallResult(ours.apply_chunks(func, self._args, **self._kwargs))
        except Exception as error:
            return _CallResult(None, error)

    # Words

    def _where(self, at: int) -> str:
        return in_words(self.word, self.units[at].label, at)

    def _has(self, kind: Kind) -> bool:
        return any(finding.kind == kind for finding in self.findings)

    def _found(self, kind: Kind, message: str, position: int | None = None) -> None:
        self.findings.append(advised(kind, message, position))


class _OfNamed:
    """The function, of what travels with its name beside it."""

    def __init__(self, func: Func, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._func, self._args, self._kwargs = func, args, kwargs

    def __call__(self, item: tuple[Any, Any]) -> Any:
        return self._func(named(*item), *self._args, **self._kwargs)


def _arrived(value: Any, here: _CallResult) -> _CallResult:
    """What came from a worker, where an exception stands for itself."""
    raised = isinstance(value, BaseException) and not isinstance(here.value, BaseException)
    return _CallResult(None, value) if raised else _CallResult(value)


def _first_difference(came: _CallResult, whole: _CallResult) -> str:
    """The label of the first row that differs, where both have rows."""
    one, other = came.value, whole.value
    if type(one) is not type(other) or not isinstance(one, (pd.DataFrame, pd.Series)) or len(one) != len(other):
        return ""
    at = next((at for at in range(len(one)) if not alike(one.iloc[at], other.iloc[at])), None)
    return "" if at is None else f"first {in_words('row', other.index[at], at)}; "


@contextlib.contextmanager
def _seeded(seed: int | None, at: int) -> Iterator[None]:
    """The random numbers that the unit at a position has with a seed."""
    if seed is None:
        yield
        return
    with random_state.seeded(seed, at) as step:
        step()
        yield
