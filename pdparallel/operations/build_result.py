"""Functions that build the pandas object of a call from all its recorded returns.

To concatenate the results of ``apply`` on chunks is wrong.  The dtype and shape of pandas' result depend on *all*
returns.  For example, pandas makes floats of an int and a None.  So there are two ways:

- *Replay* is correct for all returns.  pandas' own ``apply`` or ``map`` runs again in the parent, over the frame or a
  placeholder of the same shape.  Its function only returns the recorded returns, one after the other.
- A *direct build* uses packed returns as a column or block.  It needs returns of types whose result dtype is known.
"""

from __future__ import annotations

import copy
import enum
import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from pdparallel.core.awaitables import Substitute, then
from pdparallel.core.columnar import (
    Columns,
    Dicts,
    Mixed,
    Numbers,
    Packed,
    SeriesRows,
    Texts,
    Times,
    dtype_of_texts,
    have_one_form,
    texts,
)
from pdparallel.core.returns import Returns
from pdparallel.execution.events import shaping
from pdparallel.typing import Func, ResultType

__all__ = [
    "PLAIN_NUMBERS",
    "DetectNan",
    "build_apply",
    "build_frame_map",
    "build_map",
    "replay",
    "values_for_series",
]

#: Types of numbers for which ``pd.Series(list)`` and an array of the same numbers have the same dtype.
PLAIN_NUMBERS = (float, int, bool, np.float64, np.int64, np.bool_)


#: Types that pandas converts to floats if at least one value is a number.
_NUMBER_OR_NONE = frozenset((int, float, type(None)))

#: Types that, mixed with each other or with numbers, give a column of dtype object.
_HELD_AS_OBJECTS = frozenset((bool, int, float, type(None), str, bytes, tuple, list, dict, set, frozenset))

_TEXT_OR_NONE = frozenset((str, type(None)))

#: Packages with classes for which pandas infers, or may infer, a dtype other than object.
_KNOWN_TO_PANDAS = frozenset(("builtins", "datetime", "decimal", "numpy", "pandas", "pyarrow"))


@shaping
def build_apply(df: pd.DataFrame, returns: Returns, axis: int, raw: bool, result_type: ResultType) -> Any:
    """Build the result of ``df.apply`` from its returns: one for each row (axis 1) or column (axis 0), in order."""
    plain = type(df) is pd.DataFrame and df.flags.allows_duplicate_labels
    if plain and axis == 1 and result_type != "broadcast":
        short = _raw_rows(df, returns) if raw else _rows(df, returns, result_type)
        if short is not None:
            return _finished(short, df)
    target: Any = _frame_of_shape(df, axis, raw) if plain and result_type != "broadcast" else df
    with np.errstate(all="ignore"):  # pandas converts the values again; numpy must not warn about them
        return target.apply(replay(returns), axis=axis, raw=raw, result_type=result_type)


def replay(returns: Returns) -> Callable[[Any], Any]:
    """Return a function of one argument that returns the recorded returns, one at each call."""
    # ``next`` takes the row or value as its default, which it never returns.  A partial of it runs in C, and costs a
    # fraction of a Python function.
    return functools.partial(next, iter(returns.values()))


def _finished(result: Any, source: Any) -> Any:
    if source.attrs:
        result.attrs = copy.deepcopy(source.attrs)
    return result


# Rows


def _rows(df: pd.DataFrame, returns: Returns, result_type: ResultType) -> Any:
    packed = returns.packed(columns=result_type == "expand")
    if isinstance(packed, SeriesRows):
        return None if result_type == "reduce" else _frame_of_series(df, packed)
    if isinstance(packed, Columns):
        return _expanded(df, packed)
    first = returns[0] if packed is None else None
    if isinstance(first, pd.Series) or (result_type == "expand" and packed is None):
        return None
    return pd.Series(values_for_series(packed, returns), index=df.index)


def values_for_series(packed: Packed | None, returns: Returns) -> Any:
    """Return the returns in the form that ``pd.Series`` reads fastest: an array if possible, else a list."""
    if isinstance(packed, Numbers) and packed.type in PLAIN_NUMBERS:
        return packed.array
    if isinstance(packed, Texts):
        return packed.inferred
    times = _inferred_times(packed) if isinstance(packed, Times) else None
    return returns.values() if times is None else times


def _inferred_times(times: Times) -> Any:
    """Return the array that pandas infers for these times, or None if it keeps objects."""
    at = int(np.argmin(np.isnat(times.array)))
    one = Times(times.array[at : at + 1], times.tz)
    dtype: Any = pd.Series(one.unpacked()).dtype
    if dtype.kind not in "Mm":
        return None
    unit: Any = np.datetime_data(dtype)[0] if isinstance(dtype, np.dtype) else dtype.unit
    try:
        # as_unit, because pandas 2 converts all times to nanoseconds.
        return times.index.as_unit(unit).array.copy()  # in pandas 3.1 the array of an index is read-only
    except ValueError:  # a time is out of range for this unit: pandas keeps the objects
        return None


