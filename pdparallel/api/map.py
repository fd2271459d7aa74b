"""The function ``pdparallel.map``: the builtin ``map`` on all cores, for any iterable and without pandas."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Literal, TypeVar, Unpack, overload

from pdparallel.core.mistakes import refuse_calls_without_items
from pdparallel.core.options import checked, resolve, show_options
from pdparallel.core.tracebacks import trim_tracebacks
from pdparallel.core.validation import check_func
from pdparallel.operations import apply
from pdparallel.typing import Errors, Func, OptionsButErrors

__all__ = ["map"]

A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")
R = TypeVar("R")


@overload
def map(
    func: Callable[..., R], *iterables: Iterable[Any], errors: Literal["coerce"], **options: Unpack[OptionsButErrors]
) -> list[R | None]: ...
@overload
def map(
    func: Callable[..., R], *iterables: Iterable[Any], errors: Literal["return"], **options: Unpack[OptionsButErrors]
) -> list[R | Exception]: ...
@overload
def map(
    func: Callable[[A], R], first: Iterable[A], /, *,
    errors: Literal["raise"] = "raise", **options: Unpack[OptionsButErrors],
) -> list[R]: ...  # fmt: skip
@overload
def map(
    func: Callable[[A, B], R], first: Iterable[A], second: Iterable[B], /, *,
    errors: Literal["raise"] = "raise", **options: Unpack[OptionsButErrors],
) -> list[R]: ...  # fmt: skip
@overload
def map(
    func: Callable[[A, B, C], R], first: Iterable[A], second: Iterable[B], third: Iterable[C], /, *,
    errors: Literal["raise"] = "raise", **options: Unpack[OptionsButErrors],
) -> list[R]: ...  # fmt: skip
@overload
def map(
    func: Callable[..., R], first: Iterable[Any], second: Iterable[Any], third: Iterable[Any], fourth: Iterable[Any], /,
    *more: Iterable[Any], errors: Literal["raise"] = "raise", **options: Unpack[OptionsButErrors],
) -> list[R]: ...  # fmt: skip
@overload
def map(func: Func, *iterables: Iterable[Any], errors: Errors, **options: Unpack[OptionsButErrors]) -> list[Any]: ...
@show_options()
@trim_tracebacks
def map(func: Func, *iterables: Iterable[Any], **options: Any) -> list[Any]:
    """Call a function with each item of an iterable, on all cores: the builtin ``map``, as a list.

    Parameters
    ----------
    func : callable
        Takes an item of each iterable.
    *iterables : iterable
        As for the builtin: with several, ``func`` gets one item of each, and the shortest decides the end.
    **options
        Any of :class:`pdparallel.Options`.

    Returns
    -------
    list
        The results of ``func``, in order.

    Raises
    ------
    Exception
        The exception of ``func`` for the first failing item (option ``errors``), with a note that names it.
    InvalidOptionError
        For arguments that are not allowed, before the call runs.

    Examples
    --------
    >>> import pdparallel
    >>> pdparallel.map(lambda x: x * x, [1, 2, 3, 4, 5])
    [1, 4, 9, 16, 25]
    >>> pdparallel.map(len, ["a", "bc"], engine="thread", n_workers=2)
    [1, 2]
    >>> pdparallel.map(pow, [2, 3], [5, 2])
    [32, 9]
    """
    refuse_calls_without_items(func, iterables, "pdparallel.map")
    check_func(func)
    resolved = resolve(checked(options, of_items=True))
    if len(iterables) == 1:
        return apply.map_items(func, list(iterables[0]), "item", resolved)
    return apply.map_items(func, list(zip(*iterables, strict=False)), "star", resolved)
