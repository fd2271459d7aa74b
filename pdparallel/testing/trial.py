"""The runs of a function in several orders, and their findings; see :mod:`pdparallel.testing.fitness`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple, TypeAlias

import pandas as pd

import pdparallel
from pdparallel.api.accessor import par
from pdparallel.core import random_state
from pdparallel.core.call import Work, format_label, in_words
from pdparallel.core.chunking import Chunk
from pdparallel.core.format import shortened
from pdparallel.core.outcome import Failure, Outcome
from pdparallel.core.returns import Returns
from pdparallel.errors import FunctionNotSerializableError, ResultNotSerializableError
from pdparallel.testing.findings import ADVICE, Finding, Kind
from pdparallel.testing.handed import UnitInput, Verb, handed, here, name_of, named
from pdparallel.testing.variables import Variables, alike
from pdparallel.transport.functions import encode_work
from pdparallel.transport.outcomes import decode_outcome, described, encode_outcome
from pdparallel.transport.shared_classes import SharedTable
from pdparallel.typing import Func

__all__ = ["FitnessRun"]

#: Largest number of characters of a value in a message.
MAX_SHOWN = 60


class _CallResult(NamedTuple):
    """Result of a call: a value, after it was serialized and deserialized, or an exception."""

    value: Any
    error: BaseException | None = None

    @property
    def words(self) -> str:
        """Short text of the result."""
        if self.error is not None:
            return "an exception, " + _short(described(self.error))
        try:
            return _short(format_label(self.value))
        except Exception:
            return f"a {type(self.value).__name__}"

    def like(self, other: _CallResult) -> bool:
        """Return whether another call has the same result."""
        if self.error is None or other.error is None:
            return self.error is other.error and alike(self.value, other.value)
        return _described_alike(self.error, other.error)


def _described_alike(one: BaseException, other: BaseException) -> bool:
    return type(one) is type(other) and described(one) == described(other)


def _short(text: str) -> str:
    return shortened(" ".join(text.split()), MAX_SHOWN)


_Run: TypeAlias = list[_CallResult]


class FitnessRun:
    """Runs of a function, and their findings."""

    def __init__(self, variables: Variables, args: tuple[Any, ...], kwargs: dict[str, Any], seed: int | None) -> None:
        self.units: list[UnitInput] = []
        self.word = "unit"
        self.findings: list[Finding] = []
        self.calls = self.calls_in_a_worker = 0
        self._variables = variables
        self._args, self._kwargs = args, kwargs
        self._seed = seed
        self._table = SharedTable()

    # Arguments

    def take(self, data: Any, call: Verb | None, most: int) -> None:
        """Record the arguments that the call passes to the function."""
        func = self._variables.fresh()

        def counted(unit: Any, *args: Any, **kwargs: Any) -> Any:
            self.calls += 1
            return func(unit, *args, *self._args, **kwargs, **self._kwargs)

        counted.__name__ = getattr(func, "__name__", "<function>")  # pandas reads the name
        self.units, self.word = handed(counted, data, call, most, self._seed)

    # Runs

    def run(self, processes: bool) -> None:
        """Make all runs. Each run looks for one kind of fault."""
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
        """Call the function with each unit, and reset its variables before each call."""
        came = {at: self._once(self._variables.fresh(), at, look) for at in order}
        return [came[at] for at in range(len(self.units))]

    def _steady(self, alone: _Run, again: _Run) -> tuple[_Run, list[int]]:
        """Return the reference results, and the positions whose result is the same in each run."""
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
        """Return whether a result depends on earlier calls."""
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
        """Call the function with each unit, without a reset between the calls."""
        func = self._variables.fresh()
        came = {at: self._once(func, at) for at in order}
        return [came[at] for at in range(len(self.units))]

    def _changes_variables(self) -> None:
        """Find each changed variable, and the first unit that changes it."""
        changed: set[str] = set()
        if not self._variables.changed():  # else the comparisons after each unit may take long for nothing
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
                came = _CallResult(func(unit, *self._args, **self._kwargs))
        except Exception as error:
            came = _CallResult(None, error)
        came = self._travelled(came, at, look)
        if look and not self._has("input") and not alike(unit, self.units[at].copy()):
            self._found("input", f"it changes the {self.word} that it gets, first {self._where(at)}", at)
        return came

    def _travelled(self, came: _CallResult, at: int, look: bool) -> _CallResult:
        """Serialize and deserialize a result as between worker and parent, and return what arrives."""
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
        # With the name of a group beside it, which a frame loses in serialization.
        items = [(unit, name_of(unit)) for unit in (unit.copy() for unit in self.units)]
        values = pdparallel.map(
            _OfNamed(self._variables.fresh(), self._args, self._kwargs), items,
            engine="process", n_workers=1, errors="return", retries=0, rate_limit=None, seed=self._seed,
            checkpoint=None, progress=False,
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

    def _is_told(self, came: _CallResult) -> bool:
        """Return whether a result is the error for a fault that is a finding already."""
        return isinstance(came.error, ResultNotSerializableError) and self._has("result")

    # Chunks

    def cut(self, data: Any) -> None:
        """Look for a result that depends on the cut into chunks."""
        whole = self._chunks(data, len(data) or 1)
        if isinstance(whole.value, list) or whole.error is not None:
            return  # a list has one result for each chunk, so it always depends on the cut
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

    # Texts and findings

    def _where(self, at: int) -> str:
        return in_words(self.word, self.units[at].label, at)

    def _has(self, kind: Kind) -> bool:
        return any(finding.kind == kind for finding in self.findings)

    def _found(self, kind: Kind, message: str, position: int | None = None) -> None:
        self.findings.append(Finding(kind, message, ADVICE[kind], position))


class _OfNamed:
    """Function of a pair: a unit, and the name that it gets again after serialization."""

    def __init__(self, func: Func, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._func, self._args, self._kwargs = func, args, kwargs

    def __call__(self, item: tuple[Any, Any]) -> Any:
        return self._func(named(*item), *self._args, **self._kwargs)


def _arrived(value: Any, here: _CallResult) -> _CallResult:
    """Return the result from a worker; with ``errors="return"``, an exception there may be a raised one."""
    raised = isinstance(value, BaseException) and not isinstance(here.value, BaseException)
    return _CallResult(None, value) if raised else _CallResult(value)


def _first_difference(came: _CallResult, whole: _CallResult) -> str:
    """Return a text with the label of the first row that differs, if both results have rows."""
    one, other = came.value, whole.value
    if type(one) is not type(other) or not isinstance(one, (pd.DataFrame, pd.Series)) or len(one) != len(other):
        return ""
    at = next((at for at in range(len(one)) if not alike(one.iloc[at], other.iloc[at])), None)
    return "" if at is None else f"first {in_words('row', other.index[at], at)}; "


@contextlib.contextmanager
def _seeded(seed: int | None, at: int) -> Iterator[None]:
    """Seed the random numbers as for the unit at a position, if there is a seed."""
    if seed is None:
        yield
        return
    with random_state.seeded(seed, at) as step:
        step()
        yield