def _frame_of_series(df: pd.DataFrame, rows: SeriesRows) -> pd.DataFrame:
    if rows.values.dtype != object:
        return pd.DataFrame(rows.values, index=df.index, columns=rows.index)
    return pd.DataFrame(rows.values, index=df.index, columns=rows.index, dtype=object).infer_objects()


def _expanded(df: pd.DataFrame, rows: Columns) -> pd.DataFrame | None:
    """Build the frame from tuples, lists or dicts; return None if pandas' dtype for a row is not known."""
    # pandas makes a column of each *row* and transposes.  So a row of ints and floats becomes floats.  Any other mixed
    # row becomes objects, and its columns get their dtypes at the end.
    labels: Any = pd.RangeIndex(len(rows.columns))
    if isinstance(rows, Dicts):
        labels = pd.Index(list(rows.keys))
    if not _known_by_row(rows.columns):
        return None
    floats = {column.array.dtype.kind if isinstance(column, Numbers) else None for column in rows.columns} == {"f", "i"}
    columns = [_inferred(column) for column in rows.columns]
    if any(column is None for column in columns):
        return None
    if floats:
        columns = [column.astype(np.float64) for column in columns]
    expanded = pd.DataFrame(dict(enumerate(columns)), index=df.index)
    expanded.columns = labels
    return expanded


def _known_by_row(columns: Sequence[Packed]) -> bool:
    """Return whether the dtype that pandas gives each row, before it transposes, is known."""
    numbers: list[Any] = [column for column in columns if isinstance(column, Numbers)]
    times: list[Any] = [column for column in columns if isinstance(column, Times)]
    mixed: list[Any] = [column for column in columns if isinstance(column, Mixed)]
    sure = any(not _missing(column).any() for column in numbers)
    if any(isinstance(column, Texts) for column in columns):
        # A row with a text and another object has dtype object, but pandas 3 takes a missing value for a missing text.
        if numbers and not times and not mixed:
            return not all(_missing(column).all() for column in numbers)
        sure = sure or any(not _missing(column).any() for column in times)
        return not numbers + times + mixed or (sure and not any(_missing(column).all() for column in mixed))
    if mixed or any(_missing(column).any() for column in times):
        return False
    # A row with a time and a number has dtype object, but pandas takes a missing number for a missing time.
    return not times or sure or (not numbers and all(have_one_form(column, times[0]) for column in times))


def _missing(column: Numbers | Times | Mixed) -> np.ndarray:
    values = np.array(column.values, dtype=object) if isinstance(column, Mixed) else column.array
    missing: np.ndarray = pd.isna(values)
    return missing


def _inferred(column: Packed) -> Any:
    """Return a column with the dtype that pandas infers from its objects; None if that is not known."""
    if isinstance(column, Numbers):
        return column.array
    if isinstance(column, Times):
        return _inferred_times(column)
    texts = column.inferred if isinstance(column, Texts) else []
    return pd.Series(column.unpacked(), dtype=object).infer_objects().array if isinstance(texts, list) else texts


def _raw_rows(df: pd.DataFrame, returns: Returns) -> Any:
    packed = returns.packed()
    # numpy.apply_along_axis takes the dtype of the first return for the whole array.
    if isinstance(packed, Numbers) and np.asanyarray(packed.type(packed.array[0])).dtype == packed.array.dtype:
        return pd.Series(packed.array, index=df.index)
    return None


def _frame_of_shape(df: pd.DataFrame, axis: int, raw: bool) -> pd.DataFrame:
    """Return a frame for which pandas builds the same result as for ``df``, with rows that cost nothing to make."""
    if raw:
        values = np.broadcast_to(np.int8(0), df.shape)
        stand_in = pd.DataFrame(values, index=df.index, columns=df.columns, copy=False)
    elif axis == 1:
        stand_in = pd.DataFrame(np.zeros((len(df), 1), np.int8), index=df.index)
    else:
        return df
    stand_in.attrs = df.attrs
    return stand_in


# Values


@shaping
def build_map(s: pd.Series, returns: Returns, verb: str, **how: Any) -> Any:
    """Build the result of ``s.map`` or ``s.apply`` from its returns: one for each call of pandas, in order."""
    if isinstance(s.dtype, pd.CategoricalDtype):
        returns = _with_nan(returns)
    elif len(returns) == len(s) and type(s) is pd.Series and s.flags.allows_duplicate_labels:
        values = _mapped(s.dtype, returns)
        if values is not None:
            return _finished(pd.Series(values, index=s.index, name=s.name, copy=False), s)
    return getattr(s, verb)(replay(returns), **how)


