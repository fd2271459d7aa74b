"""The iterators over results, ``imap`` and ``iter_chunks``, which do not hold all results in memory.

They use the data path of every call (:func:`pdparallel.execution.runner.path`).  Each step of an iterator continues
that path until a result is ready.  Between two steps no task starts, so that a slow consumer slows the workers.
"""

from __future__ import annotations

import _thread
import contextlib
import numbers
import os
import reprlib
import time
import weakref
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence, Sized
from typing import Any, Literal, Self, TypeAlias, TypeVar, Unpack, overload

from pdparallel.core.call import Call, work_of
from pdparallel.core.chunking import PendingRanges, PendingUnits
from pdparallel.core.lifetime import AT_SHUTDOWN, at_exit
from pdparallel.core.mistakes import refuse_calls_without_items
from pdparallel.core.options import Options, checked, resolve, show_options
from pdparallel.core.outcome import Failed, Outcome
from pdparallel.core.returns import Returns
from pdparallel.core.tracebacks import trim_tracebacks
from pdparallel.core.validation import check_func
from pdparallel.data.lazy_items import Source
from pdparallel.errors import InvalidOptionError, Shown
from pdparallel.execution import failures
from pdparallel.execution.collector import StreamingCollector, annotate_exception
from pdparallel.execution.placement import options_for
from pdparallel.execution.runner import check, path
from pdparallel.execution.waiting import WaitingHint
from pdparallel.operations import apply, concat
from pdparallel.progress.reporter import ProgressScope, bar
from pdparallel.typing import Errors, Func, OptionsButErrors

__all__ = ["Results", "imap", "iter_chunks"]

R = TypeVar("R")
A = TypeVar("A")
B = TypeVar("B")

#: Pairs of the number of a chunk or item, and its result.
_Numbered: TypeAlias = Generator[tuple[int, Any], None, None]

#: Seconds after which a shutdown of the pools no longer waits for dropped iterators to close.
MAX_CLOSING_SECONDS = 3.0

#: Largest number of failures that ``errors="coerce"`` keeps for its warning, because an iterable may have no end.
MAX_KEPT_FAILURES = 10_000

#: Largest number of characters of an item that are kept with its failure.
MAX_LABEL_LETTERS = 200

#: Largest number of chunks for each worker that run or wait for an earlier chunk: twice what keeps a worker busy.
MAX_OF_A_WORKER = 4


class Results(Iterator[R]):
    """An iterator over results. Work begins with the first ``next``.

    If you do not take all results, use a ``with`` block, or call :meth:`close`. The iterator also closes when no
    variable refers to it any more, and when the process ends.

    Parameters
    ----------
    steps : generator
        The generator of the results.

    Examples
    --------
    >>> import itertools, pdparallel
    >>> with pdparallel.imap(abs, itertools.count(-2)) as results:
    ...     [next(results) for _ in range(4)]
    ...
    [2, 1, 0, 1]
    """

    def __init__(self, steps: Generator[R, None, None]) -> None:
        self._steps = steps
        self._process = os.getpid()
        _unfinished.add(self)

    @trim_tracebacks
    def __next__(self) -> R:
        return next(self._steps)

    def close(self) -> None:
        """End the work. Running tasks get a moment to finish, then pdparallel ends their workers.

        Examples
        --------
        >>> import pdparallel
        >>> results = pdparallel.imap(abs, [-1, -2])
        >>> next(results)
        1
        >>> results.close()
        >>> list(results)
        []
        """
        self._steps.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        steps = getattr(self, "_steps", None)
        if steps is None or not steps.gi_suspended:  # not started, or exhausted
            return
        if os.getpid() != self._process:
            return
        # The garbage collector may run while this thread holds a lock that close() needs, so another thread closes.
        # Not with threading.Thread, whose start() takes a lock, too.
        with contextlib.suppress(RuntimeError):  # the interpreter ends, and _close_all has run
            _thread.start_new_thread(_close_dropped, (steps,))


_unfinished: weakref.WeakSet[Results[Any]] = weakref.WeakSet()

#: Generators of dropped iterators that are being closed.
_closing: list[Generator[Any, None, None]] = []


def _close_dropped(steps: Generator[Any, None, None]) -> None:
    _closing.append(steps)
    try:
        steps.close()
    finally:
        _closing.remove(steps)


