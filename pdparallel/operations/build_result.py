"""Assemble: one pandas object from the recorded returns, shaped once over all of them, as pandas does.

Joining the results of ``apply`` on chunks is wrong: whether pandas makes floats of an int and a None, or a frame of
lists, depends on *all* returns together.  So there are two ways, and both look at all returns:

- *replay*: pandas' own ``apply`` or ``map`` runs once more in the parent, over the real frame or a stand-in of the
  same shape, with a function that only hands out what was recorded.  It is right for whatever was returned.
- *short*: returns of one kind, of which it is known what pandas makes of them, are a column or a block already.
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

from pdparallel.core.returns import (
    Columns,
    Dicts,
    Mixed,
    Numbers,
    Packed,
    Returns,
    SeriesRows,
    Texts,
    Times,
    dtype_of_texts,
    have_one_form,
    texts,
)
from pdparallel.execution.events import shaping
from pdparallel.typing import Func, ResultType

__all__ = [
    "PLAIN_NUMBERS",
    "TellingNan",
    "hand_out",
    "shaped_apply",
    "shaped_frame_map",
    "shaped_map",
    "values_for_series",
]

#: Types of numbers of which ``pd.Series`` makes the dtype that an array of them has.
PLAIN_NUMBERS = (float, int, bool, np.float64, np.int64, np.bool_)


#: Of these pandas makes floats, if there are any numbers among them.
_NUMBER_OR_NONE = frozenset((int, float, type(None)))

#: Of these, and of several of them, it makes a column of objects, whatever numbers stand beside them.
_HELD_AS_OBJECTS = frozenset((bool, int, float, type(None), str, bytes, tuple, list, dict, set, frozenset))

_TEXT_OR_NONE = frozenset((str, type(None)))

#: Modules of whose classes, those above aside, pandas makes dtypes of its own, or might.
_KNOWN_TO_PANDAS = frozenset(("builtins", "datetime", "decimal", "numpy", "pandas", "pyarrow"))


@shaping
def shaped_apply(df: pd.DataFrame, returns: Returns, axis: int, raw: bool, result_type: ResultType) -> Any:
    """What ``df.apply`` would have made of these returns."""
    plain = type(df) is pd.DataFrame and df.flags.allows_duplicate_labels
    if plain and axis == 1 and result_type != "broadcast":
        short = _raw_rows(df, returns) if raw else _rows(df, returns, result_type)
        if short is not None:
            return _finished(short, df)
    target: Any = _stand_in(df, axis, raw) if plain and result_type != "broadcast" else df
    with np.errstate(all="ignore"):  # of the values, which pandas converts once more
        return target.apply(hand_out(returns), axis=axis, raw=raw, result_type=result_type)


def hand_out(returns: Returns) -> Callable[[Any], Any]:
    """A function of one argument that returns one return after the other."""
    # ``next`` takes the row or value as what to return at the end, which is never reached; a C function called by
    # another costs a fraction of a Python function.
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
    """The returns as what ``pd.Series`` reads quickest."""
    if isinstance(packed, Numbers) and packed.type in PLAIN_NUMBERS:
        return packed.array
    if isinstance(packed, Texts):
        return packed.inferred
    times = _inferred_times(packed) if isinstance(packed, Times) else None
    return returns.values() if times is None else times


def _inferred_times(times: Times) -> Any:
    """What pandas makes of the objects; None where that is no array of times."""
    at = int(np.argmin(np.isnat(times.array)))
    one = Times(times.array[at : at + 1], times.tz)
    dtype: Any = pd.Series(one.unpacked()).dtype
    if dtype.kind not in "Mm":
        return None
    unit: Any = np.datetime_data(dtype)[0] if isinstance(dtype, np.dtype) else dtype.unit
    try:
        # pandas 2 makes nanoseconds of all
        return times.index.as_unit(unit).array.copy()  # pandas 3.1 has the array of an index read-only
    except ValueError:  # one is beyond what this unit can say: pandas leaves the objects
        return None


def _frame_of_series(df: pd.DataFrame, rows: SeriesRows) -> pd.DataFrame:
    if rows.values.dtype != object:
        return pd.DataFrame(rows.values, index=df.index, columns=rows.index)
    return pd.DataFrame(rows.values, index=df.index, columns=rows.index, dtype=object).infer_objects()


def _expanded(df: pd.DataFrame, rows: Columns) -> pd.DataFrame | None:
    """A frame of tuples, lists or dicts; None where it is not known what pandas makes of a row."""
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
    """Whether it is known what pandas makes of each row, before it makes columns of them."""
    numbers: list[Any] = [column for column in columns if isinstance(column, Numbers)]
    times: list[Any] = [column for column in columns if isinstance(column, Times)]
    mixed: list[Any] = [column for column in columns if isinstance(column, Mixed)]
    sure = any(not _missing(column).any() for column in numbers)
    if any(isinstance(column, Texts) for column in columns):
        # A text with what is no text makes objects of a row, but pandas 3 takes a missing value for a missing text.
        if numbers and not times and not mixed:
            return not all(_missing(column).all() for column in numbers)
        sure = sure or any(not _missing(column).any() for column in times)
        return not numbers + times + mixed or (sure and not any(_missing(column).all() for column in mixed))
    if mixed or any(_missing(column).any() for column in times):
        return False
    # A time with a number makes objects of a row, but pandas takes a missing number for a missing time.
    return not times or sure or (not numbers and all(have_one_form(column, times[0]) for column in times))


def _missing(column: Numbers | Times | Mixed) -> np.ndarray:
    values = np.array(column.values, dtype=object) if isinstance(column, Mixed) else column.array
    missing: np.ndarray = pd.isna(values)
    return missing


def _inferred(column: Packed) -> Any:
    """A column of objects with the dtype that pandas finds for it; None where that is not known."""
    if isinstance(column, Numbers):
        return column.array
    if isinstance(column, Times):
        return _inferred_times(column)
    texts = column.inferred if isinstance(column, Texts) else []
    return pd.Series(column.unpacked(), dtype=object).infer_objects().array if isinstance(texts, list) else texts


def _raw_rows(df: pd.DataFrame, returns: Returns) -> Any:
    packed = returns.packed()
    # numpy.apply_along_axis makes an array of the dtype that the first return has.
    if isinstance(packed, Numbers) and np.asanyarray(packed.type(packed.array[0])).dtype == packed.array.dtype:
        return pd.Series(packed.array, index=df.index)
    return None


def _stand_in(df: pd.DataFrame, axis: int, raw: bool) -> pd.DataFrame:
    """A frame that pandas shapes results upon as upon ``df``, but whose rows cost nothing to hand out."""
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
def shaped_map(s: pd.Series, returns: Returns, verb: str, **how: Any) -> Any:
    """What ``s.map`` or ``s.apply`` would have made of these returns."""
    if isinstance(s.dtype, pd.CategoricalDtype):
        returns = _with_nan(returns)
    elif len(returns) == len(s) and type(s) is pd.Series and s.flags.allows_duplicate_labels:
        values = _mapped(s.dtype, returns)
        if values is not None:
            return _finished(pd.Series(values, index=s.index, name=s.name, copy=False), s)
    return getattr(s, verb)(hand_out(returns), **how)


def _mapped(dtype: Any, returns: Returns) -> Any:
    """What pandas makes of the returns for each value of a column, as an array; None where that is not known."""
    if not _maps_value_by_value(dtype):
        return None
    packed = returns.packed()
    if packed is None:
        return _mapped_objects(dtype, returns)
    if not (isinstance(packed, (Texts, Times)) or (isinstance(packed, Numbers) and packed.type in PLAIN_NUMBERS)):
        return None
    values = values_for_series(packed, returns)
    if isinstance(values, list):  # as pandas has them at that point, so that it infers the same
        return np.fromiter(values, dtype=object, count=len(values))
    return values


def _mapped_objects(dtype: Any, returns: Returns) -> Any:
    """The same of returns of several kinds, or of one that does not pack."""
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
    # Ints that a float may not hold stay objects, or do not: pandas is to say it.
    return None if has_ints and (np.abs(floats) >= 2**53).any() else floats


def _is_users_own(kind: type) -> bool:
    """Whether it is a class that derives from nothing and comes from no library that pandas knows."""
    return kind.__mro__[1:] == (object,) and kind.__module__.partition(".")[0] not in _KNOWN_TO_PANDAS


def _maps_value_by_value(dtype: Any) -> bool:
    """Whether pandas maps the values as objects and makes a new column of what comes."""
    if isinstance(dtype, pd.StringDtype):
        # The ones with pd.NA have a map of their own, and those that are held in another way keep that.
        return dtype.na_value is np.nan and bool(dtype == dtype_of_texts())
    # Of a column of times it makes an Index first, which finds the same dtype.
    return isinstance(dtype, pd.DatetimeTZDtype) or (isinstance(dtype, np.dtype) and dtype.kind in "biufOmM")


@shaping
def shaped_frame_map(df: Any, dtypes: Sequence[Any], sizes: Sequence[int], returns: Returns, na_action: Any) -> Any:
    """What ``df.map`` would have made of these returns."""
    if any(isinstance(dtype, pd.CategoricalDtype) for dtype in dtypes):
        returns = _with_nan(returns)
    if type(df) is not pd.DataFrame or not df.flags.allows_duplicate_labels:
        return df.map(hand_out(returns), na_action=na_action)
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
        return df.map(hand_out(returns), na_action=na_action)
    others = [at for at in range(len(parts)) if at not in columns]
    if others:
        replayed = Returns([parts[at].values() for at in others])
        rest = df.iloc[:, others].map(hand_out(replayed), na_action=na_action)
        columns |= {at: column.array for at, (_, column) in zip(others, rest.items(), strict=True)}
    shaped = pd.DataFrame({at: columns[at] for at in range(len(parts))}, index=df.index)
    shaped.columns = df.columns
    return _finished(shaped, df)


def _with_nan(returns: Returns) -> Returns:
    """The returns of a :class:`TellingNan`, as they were."""
    return Returns([[np.nan if value is _Nan.NAN else value for value in returns]])


class _Nan(enum.Enum):
    """Stands for the one object ``np.nan`` on its way; a nan that travelled is another object."""

    NAN = enum.auto()


@dataclass(frozen=True, slots=True)
class TellingNan:
    """A function whose return ``np.nan`` is told from other nans."""

    func: Func

    def __call__(self, value: Any, *args: Any, **kwargs: Any) -> Any:
        returned = self.func(value, *args, **kwargs)
        return _Nan.NAN if returned is np.nan else returned