def _mapped(dtype: Any, returns: Returns) -> Any:
    """Return the array that pandas builds from the returns of a column; None if that is not known."""
    if not _maps_value_by_value(dtype):
        return None
    packed = returns.packed()
    if packed is None:
        return _mapped_objects(dtype, returns)
    if not (isinstance(packed, (Texts, Times)) or (isinstance(packed, Numbers) and packed.type in PLAIN_NUMBERS)):
        return None
    values = values_for_series(packed, returns)
    if isinstance(values, list):  # pandas infers the dtype from an array of objects, not from a list
        return np.fromiter(values, dtype=object, count=len(values))
    return values


def _mapped_objects(dtype: Any, returns: Returns) -> Any:
    """Do the same for returns that are not packed: of several types, or of a type without a packed form."""
    kinds = returns.kinds()
    if isinstance(dtype, pd.StringDtype):
        found: Any = texts(returns.values()).values if kinds == _TEXT_OR_NONE else None
        return found if getattr(found, "dtype", None) == dtype else None
    if dtype.kind in "mM":
        return None
    if kinds <= _NUMBER_OR_NONE and kinds != {type(None)}:
        return _floats(returns.values(), int in kinds)
    known = all(kind in _HELD_AS_OBJECTS or _is_users_own(kind) for kind in kinds)
    return np.fromiter(returns.values(), dtype=object, count=len(returns)) if known else None


def _floats(values: list[Any], has_ints: bool) -> Any:
    try:
        floats = np.array(values, dtype=np.float64)
    except OverflowError:
        return None
    # Above 2**53 a float may not hold an int.  Then pandas keeps objects or not, so a replay decides.
    return None if has_ints and (np.abs(floats) >= 2**53).any() else floats


def _is_users_own(kind: type) -> bool:
    """Return whether a class has no base class and no package for which pandas infers dtypes."""
    return kind.__mro__[1:] == (object,) and kind.__module__.partition(".")[0] not in _KNOWN_TO_PANDAS


def _maps_value_by_value(dtype: Any) -> bool:
    """Return whether ``map`` passes the values as objects and infers the dtype of the result."""
    if isinstance(dtype, pd.StringDtype):
        # Strings with pd.NA have their own map, and strings with another storage keep that storage.
        return dtype.na_value is np.nan and bool(dtype == dtype_of_texts())
    # pandas converts a column of times to an Index first, which infers the same dtype.
    return isinstance(dtype, pd.DatetimeTZDtype) or (isinstance(dtype, np.dtype) and dtype.kind in "biufOmM")


@shaping
def build_frame_map(df: Any, dtypes: Sequence[Any], sizes: Sequence[int], returns: Returns, na_action: Any) -> Any:
    """Build the result of ``df.map``; ``sizes`` counts the returns of each column, and ``returns`` is in that order."""
    if any(isinstance(dtype, pd.CategoricalDtype) for dtype in dtypes):
        returns = _with_nan(returns)
    if type(df) is not pd.DataFrame or not df.flags.allows_duplicate_labels:
        return df.map(replay(returns), na_action=na_action)
    if returns.first_type in PLAIN_NUMBERS and len(returns) == df.size and all(map(_maps_value_by_value, set(dtypes))):
        packed = returns.packed()
        if isinstance(packed, Numbers) and packed.type in PLAIN_NUMBERS:
            block = packed.array.reshape(df.shape[::-1]).T
            return _finished(pd.DataFrame(block, index=df.index, columns=df.columns), df)
    parts = returns.split(sizes)
    columns: dict[int, Any] = {}
    for at, (dtype, part) in enumerate(zip(dtypes, parts, strict=True)):
        values = _mapped(dtype, part) if len(part) == len(df) else None
        if values is not None:
            columns[at] = values
    if not columns:
        return df.map(replay(returns), na_action=na_action)
    others = [at for at in range(len(parts)) if at not in columns]
    if others:
        replayed = Returns([parts[at].values() for at in others])
        rest = df.iloc[:, others].map(replay(replayed), na_action=na_action)
        columns |= {at: column.array for at, (_, column) in zip(others, rest.items(), strict=True)}
    shaped = pd.DataFrame({at: columns[at] for at in range(len(parts))}, index=df.index)
    shaped.columns = df.columns
    return _finished(shaped, df)


def _with_nan(returns: Returns) -> Returns:
    """Undo :class:`DetectNan`: replace its placeholder by ``np.nan``."""
    return Returns([[np.nan if value is _Nan.NAN else value for value in returns]])


class _Nan(enum.Enum):
    """Placeholder for the object ``np.nan``, because a nan that was deserialized is another object."""

    NAN = enum.auto()


@dataclass(frozen=True, slots=True)
class DetectNan(Substitute):
    """Function that returns a placeholder instead of the object ``np.nan``, but keeps other nans.

    ``map`` of categories gives a categorical or not, depending on whether the return for a missing value *is* np.nan.
    """

    func: Func

    def __call__(self, value: Any, *args: Any, **kwargs: Any) -> Any:
        return then(self.func(value, *args, **kwargs), lambda returned: _Nan.NAN if returned is np.nan else returned)
