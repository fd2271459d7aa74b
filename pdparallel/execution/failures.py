"""Replacements of failed calls in the result, if ``errors=`` lets the other calls continue.

``errors="return"`` inserts the exception. ``errors="coerce"`` inserts the missing value *of the other returns*, which
changes the type of the result as little as any missing value::

    first successful return                   replacement of a failure
    a number, a text, a time, an object       np.nan: pandas converts it to the missing value of the column
    a Series, if the result is a frame        a Series of NaN over the same index
    a list, array or dict that is expanded    as many NaN
    a result of broadcast                     a row (column) of NaN, or of NaT

If all calls fail, each replacement is ``np.nan``.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
from pandas.api.types import is_list_like

from pdparallel.core.call import Call, in_words
from pdparallel.core.chunking import Chunk
from pdparallel.core.format import shortened
from pdparallel.core.outcome import Failed, NotKeptError
from pdparallel.core.returns import Returns
from pdparallel.errors import FailedCall, FailedCallsWarning, RemoteError
from pdparallel.execution.collector import annotate_exception
from pdparallel.transport.functions import level_of_the_user
from pdparallel.transport.outcomes import described
from pdparallel.typing import Errors, ResultType

__all__ = [
    "FailureFill",
    "array_of_nan",
    "in_frame",
    "in_series",
    "none_for_nan",
    "place",
    "replace_failures",
    "warn",
    "with_room",
]

#: Function that returns the replacement of a failure. Its arguments: a list with the first successful return (if any),
#: the position, and ``np.nan`` or the exception.
FailureFill = Callable[[list[Any], int, Any], Any]

#: Characters of a message that a warning shows, and failures that it names.
MAX_SHOWN, MAX_NAMED = 300, 3


def replace_failures(call: Call, returns: Returns, fill: FailureFill) -> bool:
    """Replace failures as ``errors=`` says; return whether there are any. Warn if that hides them."""
    places: dict[int, Failed] = {} if call.work.errors == "raise" else returns.places_of(Failed)
    if not places:
        return False
    good = returns.first_but(Failed)
    if call.work.errors == "coerce":
        warn(call, sorted(places.items()), len(places), len(returns))
        returns.put({at: fill(good, at, np.nan) for at in places})
    else:
        returns.put(
            {
                at: fill(good, at, annotate_exception(failed, place(call, at), call.work.unit_format))
                for at, failed in places.items()
            }
        )
    return True


def place(call: Call, at: int) -> str:
    """Return the place of a return in words."""
    chunk = call.plan[at] if call.work.unit_format == "chunk" and call.plan else Chunk(at, at + 1)
    return f"{call.verb}, {call.where(chunk, 0)}"


def warn(
    call: Call, failures: Sequence[tuple[int, Failed]], times: int, n: int, labels: Sequence[Any] | None = None
) -> None:
    """Warn once of all failed calls."""
    shown = [f"  {_shown_place(call, at, labels, number)}: {_shown(failed)}" for number, (at, failed) in
             enumerate(failures[:MAX_NAMED])]  # fmt: skip
    if times > len(shown):
        shown.append(f"  and {times - len(shown):,} more")
    advice = "The attribute 'failures' of this warning is a frame of all failures."
    if call.unit != "window" and not call.verb.endswith(".filter"):  # their results cannot hold exceptions
        advice += " errors='return' puts each exception in the place of its result."
    warning = FailedCallsWarning(
        "\n".join([f"{times:,} of {n:,} calls of the function failed, and their results are missing:", *shown, advice]),
        functools.partial(_all_failures, call, failures, labels),
    )
    warning.__cause__ = failures[0][1].exception
    warnings.warn(warning, stacklevel=level_of_the_user())


def _shown(failed: Failed) -> str:
    exception = failed.exception
    if isinstance(exception, NotKeptError):
        return "its exception was not kept"
    return shortened(str(exception) if type(exception) is RemoteError else described(exception), MAX_SHOWN)


def _shown_place(call: Call, at: int, labels: Sequence[Any] | None, number: int) -> str:
    if labels is None:
        return place(call, at)
    return f"{call.verb}, {in_words(call.unit, labels[number], at)}"


def _all_failures(
    call: Call, failures: Sequence[tuple[int, Failed]], labels: Sequence[Any] | None
) -> Iterator[FailedCall]:
    """Yield the label, the position and the exception of each failure."""
    for number, (at, failed) in enumerate(failures):
        position = call.plan[at].start if call.work.unit_format == "chunk" and call.plan else call.start + at
        label = call.label(position - call.start) if labels is None else labels[number]
        yield label, position, None if isinstance(failed.exception, NotKeptError) else failed.exception


# Replacements that fit the other returns


def none_for_nan(good: list[Any], at: int, value: Any) -> Any:
    """Replace NaN by None, the missing value of a list."""
    return None if value is np.nan else value


def in_series(verb: str) -> FailureFill:
    """Return the fill for ``s.map`` and ``s.apply``; ``apply`` makes a frame if the first return is a Series."""

    def fill(good: list[Any], at: int, value: Any) -> Any:
        if value is np.nan and verb == "apply" and good and isinstance(good[0], pd.Series):
            return _series_of_nan(good[0])
        return value

    return fill


def in_frame(df: pd.DataFrame, axis: int, raw: bool, result_type: ResultType) -> FailureFill:
    """Return the fill for ``df.apply``."""
    if result_type == "broadcast":
        dtype = _common_dtype(df)
        return lambda good, at, value: _full((), value, _with_room(dtype, value is np.nan))
    if raw:
        return lambda good, at, value: _like_array(good[0], value) if good else value
    return lambda good, at, value: _like(good[0], axis, result_type) if good and value is np.nan else value


def _like(good: Any, axis: int, result_type: ResultType) -> Any:
    """Return NaN in the form of another return, as far as pandas expands that."""
    if isinstance(good, pd.Series) and (axis == 1 or result_type != "reduce"):
        return _series_of_nan(good)
    expands = result_type == "expand" or (axis == 0 and result_type is None)
    if not expands or not is_list_like(good) or not hasattr(good, "__len__"):
        return np.nan
    return dict.fromkeys(good, np.nan) if isinstance(good, dict) else [np.nan] * len(good)


def _series_of_nan(good: pd.Series) -> pd.Series:
    return pd.Series(np.nan, index=good.index)


# Arrays: with raw=True or result_type="broadcast", returns go into an array that already has a dtype


def array_of_nan(shape: tuple[int, ...], like: np.dtype[Any]) -> np.ndarray:
    """Return an array of missing values that fits arrays of a dtype."""
    return _full(shape, np.nan, _with_room(like, for_nan=True))


def _like_array(good: Any, value: Any) -> np.ndarray:
    array = _as_array(good)
    return _full(array.shape, value, _with_room(array.dtype, value is np.nan))


def _as_array(value: Any) -> np.ndarray:
    """Convert a return as pandas does before ``numpy.apply_along_axis``."""
    return np.array(value, dtype=object) if isinstance(value, str) else np.asanyarray(value)


def _full(shape: tuple[int, ...], value: Any, dtype: np.dtype[Any]) -> np.ndarray:
    filled = np.empty(shape, dtype)
    filled.fill(np.array("NaT", dtype) if dtype.kind in "mM" else value)  # not by index: the value may be a sequence
    return filled


def _with_room(dtype: np.dtype[Any], for_nan: bool) -> np.dtype[Any]:
    """Return the dtype, or one that can also hold NaN (or any object), by the rules of pandas."""
    if for_nan and dtype.kind in "iu":
        return np.dtype(np.float64)
    return dtype if for_nan and dtype.kind in "fcmM" else np.dtype(object)


def _common_dtype(df: pd.DataFrame) -> np.dtype[Any]:
    return df.iloc[:1].to_numpy().dtype


def with_room(df: pd.DataFrame, returns: Returns, raw: bool, result_type: ResultType, errors: Errors) -> pd.DataFrame:
    """Return the frame with dtypes that can hold the replacements of failures, to build the result from."""
    for_nan = errors == "coerce"
    if result_type == "broadcast":
        dtype = _common_dtype(df)
        room = _with_room(dtype, for_nan)
        return df if room == dtype else df.astype(room)
    if raw:
        # The first return decides the dtype of the whole result.
        first = _as_array(returns.first_but(Failed)[0])
        room = _with_room(first.dtype, for_nan)
        if room != first.dtype:
            returns.put({0: first.astype(room)})
    return df