def _wait_for_the_dropped() -> None:
    """Wait until dropped iterators are closed, which takes some tenths of a second."""
    until = time.monotonic() + MAX_CLOSING_SECONDS
    while _closing and time.monotonic() < until:
        time.sleep(0.005)


AT_SHUTDOWN.append(_wait_for_the_dropped)


def _close_all() -> None:
    for results in list(_unfinished):
        with contextlib.suppress(Exception):  # another thread runs a step, and ends with the process
            results.close()


at_exit(_close_all)


def iter_chunks(
    data: Any, whole: Any, func: Func, args: Sequence[Any], kwargs: dict[str, Any],
    by: Any, around: tuple[int, int] | None, ordered: bool, options: Options,
) -> Results[Any]:  # fmt: skip
    """Iterate over results of chunks; the arguments are those of :func:`pdparallel.operations.apply.apply_chunks`."""
    options = options_for(func, options)
    _check(options, ordered)
    call, _ = apply.call_by_chunks("iter_chunks", data, whole, func, args, kwargs, by, around, options)
    plan = call.plan or ()
    numbers = {chunk.start: number for number, chunk in enumerate(plan)}

    def pieces(outcome: Outcome) -> Iterator[tuple[int, Any]]:
        number = numbers[outcome.chunk.start]
        for piece in Returns([outcome.returns]):
            if around is not None and type(piece) is not Failed:
                piece = concat.without_overlap(piece, plan[number])
            yield number, piece

    def steps() -> _Numbered:
        if len(data):
            yield from _taken(call, options, ordered, PendingRanges(call.n, (), plan), call.n, pieces)
        else:
            yield 0, apply.of_no_rows(call)

    return Results(_settled(call, steps()))


@overload
def imap(
    func: Callable[..., R], *iterables: Iterable[Any], errors: Literal["coerce"], ordered: bool = True,
    **options: Unpack[OptionsButErrors],
) -> Results[R | None]: ...  # fmt: skip
@overload
def imap(
    func: Callable[..., R], *iterables: Iterable[Any], errors: Literal["return"], ordered: bool = True,
    **options: Unpack[OptionsButErrors],
) -> Results[R | Exception]: ...  # fmt: skip
@overload
def imap(
    func: Callable[[A], R], first: Iterable[A], /, *, errors: Literal["raise"] = "raise", ordered: bool = True,
    **options: Unpack[OptionsButErrors],
) -> Results[R]: ...  # fmt: skip
@overload
def imap(
    func: Callable[[A, B], R], first: Iterable[A], second: Iterable[B], /, *,
    errors: Literal["raise"] = "raise", ordered: bool = True, **options: Unpack[OptionsButErrors],
) -> Results[R]: ...  # fmt: skip
@overload
def imap(
    func: Callable[..., R], first: Iterable[Any], second: Iterable[Any], third: Iterable[Any], /,
    *more: Iterable[Any], errors: Literal["raise"] = "raise", ordered: bool = True,
    **options: Unpack[OptionsButErrors],
) -> Results[R]: ...  # fmt: skip
@overload
def imap(
    func: Func, *iterables: Iterable[Any], errors: Errors, ordered: bool = True, **options: Unpack[OptionsButErrors]
) -> Results[Any]: ...
@show_options(but=("checkpoint",))
@trim_tracebacks
def imap(func: Func, *iterables: Iterable[Any], ordered: bool = True, **options: Any) -> Results[Any]:
    """Call a function with each item of an iterable, on all cores: the builtin ``map``, as an iterator.

    The iterable may be lazy, and may have no end. pdparallel reads only a few chunks ahead. If you take the results
    slowly, the workers wait.

    Parameters
    ----------
    func : callable
        Takes an item of each iterable.
    *iterables : iterable
        As for the builtin: with several, ``func`` gets one item of each, and the shortest decides the end. The thread
        that iterates over the results reads them.
    ordered : bool, default True
        True gives the results in the order of the items, False gives each as soon as it is done.
    **options
        Any of :class:`pdparallel.Options`, except ``checkpoint``.

    Returns
    -------
    iterator
        Work begins with the first ``next``. It ends with ``close()``, at the end of a ``with`` block, or when no
        variable refers to the iterator any more.

    Raises
    ------
    Exception
        While you iterate, the exception of ``func`` for the first failing item (option ``errors``), with a note that
        names it, or the exception of an iterable. It comes after the results of the items before.
    InvalidOptionError
        For arguments that are not allowed, and ``checkpoint=``, at once.

    Notes
    -----
    pdparallel sends items in chunks of some tenths of a second of work. At most four chunks for each worker are in
    memory. ``chunk_size=`` sets the exact number of items. Items and results of a chunk have at most about 16 MB,
    unless one item has more.

    Examples
    --------
    >>> import itertools, pdparallel
    >>> squares = pdparallel.imap(lambda x: x * x, itertools.count(1))
    >>> next(squares), next(squares), next(squares)
    (1, 4, 9)
    >>> squares.close()
    >>> list(pdparallel.imap(len, ["a", "bc"], engine="thread", n_workers=2))
    [1, 2]
    """
    refuse_calls_without_items(func, iterables, "pdparallel.imap")
    check_func(func)
    resolved = options_for(func, resolve(checked(options, of_items=True)))
    _check(resolved, ordered)
    known = [len(one) for one in iterables if isinstance(one, Sized)]
    total = min(known) if len(known) == len(iterables) else None
    source = Source(iterables[0] if len(iterables) == 1 else zip(*iterables, strict=False), total)
    call = Call(
        verb="imap",
        work=work_of(func, (), {}, "item" if len(iterables) == 1 else "star", resolved),
        data=source,
        n=total or 0,
        unit="item",
        label=source.item,
    )

    def items(outcome: Outcome) -> Iterator[tuple[int, Any]]:
        yield from enumerate(Returns([outcome.returns]), outcome.chunk.start)
        source.forget(outcome.chunk)

    def steps() -> _Numbered:
        yield from _taken(call, resolved, ordered, source, total, items)
        if source.error is not None:
            raise source.error

    return Results(_settled(call, steps()))


