"""Frames: one of each kind of dtype, of labels and of shape, made anew at each call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

__all__ = ["DTYPES", "EMPTY", "FRAMES", "LABELS", "NUMBERED", "VALUES", "Measured", "MeasuredColumn"]

N = 9


class Measured(pd.DataFrame):
    """A subclass with metadata of its own, as pandas documents subclassing."""

    _metadata = ["unit"]

    @property
    def _constructor(self):
        return Measured

    @property
    def _constructor_sliced(self):
        return MeasuredColumn


class MeasuredColumn(pd.Series):
    """The Series of :class:`Measured`."""

    _metadata = ["name", "unit"]

    @property
    def _constructor(self):
        return MeasuredColumn

    @property
    def _constructor_expanddim(self):
        return Measured


def _times(**how: Any) -> pd.Series:
    return pd.Series(pd.date_range("2024-03-30 21:30", periods=N, freq="7h", **how))


def _with_missing(values: Any, *positions: int) -> pd.Series:
    series = pd.Series(values)
    series.iloc[list(positions)] = None
    return series


#: One Series of N values of each dtype; Series and frames of one dtype are made of these.
VALUES: dict[str, Callable[[], pd.Series]] = {
    "int64": lambda: pd.Series(range(N)),
    "int8": lambda: pd.Series(range(N), dtype="int8"),
    "uint64": lambda: pd.Series([*range(N - 1), 2**64 - 1], dtype="uint64"),
    "float64": lambda: pd.Series([0.5, -1.5, np.nan, np.inf, 0.0, -0.0, 1e300, 3.0, np.nan]),
    "float32": lambda: pd.Series(np.arange(N) / 3, dtype="float32"),
    "complex128": lambda: pd.Series(np.arange(N) * (1 + 2j)),
    "bool": lambda: pd.Series([True, False, False, True, True, True, False, True, False]),
    "str": lambda: _with_missing(list("kbchaefgb"), 1, 7),
    "str without missing": lambda: pd.Series(["k", "", "c c", "ä", "b", "e", "f", "g", "b"]),
    "object": lambda: pd.Series([1, "a", None, 2.5, [1, 2], ("x",), np.nan, {"k": 1}, pd.NaT], dtype=object),
    "object of ints": lambda: pd.Series([*range(N - 1), 2**70], dtype=object),
    "category": lambda: _with_missing(pd.Categorical(list("babccabba"), categories=list("cbad")), 4),
    "category ordered ints": lambda: pd.Series(pd.Categorical([3, 1, 2, 3, 1, 1, 2, 3, 2], ordered=True)),
    "datetime64[ns]": lambda: _with_missing(_times(), 3),
    "datetime64[s]": lambda: _times().astype("datetime64[s]"),
    "datetime64[ns, tz]": lambda: _with_missing(_times(tz="Europe/Berlin"), 8),
    "timedelta64[ns]": lambda: _with_missing(pd.to_timedelta(np.arange(N) * 1.5, unit="h"), 0),
    "period[M]": lambda: _with_missing(pd.period_range("2024-01", periods=N, freq="M"), 5),
    "interval": lambda: pd.Series(pd.interval_range(0, N, N)),
    "Int64": lambda: pd.Series([1, 2, None, 4, 5, 6, None, 8, 2**62], dtype="Int64"),
    "Int64 without NA": lambda: pd.Series(range(N), dtype="Int64"),
    "Float64": lambda: pd.Series([0.5, None, 2.0, 3.0, 4.0, 5.0, None, 7.0, 8.0], dtype="Float64"),
    "boolean": lambda: pd.Series([True, None, False, True, None, True, True, False, False], dtype="boolean"),
    "string": lambda: pd.Series(["k", None, "c", "", "b", "e", None, "g", "b"], dtype="string"),
    "string[python]": lambda: pd.Series(["k", None, "c", "", "b", "e", None, "g", "b"], dtype="string[python]"),
    "int64[pyarrow]": lambda: pd.Series([1, 2, None, 4, 5, 6, 7, 8, None], dtype="int64[pyarrow]"),
    "int64[pyarrow] without NA": lambda: pd.Series(range(N), dtype="int64[pyarrow]"),
    "double[pyarrow]": lambda: pd.Series([0.5, None, 2.0, 3.0, 4.0, 5.0, None, 7.0, 8.0], dtype="double[pyarrow]"),
    "string[pyarrow] of Arrow": lambda: pd.Series([*list("kbcha"), None, "f", "g", "b"], dtype=_arrow("string")),
    "bool[pyarrow]": lambda: pd.Series([True, None, False, True, None, True, True, False, True], dtype="bool[pyarrow]"),
    "timestamp[pyarrow]": lambda: _times().astype("timestamp[ns][pyarrow]"),
    "Sparse[float64]": lambda: pd.Series(
        pd.arrays.SparseArray([0.5, np.nan, np.nan, 3.0, np.nan, np.nan, 6.0, 0.5, np.nan])
    ),
    "Sparse[int64, 0]": lambda: pd.Series(pd.arrays.SparseArray([0, 0, 2, 0, 0, 5, 2, 0, 1], fill_value=0)),
}


def _arrow(name: str) -> pd.ArrowDtype:
    import pyarrow

    return pd.ArrowDtype(getattr(pyarrow, name)())


def _three(kind: str) -> Callable[[], pd.DataFrame]:
    def make() -> pd.DataFrame:
        values = VALUES[kind]()
        turned = pd.Series(values.array[::-1].copy())
        # A copy, for pandas 2 lets a function that writes into one column write into every column that shares its data.
        return pd.DataFrame({"a": values, "b": turned, "c": values.copy()})

    return make


#: Frames of three columns of one dtype, and mixes of dtypes.
DTYPES: dict[str, Callable[[], pd.DataFrame]] = {
    **{kind: _three(kind) for kind in VALUES},
    "int and float": lambda: pd.DataFrame({"a": range(N), "b": np.arange(N) / 4}),
    "int, float, str": lambda: pd.DataFrame({"a": range(N), "b": np.arange(N) / 4, "c": list("abcdefghi")}),
    "bool and int": lambda: pd.DataFrame({"a": VALUES["bool"](), "b": range(N)}),
    "int and uint": lambda: pd.DataFrame({"a": range(N), "b": VALUES["uint64"]()}),
    "times and ints": lambda: pd.DataFrame({"a": _times(), "b": range(N)}),
    "times, aware and naive": lambda: pd.DataFrame({"a": _times(), "b": _times(tz="UTC")}),
    "times of two zones": lambda: pd.DataFrame({"a": _times(tz="Asia/Tokyo"), "b": _times(tz="UTC")}),
    "times of two units": lambda: pd.DataFrame({"a": _times(), "b": VALUES["datetime64[s]"]()}),
    "nullable and plain": lambda: pd.DataFrame({"a": VALUES["Int64"](), "b": np.arange(N) / 4}),
    "nullable of two kinds": lambda: pd.DataFrame({"a": VALUES["Int64"](), "b": VALUES["Float64"]()}),
    "nullable and str": lambda: pd.DataFrame({"a": VALUES["Int64"](), "b": VALUES["str"]()}),
    "arrow and plain": lambda: pd.DataFrame({"a": VALUES["int64[pyarrow]"](), "b": range(N)}),
    "sparse and dense": lambda: pd.DataFrame({"a": VALUES["Sparse[float64]"](), "b": range(N)}),
    "categories of two kinds": lambda: pd.DataFrame(
        {"a": VALUES["category"](), "b": VALUES["category ordered ints"]()}
    ),
    "everything": lambda: pd.DataFrame({kind: VALUES[kind]() for kind in VALUES}),
}


def _labelled(index: Any = None, columns: Any = None, **values: Any) -> pd.DataFrame:
    values = values or {"a": range(N), "b": np.arange(N) / 4, "c": np.arange(N)[::-1]}
    df = pd.DataFrame(values)
    if index is not None:
        df.index = index
    if columns is not None:
        df.columns = columns
    return df


def _measured() -> pd.DataFrame:
    df = Measured({"a": range(N), "b": np.arange(N) / 4})
    df.unit = "metre"
    return df


def _with_attrs(attrs: dict[str, Any]) -> pd.DataFrame:
    df = _labelled()
    df.attrs = attrs
    return df


#: Frames of numbers with labels of each kind.
LABELS: dict[str, Callable[[], pd.DataFrame]] = {
    "plain": _labelled,
    "range with a step": lambda: _labelled(pd.RangeIndex(100, 100 - 3 * N, -3, name="down")),
    "strings and names": lambda: _labelled(
        pd.Index(list("rstuvwxyz"), name="row"), pd.Index(["a", "b", "c"], name="column")
    ),
    "rows repeat": lambda: _labelled(list("xxyzzzxyx")),
    "columns repeat": lambda: _labelled(columns=["a", "b", "a"]),
    "both repeat": lambda: _labelled([0] * N, ["a", "a", "a"]),
    "rows of two levels": lambda: _labelled(
        pd.MultiIndex.from_product([["x", "y", "z"], [1, 2, 3]], names=["letter", None])
    ),
    "rows of two levels repeat": lambda: _labelled(pd.MultiIndex.from_arrays([list("aabbaabba"), [1] * N])),
    "columns of two levels": lambda: _labelled(
        columns=pd.MultiIndex.from_tuples([("x", 1), ("x", 2), ("y", 1)], names=["letter", "number"])
    ),
    "columns of two levels repeat": lambda: _labelled(
        columns=pd.MultiIndex.from_tuples([("x", 1), ("x", 1), ("y", 1)])
    ),
    "aware times with a freq": lambda: _labelled(pd.date_range("2024-03-30", periods=N, freq="D", tz="Europe/Berlin")),
    "columns of times with a freq": lambda: _labelled(columns=pd.date_range("2024-01-31", periods=3, freq="ME")),
    "times that repeat": lambda: _labelled(pd.DatetimeIndex(["2024-01-01", "2024-01-02", "2024-01-01"] * 3)),
    "periods": lambda: _labelled(pd.period_range("2024-01", periods=N, freq="M", name="month")),
    "intervals": lambda: _labelled(pd.interval_range(0, N, N)),
    "categories": lambda: _labelled(
        pd.CategoricalIndex(list("abcabcabc")), pd.CategoricalIndex(["u", "v", "w"], categories=["w", "v", "u", "z"])
    ),
    "floats with nan": lambda: _labelled([0.5, 1.5, np.nan, 2.5, 3.5, 4.5, 5.5, 6.5, 7.5], [0.1, np.nan, 0.2]),
    "mixed objects": lambda: _labelled([1, "a", (1, 2), None, 2.5, "b", True, 3, "c"], [0, "x", None]),
    "range of columns": lambda: _labelled(columns=pd.RangeIndex(3)),
    "attrs": lambda: _with_attrs({"source": "a sensor", "limits": [0, 9]}),
    "attrs of arrays": lambda: _with_attrs({"weights": np.array([1.0, 2.0]), "table": pd.DataFrame({"a": [1]})}),
    "no repeats allowed": lambda: _labelled().set_flags(allows_duplicate_labels=False),
    "a subclass": _measured,
    "one row": lambda: _labelled().iloc[[4]],
    "two rows": lambda: _labelled().iloc[2:4],
    "one column": lambda: _labelled(a=np.arange(N) / 4),
    "one value": lambda: _labelled(a=[1.5]),
    "wide": lambda: pd.DataFrame(np.arange(3 * N).reshape(3, N), columns=list("abcdefghi")),
    "every other row of a view": lambda: pd.DataFrame(np.arange(6 * N).reshape(2 * N, 3), columns=list("abc"))[::2],
}

#: Frames with nothing in one direction or in both.
EMPTY: dict[str, Callable[[], pd.DataFrame]] = {
    "0 rows": lambda: _labelled().iloc[:0],
    "0 rows of many dtypes": lambda: DTYPES["everything"]().iloc[:0],
    "0 columns": lambda: _labelled().iloc[:, :0],
    "0 columns of two levels": lambda: LABELS["columns of two levels"]().iloc[:, :0],
    "0 rows, 0 columns": pd.DataFrame,
    "0 rows of a subclass": lambda: _measured().iloc[:0],
}

FRAMES = {**DTYPES, **LABELS, **EMPTY}


def _numbered(index: Any, columns: Any) -> Callable[[int], pd.DataFrame]:
    def make(axis: int) -> pd.DataFrame:
        values = np.arange(3 * N).reshape(3, N)
        df = pd.DataFrame(values if axis == 0 else values.T)
        df.index = index(len(df))
        df.columns = columns(df.shape[1])
        return df

    return make


#: Frames whose unit at position n (a row for axis 1, a column for axis 0) begins with the number n.
NUMBERED: dict[str, Callable[[int], pd.DataFrame]] = {
    "plain": _numbered(pd.RangeIndex, lambda n: pd.Index([f"c{i}" for i in range(n)], name="column")),
    "repeating": _numbered(
        lambda n: pd.Index(["x", "y", "x", "x", "z", "y", "y", "x", "q"][:n], name="row"),
        lambda n: pd.MultiIndex.from_arrays([["u", "u", "v"] * (n // 3), [1, 1, 2] * (n // 3)], names=["p", None]),
    ),
    "times": _numbered(
        lambda n: pd.date_range("2024-03-30", periods=n, freq="D", tz="Europe/Berlin", name="day"),
        lambda n: pd.date_range("2024-01-31", periods=n, freq="ME"),
    ),
}
