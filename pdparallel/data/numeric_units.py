"""Units of numbers as arrays, in the types that pandas passes to a function; for compiled functions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence, Set
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from pdparallel.data.values import FrameValues, backing_array, first_row
from pdparallel.data.windows import WindowUnits
from pdparallel.typing import UnitFormat

__all__ = ["Layout", "NotNumericError", "NumericUnits", "nasty_positions", "numeric_units"]

#: Types of Python's numbers in arrays.
_OF_PYTHON: dict[type, np.dtype] = {float: np.dtype("f8"), int: np.dtype("i8"), bool: np.dtype("?")}

#: Name of the field of a record that the function reads nothing from.
_UNREAD = "__no_column__"


class NotNumericError(Exception):
    """Error that units are no numbers, with the reason."""


class Layout(NamedTuple):
    """How a compiled function gets a unit: as record, tuple, namedtuple, array, window or value; with its types."""

    format: str
    fields: tuple[tuple[str, str], ...]

    @property
    def dtype(self) -> np.dtype:
        """Return the dtype of a record or value."""
        return np.dtype(list(self.fields), align=True) if self.format == "record" else np.dtype(self.fields[0][1])


class NumericUnits:
    """Some consecutive units of a call, all of one layout."""

    def __init__(
        self,
        start: int,
        stop: int,
        layout: Layout,
        columns: Sequence[np.ndarray],
        without: dict[Any, str] | None = None,
        of_python: bool = False,
    ) -> None:
        self.start, self.stop = start, stop
        self.layout = layout
        self.columns = columns
        #: Columns that the function cannot read, each with the reason.
        self.without = without or {}
        #: Whether the function gets numbers of Python, not of NumPy.
        self.of_python = of_python

    def units(self, at: slice | np.ndarray) -> Any:
        """Return the units at some places, counted from the first one of these, as compiled code takes them."""
        format_, fields = self.layout.format, self.layout.fields
        if format_ == "window":
            values, starts, stops = self.columns
            return values, starts[at], stops[at]
        if format_ == "array":
            view = np.ascontiguousarray(self.columns[0][at]).view()
            view.flags.writeable = False
            return view
        if format_ == "value":
            return _taken(self.columns[0], at, fields[0][1])
        if format_ != "record":
            return tuple(_taken(column, at, kind) for column, (_, kind) in zip(self.columns, fields, strict=True))
        n = len(range(*at.indices(self.stop - self.start))) if isinstance(at, slice) else len(at)
        records = np.zeros(n, self.layout.dtype)
        for column, (name, _) in zip(self.columns, fields, strict=False):
            records[name] = column[at]
        return records


def _taken(column: np.ndarray, at: slice | np.ndarray, kind: str) -> np.ndarray:
    return np.ascontiguousarray(column[at].astype(kind, copy=False))


def numeric_units(data: Any, unit_format: UnitFormat, names: Set[Any]) -> list[NumericUnits]:
    """Return the units of a call as arrays.

    ``names`` are the strings that occur in the function. Only these columns of rows are taken.

    Raises
    ------
    NotNumericError
        With the reason.
    """
    if unit_format == "row":
        return [_rows(data, names)]
    if unit_format in ("row-tuple", "row-namedtuple"):
        return [_tuples(data, unit_format == "row-namedtuple", names)]
    if unit_format in ("row-array", "column-array"):
        return [_arrays(data if unit_format == "row-array" else data.T)]
    if unit_format == "value":
        return [_values(backing_array(data), 0)]
    if unit_format == "item" and isinstance(data, list):
        return [_values(data, 0)]
    if unit_format == "unit" and isinstance(data, FrameValues):
        return list(_cells(data))
    if unit_format == "unit" and isinstance(data, WindowUnits):
        return list(_windows(data))
    raise NotNumericError(
        "it takes rows and values, lists of numbers in pdparallel.map, and with raw=True columns and windows. "
        "Use engine='auto'"
    )


def _rows(df: pd.DataFrame, names: Set[Any]) -> NumericUnits:
    row = first_row(df)
    first = [row.iloc[at] for at in range(len(row))]
    fields, columns, without, of_python = [], [], dict[Any, str](), False
    by_extension = not isinstance(row.dtype, np.dtype)  # such rows have pd.NA in the place of NaN
    for at, (label, value) in enumerate(zip(df.columns, first, strict=True)):
        if label not in names:
            continue
        if not isinstance(label, str):
            without[label] = f"the label {label!r} is no text. Rename the columns: df.rename(columns=str)"
        elif df.columns.get_loc(label) != at:
            without[label] = f"the label {label!r} occurs more than once"
        else:
            try:
                kind, column = _column(df.iloc[:, at], value, by_extension)
            except NotNumericError as error:
                without[label] = f"column {label!r} {error}"
            else:
                fields.append((label, kind))
                columns.append(column)
                of_python = of_python or type(value) in _OF_PYTHON
    if not fields:
        fields = [(_UNREAD, "u1")]
    return NumericUnits(0, len(df), Layout("record", tuple(fields)), columns, without, of_python)


def _tuples(df: pd.DataFrame, named: bool, names: Set[Any]) -> NumericUnits:
    first = next(df.iloc[:1].itertuples(index=named, name="Pandas" if named else None))
    labels = list(getattr(first, "_fields", df.columns))
    sources = (
        [df.index.to_series(), *(df.iloc[:, at] for at in range(df.shape[1]))]
        if named
        else [df.iloc[:, at] for at in range(df.shape[1])]
    )
    fields, columns, without = [], [], dict[Any, str]()
    for label, value, source in zip(labels, first, sources, strict=True):
        if named and label not in names:
            continue
        try:
            kind, column = _column(source, value)
        except NotNumericError as error:
            without[label] = f"column {label!r} {error}"
            if not named:
                text = f"{without[label]}. Select the columns of numbers first: df[['a', 'b']].par(...)"
                raise NotNumericError(text) from None
        else:
            fields.append((str(label), kind))
            columns.append(column)
    if not fields:
        raise NotNumericError("the function reads no column of numbers by its name")
    layout = Layout("namedtuple" if named else "tuple", tuple(fields))
    return NumericUnits(0, len(df), layout, columns, without, type(first[-1]) in _OF_PYTHON)


def _column(s: pd.Series, value: Any, by_extension: bool = False) -> tuple[str, np.ndarray]:
    """Return the type in which a function gets the values of a column, and an array of them."""
    if type(value) in _OF_PYTHON:
        kind = _OF_PYTHON[type(value)]
    elif isinstance(value, np.generic) and value.dtype.kind in "biuf" and value.dtype.itemsize <= 8:
        kind = value.dtype
    elif s.isna().any():
        raise NotNumericError("has missing values, which are no numbers there")
    else:
        raise NotNumericError(f"holds {type(value).__name__} objects, not numbers")
    if s.dtype == object:
        raise NotNumericError("has dtype object. Convert it: df.infer_objects() or .astype('float64')")
    if (by_extension or not isinstance(s.dtype, np.dtype)) and s.isna().any():
        raise NotNumericError("has missing values, and the row has pd.NA for them")
    if not isinstance(s.dtype, np.dtype):
        return kind.str, s.to_numpy(dtype=kind)
    return kind.str, _fitting(s.to_numpy(), kind)


def _fitting(values: np.ndarray, kind: np.dtype) -> np.ndarray:
    if values.dtype.kind == "u" and kind.kind == "i" and len(values) and values.max() > np.iinfo(kind).max:
        raise NotNumericError("has integers of more than 63 bits")
    if values.dtype.kind not in "biuf" or values.dtype.itemsize > 8:
        raise NotNumericError(f"has dtype {values.dtype}")
    return values


def _arrays(data: np.ndarray) -> NumericUnits:
    if data.dtype.kind not in "biuf" or data.dtype.itemsize > 8:
        raise NotNumericError(
            f"with raw=True the function gets arrays of dtype {data.dtype}, which are not numbers only"
        )
    return NumericUnits(0, len(data), Layout("array", (("", data.dtype.str),)), [data])


def _values(values: Any, start: int) -> NumericUnits:
    if isinstance(values, list):
        kinds = set(map(type, values))
        if len(kinds) != 1:
            raise NotNumericError(f"the values have several types: {', '.join(sorted(one.__name__ for one in kinds))}")
        (python,) = kinds
        kind = _OF_PYTHON.get(python) or np.dtype(python if issubclass(python, np.generic) else object)
        try:
            values = np.array(values, kind)
        except OverflowError:
            raise NotNumericError("the values have integers of more than 63 bits") from None
    elif not isinstance(values, np.ndarray):
        raise NotNumericError(f"the values have dtype {values.dtype}, and are not numbers")
    else:
        kind = np.dtype({"f": "f8", "i": "i8", "u": "i8", "b": "?"}.get(values.dtype.kind, object))
    if kind.kind not in "biuf":
        raise NotNumericError(f"the values have dtype {values.dtype}, and are not numbers")
    return NumericUnits(
        start, start + len(values), Layout("value", (("", kind.str),)), [_fitting(values, kind)], None, True
    )


def _cells(data: FrameValues) -> Iterator[NumericUnits]:
    """Yield the values of columns; neighbours of one type come together."""
    parts: list[NumericUnits] = []
    start = 0
    for column in data.columns:
        if len(column):
            part = _values(column, start)
            if parts and parts[-1].layout != part.layout:
                yield _joined(parts)
                parts = []
            parts.append(part)
        start += len(column)
    if parts:
        yield _joined(parts)


def _windows(data: WindowUnits) -> Iterator[NumericUnits]:
    start = 0
    for column in data.columns:
        if column.index is not None:
            raise NotNumericError("with raw=False the function gets Series. Give raw=True")
        values = np.ascontiguousarray(column.values).view()
        values.flags.writeable = False
        yield NumericUnits(
            start, start + len(column), Layout("window", (("", "f8"),)), [values, *column.bounds.arrays()]
        )
        start += len(column)


def _joined(parts: list[NumericUnits]) -> NumericUnits:
    column = np.concatenate([part.columns[0] for part in parts])
    return NumericUnits(parts[0].start, parts[-1].stop, parts[0].layout, [column], of_python=True)


#: Largest number of values of a column among which nasty ones are searched.
MAX_SEARCHED = 250_000

#: What makes a number nasty.
_NASTY: tuple[Callable[[np.ndarray], np.ndarray], ...] = (
    lambda values: values == 0, lambda values: values != values, lambda values: values < 0,
    lambda values: np.isinf(values), lambda values: values == 1,
)  # fmt: skip


def nasty_positions(units: NumericUnits, most: int, random: np.random.Generator) -> np.ndarray:
    """Return at most ``most`` places of units, in order: the first and last, nasty numbers, and random ones."""
    n = units.stop - units.start
    if n <= most:
        return np.arange(n)
    found = {0, 1, n - 1}
    step = -(-n // MAX_SEARCHED)
    columns = units.columns
    if units.layout.format == "window":  # the first and the last value of each
        column, starts, stops = columns
        columns = [column[starts[::step]], column[np.maximum(stops[::step] - 1, 0)]]
    elif step > 1:
        columns = [column[::step] for column in columns]
    for column in columns:
        values = column
        if values.ndim > 1:  # rows of an array: their sums show NaN, infinite and extreme numbers
            with np.errstate(all="ignore"):
                values = values.sum(axis=1, dtype=float)
        finite = np.isfinite(values) if values.dtype.kind == "f" else None
        if finite is None or finite.any():
            shown = values if finite is None or finite.all() else np.where(finite, values, values[np.argmax(finite)])
            found |= {step * int(np.argmin(shown)), step * int(np.argmax(shown))}
        for is_nasty in _NASTY:
            places = is_nasty(values)
            first = int(np.argmax(places))
            if places[first]:
                found |= {step * first, step * (len(places) - 1 - int(np.argmax(places[::-1])))}
    left = most - len(found)
    if left > 0:
        found |= set(random.integers(0, n, left).tolist())
    return np.array(sorted(found)[:most] if len(found) > most else sorted(found))