def _check(options: Options, ordered: Any) -> None:
    if not isinstance(ordered, bool):
        raise InvalidOptionError("ordered", ordered, "True or False")
    if options.checkpoint is not None:
        raise InvalidOptionError(
            "checkpoint", options.checkpoint, "None to imap and iter_chunks",
            "pdparallel.map and apply_chunks(..., combine='list') can keep results in a folder.",
        )  # fmt: skip
    check(options)


def _taken(
    call: Call, options: Options, ordered: bool, left: PendingUnits, total: int | None,
    results: Callable[[Outcome], Iterator[tuple[int, Any]]],
) -> _Numbered:  # fmt: skip
    """Run the call, yield its results, and at the end raise the first failure."""
    collector = StreamingCollector(call, ordered, options.workers * MAX_OF_A_WORKER)
    hint = WaitingHint(options)
    problem: Exception | None = None
    with (
        bar(options.progress, total, options.desc or call.verb, call.unit, alone=True) as shown,
        contextlib.closing(path(call, options, collector, left, shown)) as steps,
    ):
        while True:
            try:
                with ProgressScope():
                    going_on = next(steps, ...) is None
            except Exception as error:  # raised below, after the results that are ready
                going_on, problem = False, error
            for outcome in collector.taken():
                yield from results(outcome)
            if not going_on:
                break
        if problem is not None:
            raise problem
        collector.raise_failure()
    hint.give(call, collector)


def _settled(call: Call, results: _Numbered) -> Generator[Any, None, None]:
    """Yield the results, with None or an exception for failures (option ``errors``), and warn once at the end."""
    if call.work.errors == "raise":
        for _, result in results:
            yield result
        return
    n = times = 0
    kept: list[tuple[int, Failed]] = []
    labels: list[Any] = []
    for at, result in results:
        n += 1
        if type(result) is not Failed:
            yield result
            continue
        times += 1
        if call.work.errors == "return":
            yield annotate_exception(result, failures.place(call, at))
            continue
        if len(kept) < MAX_KEPT_FAILURES:
            kept.append((at, result))
            labels.append(None if call.plan else _as_label(call.label(at)))  # now, because the source drops the item
        yield None
    if kept:
        order = sorted(range(len(kept)), key=lambda number: kept[number][0])
        known = None if call.plan else [labels[number] for number in order]
        failures.warn(call, [kept[number] for number in order], times, n, known)


def _as_label(item: Any) -> Any:
    """Return an item if it is small, else a short text of it, because thousands may be kept."""
    if isinstance(item, (str, bytes)):
        return item if len(item) <= MAX_LABEL_LETTERS else item[:MAX_LABEL_LETTERS]
    if item is None or isinstance(item, numbers.Number):
        return item
    return Shown(reprlib.repr(item))
