"""Lazy groups: whatever a function does with its group, and with columns of it, is as with pandas' own."""

from __future__ import annotations

import contextlib
import copy
import functools
import gc
import operator
import pickle
import warnings
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pdparallel.compat import PANDAS_2
from pdparallel.data.fastpath import column
from pdparallel.data.fastpath import group as lazy_groups
from pdparallel.data.fastpath.base import is_lazy
from pdparallel.data.fastpath.group import LazyGroups
from pdparallel.testing import assert_same_as_pandas

SIZES = [3, 1, 2]
NAMES = ["one", "two", "three"]

_FRAME = pd.DataFrame(
    {
        "x": [1.5, np.nan, -0.0, 4.0, 5.5, np.inf],
        "n": [1, -2, 2**62, 4, 5, 6],
        "b": [True, False, True, True, False, False],
        "f": np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6], dtype=np.float32),
        "o": pd.Series([1, "x", None, [1], {}, 2.5], dtype=object),
        "t": ["p", None, "q", "", "é", "r"],
        "c": pd.Categorical(["u", None, "v", "u", "u", "v"]),
        "i": pd.array([1, None, 3, 4, 5, 6], dtype="Int64"),
        "d": pd.date_range("2026-01-01", periods=6),
        "z": pd.date_range("2026-01-01", periods=6, tz="Europe/Berlin"),
    }
)

FRAMES: dict[str, pd.DataFrame] = {
    "of all kinds": _FRAME,
    "floats": _FRAME[["x"]].assign(n=[0.5, 1.5, 2.5, 3.5, 4.5, 5.5]),
    "integers": _FRAME[["n"]].assign(x=range(6)),
    "texts as labels": _FRAME[["x", "n"]].set_axis(list("abcdef")),
    "labels that repeat": _FRAME[["x", "n"]].set_axis(list("aabbcc")),
    "times as labels": _FRAME[["x", "n"]].set_axis(pd.date_range("2026", periods=6, freq="D", name="when")),
    "levels as labels": _FRAME[["x", "n"]].set_axis(pd.MultiIndex.from_product([[1, 2], list("abc")])),
    "labels that NumPy asks for": _FRAME[["x", "n"]].set_axis(["__array_struct__", "__array_interface__", *"cdef"]),
    "names of attributes": _FRAME[["x", "n"]].assign(sum=1, name=2, index=3, iloc=4, shape=5, _name=6),
    "an own name": _FRAME[["x", "n"]].assign(_lazy=1),
    "columns that repeat": pd.DataFrame(np.ones((6, 3)), columns=["x", "n", "x"]),
    "numbers as columns": pd.DataFrame(np.ones((6, 3))),
    "named columns": _FRAME[["x", "n"]].rename_axis(columns="which").rename_axis("row"),
}


def _with(func: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda group: (func(group["x"]), func(group.n))


def _typed(value: Any) -> Any:
    return type(value).__name__, repr(value)


def _array(array: Any) -> Any:
    return type(array).__name__, str(array.dtype), array.tolist(), array.flags.writeable


def _quietly(func: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """With what is warned of as a part of the answer."""

    def one(unit: Any) -> Any:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                value = func(unit)
            except Exception as error:
                value = type(error), str(error)
        return value, sorted(f"{one.category.__name__}: {one.message}" for one in caught)

    return one


def _written(group: Any) -> Any:
    column = group["x"]
    column.iloc[0] = 99.0
    return group["x"].tolist(), column.tolist(), group.x.tolist()


def _written_otherwise(group: Any) -> Any:
    column = group["x"]
    column.iloc[0] = "a text"
    return group["x"].tolist(), column.tolist(), str(group["x"].dtype)


def _written_by_array(group: Any) -> Any:
    group["x"].to_numpy()[0] = 99.0
    return group["x"].tolist(), group.to_numpy().tolist()


def _written_afterwards(group: Any) -> Any:
    column = group["x"]
    before = column.sum()
    group["x"] = 7.0
    group.loc[group.index[0], "n"] = 8
    return before, column.tolist(), group["x"].tolist(), group["n"].tolist()


def _written_by_loc(group: Any) -> Any:
    column = group["n"]
    first = column.iloc[0]
    group.iloc[0, 1] = 5
    return first, column.iloc[0], column.tolist(), group["n"].tolist()


def _written_while_iterating(group: Any) -> Any:
    seen = []
    column = group["x"]
    for at, value in enumerate(column):
        seen.append(value)
        if at + 1 < len(column):
            column.iloc[at + 1] = 50.0
    return seen, group["x"].tolist()


def _grown(group: Any) -> Any:
    column = group["x"]
    column.loc["new"] = 1.0
    return column.tolist(), group["x"].tolist(), len(group)


def _renamed(group: Any) -> Any:
    group["x"].name = "other"
    return group["x"].name


def _own_attribute(group: Any) -> Any:
    group.attrs["seen"] = 1
    group["x"].attrs["seen"] = 2
    return dict(group.attrs), dict(group["x"].attrs)


def _labels_set(group: Any) -> Any:
    column = group["x"]
    group.index = range(len(group))
    return list(group.index), list(column.index), list(group["x"].index)


def _labels_named(group: Any) -> Any:
    group.index.name = "named"
    return group.index.name, group["x"].index.name, group.head().index.name


def _labels_of_computed(group: Any, change: Callable[[Any], Any]) -> Any:
    column = group["x"]
    computed = column * 2
    change(column)
    return [(one.index.name, list(one.index)) for one in (column, computed, group)]


@functools.singledispatch
def _dispatched(unit: Any) -> str:
    return "object"


@_dispatched.register
def _(unit: pd.DataFrame) -> str:
    return "frame"


def _match(group: Any) -> Any:
    match group:
        case pd.DataFrame(x=pd.Series()):
            return "a frame with a column"
    return None


def _one_index(group: Any) -> Any:
    one, other = group["x"], group["n"]
    both = one + other
    one.index.name = "named"
    names = group.index.name, other.index.name, group["x"].index.name, both.index.name
    return one.index is group.index, other.index is one.index, both.index.is_(group.index), list(both.index), names


#: Of a group that is a frame.
USES: dict[str, Callable[[Any], Any]] = {
    "length": len,
    "shape": lambda group: (group.shape, group.ndim, group.size, group.empty),
    "name": lambda group: _typed(group.name),
    "labels": lambda group: (type(group.index).__name__, list(group.index), list(group.index.names)),
    "columns": lambda group: (list(group.columns), group.columns.name),
    "iterated": list,
    "contains": lambda group: ("x" in group, "missing" in group, 0 in group),
    "contains a list": lambda group: [] in group,
    "by label": _with(lambda column: (_typed(column.iloc[0]), str(column.dtype), column.name, len(column))),
    "by label, all": lambda group: [(label, group[label].tolist(), str(group[label].dtype)) for label in group],
    "by attribute": lambda group: (group.x.tolist(), group.n.max()),
    "by a label that is missing": lambda group: group["missing"],
    "by an attribute that is missing": lambda group: group.missing,
    "asking for attributes": lambda group: (hasattr(group, "x"), hasattr(group, "missing"), getattr(group, "m", 1)),
    "by get": lambda group: (group.get("x").tolist(), group.get("missing"), group.get("missing", 3)),
    "by several labels": lambda group: group[["n", "x"]],
    "by a mask": lambda group: group[group["x"] > 1],
    "by a tuple": lambda group: group["x", "n"],
    "by NumPy's text": lambda group: group[np.str_("x")],
    "by a number": lambda group: group[0],
    "by iloc": lambda group: (group.iloc[0].tolist(), group.iloc[-1:]),
    "by loc": lambda group: group.loc[group.index[0]],
    "one of a column": _with(lambda column: [_typed(column.iloc[at]) for at in range(-len(column), len(column))]),
    "one by iat": _with(lambda column: _typed(column.iat[0])),
    "one out of range": _with(lambda column: column.iloc[99]),
    "one by NumPy's number": _with(lambda column: _typed(column.iloc[np.int64(0)])),
    "some of a column": _with(lambda column: column.iloc[:2]),
    "iloc called": _with(lambda column: _typed(column.iloc(axis=0)[0])),
    "kept iloc": _with(lambda column: (lambda by: (_typed(by[0]), column.isna().sum(), _typed(by[0])))(column.iloc)),
    "by the label of a row": _with(lambda column: column[column.index[0]]),
    "array": _with(lambda column: _array(np.asarray(column))),
    "an array of its own": _with(lambda column: _array(np.array(column))),
    "any array": _with(lambda column: _array(np.asanyarray(column))),
    "an array of floats": _with(lambda column: _array(np.asarray(column, dtype=np.float64))),
    "an array of texts": _with(lambda column: _array(np.asarray(column, dtype=object))),
    "values": _with(lambda column: _array(column.values)),
    "to_numpy": _with(lambda column: _array(column.to_numpy())),
    "to_numpy, a copy": _with(lambda column: _array(column.to_numpy(copy=True))),
    "to_numpy of floats": _with(lambda column: _array(column.to_numpy(dtype=float, na_value=0.0))),
    "pandas' array": _with(lambda column: type(column.array).__name__),
    "strides": _with(lambda column: column.to_numpy().strides),
    "iterated column": _with(lambda column: [_typed(value) for value in column]),
    "tolist": _with(lambda column: [_typed(value) for value in [*column.tolist(), *column.to_list()]]),
    "zipped": lambda group: [(_typed(x), _typed(n)) for x, n in zip(group["x"], group["n"], strict=True)],
    "unpacked": _with(lambda column: (lambda first, *rest: (_typed(first), len(rest)))(*column)),
    "shape of a column": _with(lambda column: (column.shape, column.size, column.ndim, column.empty, len(column))),
    "sum": _with(lambda column: _typed(column.sum())),
    "max and min": _with(lambda column: (_typed(column.max()), _typed(column.min()))),
    "mean": _with(lambda column: _typed(column.mean())),
    "with missing": _with(
        lambda column: (column.sum(skipna=False), column.mean(skipna=False), column.max(skipna=False))
    ),
    "sum of at least": _with(lambda column: _typed(column.sum(min_count=5))),
    "sum along": _with(lambda column: (_typed(column.sum(axis=0)), _typed(column.mean(None)))),
    "NumPy's sum": _with(lambda column: (_typed(np.sum(column)), _typed(np.max(column)), _typed(np.min(column)))),
    "NumPy's mean": _with(lambda column: _typed(np.mean(column))),
    "NumPy's mean in float32": _with(lambda column: _typed(np.mean(column, dtype=np.float32))),
    "std": _with(lambda column: _typed(column.std())),
    "NumPy's std": _with(lambda column: _typed(np.std(column))),
    "median": _with(lambda column: _typed(np.median(column))),
    "weighted": lambda group: _typed(np.average(group["x"], weights=np.abs(group["n"].to_numpy()))),
    "builtins": _with(lambda column: (_typed(sum(column)), _typed(max(column)), sorted(map(str, column)))),
    "a ufunc": _with(lambda column: np.abs(column)),
    "a ufunc of two": lambda group: np.maximum(group["x"], group["n"]),
    "a ufunc of frame and column": lambda group: np.logaddexp(group[["x", "n"]], group["x"]),
    "a ufunc of group and column": lambda group: np.logaddexp(group, group["x"]),
    "a ufunc with out": lambda group: np.abs(group["n"], out=group["n"].copy()),
    "a ufunc reduced": _with(lambda column: _typed(np.add.reduce(column))),
    "arithmetic": lambda group: group["x"] * group["n"],
    "arithmetic and sum": lambda group: _typed((group["x"] * group["n"]).sum()),
    "arithmetic with an array": lambda group: np.ones(len(group)) * group["x"],
    "arithmetic of the group": lambda group: group * 2,
    "plus": _with(lambda column: column + column),
    "minus": lambda group: (group["x"] - group["n"], group["n"] - group["n"]),
    "divided": lambda group: (group["n"] / group["x"], group["n"] / (group["n"] - group["n"])),
    "less its mean": _with(lambda column: column - column.mean()),
    "standardised": _with(lambda column: (column - column.mean()) / column.std()),
    "variance": _with(lambda column: (_typed(column.var()), _typed((column - column.mean()).var()))),
    "squared": _with(lambda column: ((column - 1.5) ** 2).sum()),
    "powers": _with(lambda column: (column**2, column**3, column**0.5, 2**column)),
    "powers of two columns": lambda group: group["x"] ** group["x"],
    "with whole numbers": _with(lambda column: (column + 1, 2 * column, 7 - column, 1 / column, column * -3)),
    "with floats": _with(lambda column: (column + 0.5, 0.1 * column, 7.5 - column, 1e308 * column, column / 0.0)),
    "with NumPy's numbers": _with(
        lambda column: (column + np.float64(0.1), np.int64(3) * column, np.float64(2) - column)
    ),
    "with narrow numbers": _with(lambda column: (column + np.float32(0.1), column * np.int8(3))),
    "with large numbers": _with(lambda column: (column + 2**40, column * float(2**70))),
    "with bools": _with(lambda column: column + True),
    "with None": _with(lambda column: column + None),
    "with text": _with(lambda column: column + "text"),
    "with a list": _with(lambda column: column + [1.0] * len(column)),
    "with an array": _with(lambda column: (column * np.arange(len(column)), np.arange(len(column)) * column)),
    "with an array of the column": lambda group: group["x"] * group["n"].to_numpy(),
    "with a frame": lambda group: group["x"] + group[["x", "n"]],
    "with another Series": lambda group: group["x"] + group["x"].iloc[::-1],
    "with a Series of pandas": lambda group: (group["x"] + group["n"].abs(), group["n"].abs() - group["x"]),
    "with a time": _with(lambda column: column + pd.Timedelta(1, "s")),
    "in one go": lambda group: ((group["x"] * group["n"] + 1) / (group["n"].sum() + 0.5)).mean(),
    "in place": _with(lambda column: (column.__iadd__(1), column)),
    "in place of a group": lambda group: (exec("group['x'] += 1", {"group": group}), group)[1],
    "computed": lambda group: (lambda c: (c.name, c.dtype, len(c), list(c.index), c.iloc[-1]))(group.x * 2),
    "computed, its array": lambda group: (lambda c: (_array(c.to_numpy()), _array(np.asarray(c))))(group.x * 2),
    "computed, its index": lambda group: (lambda c: ((c * 2).index is c.index, (c + c).index is c.index))(group.x),
    "computed, written": lambda group: (lambda c: (c.iloc.__setitem__(0, 5.0), c, group.x))(group.x * 2)[1:],
    "computed, labels named": lambda group: _labels_of_computed(group, lambda c: setattr(c.index, "name", "z")),
    "computed, labels set": lambda group: _labels_of_computed(group, lambda c: setattr(c, "index", range(len(c)))),
    "computed, kept": lambda group: [group.x * 2, (group.x - group.n) / 2],
    "computed, put in": lambda group: group.assign(new=group.x * 2),
    "computed, again": lambda group: [(group.x * 2).sum(), (group.x * 2).sort_values().tolist()],
    "computed, pickled": lambda group: pickle.loads(pickle.dumps(group.x * 2)),
    "compared": _with(lambda column: column > 2),
    "negated": _with(lambda column: -column),
    "truth": lambda group: bool(group),
    "truth of a column": _with(bool),
    "hash": hash,
    "hash of a column": _with(hash),
    "text": lambda group: (str(group), repr(group), group._repr_html_()),
    "text of a column": _with(lambda column: (str(column), f"{column}")),
    "methods": _with(lambda column: (column.nunique(), column.count(), column.isna().tolist())),
    "sorted": lambda group: group.sort_values("x", ascending=False).head(1),
    "of the largest": lambda group: group.loc[group["n"].idxmax()],
    "described": lambda group: group[["x", "n"]].mean(),
    "one index": _one_index,
    "equals": lambda group: (group.equals(group.copy()), group["x"].equals(group["x"])),
    "its class": lambda group: (group.__class__ is pd.DataFrame, group["x"].__class__ is pd.Series),
    "an instance": lambda group: (isinstance(group, pd.DataFrame), isinstance(group["x"], (list, pd.Series))),
    "dispatched": _dispatched,
    "matched": _match,
    "dir": lambda group: [name for name in dir(group) if name in ("x", "sum", "_lazy")],
    "dir of a column": _with(lambda column: [name for name in dir(column) if name in ("x", "sum", "_lazy")]),
    "vars": lambda group: sorted(name for name in vars(group.copy()) if "lazy" in name),
    "returned": lambda group: group,
    "a copy returned": lambda group: group.copy(),
    "a shallow copy returned": copy.copy,
    "a deep copy returned": copy.deepcopy,
    "a column returned": lambda group: group["x"],
    "columns returned": lambda group: [group["x"], {"n": group["n"]}, (group,)],
    "a column after its group": lambda group: (lambda column: (group.head(), column))(group["x"]),
    "a group after its column": lambda group: (lambda column: (column.isna(), group))(group["x"]),
    "pickled": lambda group: pickle.loads(pickle.dumps(group)),
    "pickled column": _with(lambda column: pickle.loads(pickle.dumps(column))),
    "pickled in the old way": _with(lambda column: pickle.loads(pickle.dumps(column, 2))),
    "joined": lambda group: pd.concat([group["x"], group["n"]], axis=1),
    "joined groups": lambda group: pd.concat([group, group]),
    "a frame of columns": lambda group: pd.DataFrame({"one": group["x"], "two": group["n"]}),
    "a Series of a column": _with(lambda column: pd.Series(column)),
    "a dict of columns": lambda group: {label: column.tolist() for label, column in dict(group).items()},
    "columns by items": lambda group: [(label, column.tolist()) for label, column in group.items()],
    "an attribute by getter": lambda group: operator.attrgetter("x")(group),
    "an item by getter": lambda group: operator.itemgetter("x")(group),
    "assigned": lambda group: group.assign(new=group["x"] * 2),
    "a column added": lambda group: (group.__setitem__("new", 1), group)[1],
    "a column replaced": lambda group: (group.__setitem__("x", group["n"]), group, group["x"])[1:],
    "a column deleted": lambda group: (group.__delitem__("x"), group)[1],
    "an attribute set": lambda group: (setattr(group, "x", 1), group)[1],
    "an attribute of its own": lambda group: (setattr(group, "extra", 1), group.extra)[1],
    "written": _written,
    "written otherwise": _written_otherwise,
    "written by array": _written_by_array,
    "written afterwards": _written_afterwards,
    "written by loc": _written_by_loc,
    "written while iterating": _written_while_iterating,
    "written in a chain": lambda group: (group["x"].__setitem__(group.index[0], 3.0), group["x"].tolist())[1],
    "written in place in a chain": lambda group: (group["x"].fillna(0.5, inplace=True), group["x"].tolist())[1],
    "grown": _grown,
    "renamed": _renamed,
    "the same again": lambda group: group["x"] is group["x"],
    "attrs and flags": _own_attribute,
    "labels set": _labels_set,
    "labels named": _labels_named,
    "ones called like a method": lambda group: (callable(group.sum), callable(group.iloc), callable(group["x"].sum)),
}

#: Of a group that is a Series.
OF_A_COLUMN: dict[str, Callable[[Any], Any]] = {
    "length": len,
    "name": lambda column: _typed(column.name),
    "labels": lambda column: (type(column.index).__name__, list(column.index)),
    "range": lambda column: _typed(column.max() - column.min()),
    "mean": lambda column: _typed(column.mean()),
    "less its mean": lambda column: column - column.mean(),
    "standardised": lambda column: (column - column.mean()) / column.std(),
    "variance": lambda column: _typed(column.var()),
    "of itself": lambda column: (column * column).sum(),
    "computed, its index": lambda column: ((column * 2).index is column.index, (column * 2).name),
    "array": lambda column: _array(np.asarray(column)),
    "values": lambda column: _array(column.values),
    "iterated": lambda column: [_typed(value) for value in column],
    "first and last": lambda column: (_typed(column.iloc[0]), _typed(column.iloc[-1])),
    "largest three": lambda column: column.nlargest(2) if column.dtype != object else None,
    "returned": lambda column: column,
    "returned in a list": lambda column: [column],
    "renamed": lambda column: (setattr(column, "name", "other"), column)[1],
    "written": lambda column: (column.iloc.__setitem__(0, column.iloc[-1]), column)[1],
    "text": str,
    "pickled": lambda column: pickle.loads(pickle.dumps(column)),
    "text methods": lambda column: column.str.upper(),
}


class _Taker:
    def __init__(self, func: Callable[[Any], Any]) -> None:
        self.kept: list[Any] = []
        self._func = func

    def call_owned(self, unit: Any) -> None:
        self.kept.append(self._func(unit))

    def start_block(self, most: int) -> int:
        return min(most, 2)

    def call_shared(self, unit: Any) -> None:
        raise AssertionError("groups are objects of their own")

    call_in_block = call_each = call_shared


def _numbers(data: Any) -> np.ndarray:
    return np.repeat(np.arange(len(data) // sum(SIZES) * 3), SIZES * (len(data) // sum(SIZES)))


def _lazy(func: Callable[[Any], Any], data: Any) -> list[Any]:
    sink, lazy = _Taker(func), LazyGroups(len)  # which does not ask for types, as tests do
    sizes = SIZES * (len(data) // sum(SIZES))
    data = data.take(np.arange(len(data)))  # as rows are brought into the order of their groups
    done = lazy.call_with_groups(data, sizes, NAMES * (len(sizes) // 3), sink)
    assert done in (0, len(sizes))
    return sink.kept


def _pandas(func: Callable[[Any], Any], data: Any) -> list[Any]:
    kept: list[Any] = []

    def one(group: Any) -> None:
        object.__setattr__(group, "name", NAMES[len(kept) % 3])
        kept.append(func(group))

    for _, group in data.groupby(_numbers(data)):
        one(group)
    return kept


@pytest.fixture(autouse=True)
def _meant() -> Iterator[None]:
    """What is written into a group is meant, as in :mod:`pdparallel.data.groups`."""
    with pd.option_context("mode.chained_assignment", None) if PANDAS_2 else contextlib.nullcontext():
        yield


def _fits(data: Any) -> bool:
    return bool(lazy_groups._fits(data))


@pytest.mark.part(2)
@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("kind", FRAMES)
def test_a_group_is_as_pandas_own(kind: str, use: str) -> None:
    func = _quietly(USES[use])
    one, other = FRAMES[kind].copy(), FRAMES[kind].copy()
    if not _fits(one):
        assert _lazy(func, one) == []
        return
    assert_same_as_pandas(lambda: _lazy(func, one), lambda: _pandas(func, other))


def test_which_frames_fit() -> None:
    misfits = {kind for kind, frame in FRAMES.items() if not _fits(frame)}
    assert misfits == {"an own name", "columns that repeat", "numbers as columns"}


@pytest.mark.parametrize("use", OF_A_COLUMN)
@pytest.mark.parametrize("label", _FRAME.columns)
def test_a_group_of_a_series_is_as_pandas_own(label: str, use: str) -> None:
    func = _quietly(OF_A_COLUMN[use])
    one, other = _FRAME[label].copy(), _FRAME[label].copy()
    if not _fits(one):
        assert label in ("t", "c", "i", "d", "z")
        assert _lazy(func, one) == []
        return
    assert_same_as_pandas(lambda: _lazy(func, one), lambda: _pandas(func, other))


@pytest.mark.parametrize("use", ["by label", "weighted", "returned", "columns returned", "sum", "mean"])
def test_many_groups(use: str) -> None:
    frame = pd.concat([FRAMES["integers"]] * 20)
    assert_same_as_pandas(lambda: _lazy(USES[use], frame), lambda: _pandas(USES[use], frame))


def test_a_function_that_needs_frames_gets_pandas_own() -> None:
    frame = pd.concat([FRAMES["floats"]] * 20)
    sink, lazy = _Taker(lambda group: group.head(1)), LazyGroups(len)
    sizes = SIZES * 20
    assert lazy.call_with_groups(frame, sizes, None, sink) == lazy_groups.LOOK_AFTER == len(sink.kept)
    assert lazy.call_with_groups(frame, sizes, None, sink) == 0  # nor in the next chunk
    if PANDAS_2:
        return
    # A column that becomes pandas' own costs no more than pandas' own.
    sink, lazy = _Taker(lambda group: group["x"].nunique()), LazyGroups(len)
    assert lazy.call_with_groups(frame, sizes, None, sink) == len(sizes)


def test_what_is_kept_is_pandas_own_when_the_call_is_over() -> None:
    kept: list[Any] = []
    states: list[bool] = []

    def keep(group: Any) -> Any:
        states.extend(map(is_lazy, kept))
        kept.extend([group, group["x"], group["x"], group])
        return group["n"]

    frame = pd.concat([FRAMES["floats"]] * 20)
    returned = _lazy(keep, frame)
    assert not any(states)
    assert not any(map(is_lazy, [*kept, *returned]))
    assert pd.concat(kept[::4]).equals(frame)
    assert pd.concat(kept[1::4]).equals(frame["x"])
    assert pd.concat(returned).equals(frame["n"])
    assert {type(one) for one in (*kept, *returned)} == {pd.DataFrame, pd.Series}


class _EndedError(Exception):
    pass


@pytest.mark.parametrize("ends", ["the sink", "the function"])
def test_what_is_kept_is_pandas_own_whatever_ends_it(ends):
    kept: list[Any] = []

    def keep(group: Any) -> None:
        kept.extend([group, group["x"] * 2])
        if ends == "the function" and len(kept) == 2 * 7:
            raise _EndedError

    sink = _Taker(keep)
    if ends == "the sink":
        sizes = iter([2, 2, 3])
        sink.start_block = lambda most: next(sizes)  # type: ignore[method-assign]
    with pytest.raises((_EndedError, StopIteration)):
        LazyGroups(len).call_with_groups(pd.concat([FRAMES["floats"]] * 20), SIZES * 20, None, sink)
    assert len(kept) == 2 * 7
    assert not any(map(is_lazy, kept))


def test_nothing_keeps_a_group_alive() -> None:
    gc.disable()  # no circle is left for it
    try:
        alive: list[Any] = []
        seen: list[int] = []

        def watch(group: Any) -> None:
            seen.append(sum(ref() is not None for ref in alive))
            column = group["x"]
            column.sum()
            alive.extend([weakref.ref(group), weakref.ref(column)])

        _lazy(watch, FRAMES["floats"].copy())
        assert seen == [0, 0, 0]
        assert not any(ref() is not None for ref in alive)
    finally:
        gc.enable()


@pytest.mark.skipif("python_scalars" not in dir(getattr(pd.options, "future", None)), reason="there is no such option")
def test_scalars_of_python_are_pandas_matter() -> None:
    with pd.option_context("future.python_scalars", True):
        assert _lazy(len, FRAMES["floats"]) == []


@pytest.mark.skipif(not PANDAS_2, reason="pandas 3 always copies what is written into")
@pytest.mark.parametrize("mode", [True, "warn"])
def test_copy_on_write_of_pandas_2_is_pandas_matter(mode: Any) -> None:
    with pd.option_context("mode.copy_on_write", mode):
        assert _lazy(len, FRAMES["floats"]) == []


#: What a lazy object has of its own kind; pandas 2 has a reference to what was cut from, which nothing looks at here.
LAZY_ONES = ("__new__", "__reduce_ex__", "_is_copy", "iat", "iloc")


def test_arithmetic_of_what_has_attrs_or_flags_is_pandas_matter():
    for frame in (FRAMES["floats"].copy(), FRAMES["floats"].set_flags(allows_duplicate_labels=False)):
        if frame.flags.allows_duplicate_labels:
            frame.attrs["unit"] = "metre"
        results = _lazy(lambda group: group["x"] * 2, frame)
        assert_same_as_pandas(lambda: results, lambda: _pandas(lambda group: group["x"] * 2, frame))
        assert results[0].attrs == frame.attrs


def test_many_values_are_pandas_matter(monkeypatch):
    monkeypatch.setattr(column, "MAX_COUNTED", 2)
    seen: list[bool] = []
    _lazy(lambda group: seen.append(is_lazy(group["x"] * 2)), FRAMES["floats"])
    assert seen == [False, True, True]


@pytest.mark.parametrize("of", ["group", "column"])
def test_every_public_name_is_answered(of: str) -> None:
    """No attribute breaks upon a group or column that has no parts yet."""
    frame = pd.DataFrame({"x": [1.0, 2.0], "n": [3.0, 4.0]})
    names = [name for name in dir(pd.DataFrame if of == "group" else pd.Series) if name not in LAZY_ONES]

    def kinds(unit: Any) -> list[str]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return [f"{name}: {_kind_of(unit if of == 'group' else unit['x'], name)}" for name in names]

    sink = _Taker(kinds)
    LazyGroups(len).call_with_groups(frame.copy(), [2], None, sink)
    assert sorted(set(sink.kept[0]) ^ set(kinds(frame.copy()))) == []


def _kind_of(unit: Any, name: str) -> str:
    try:
        return type(getattr(unit, name)).__name__
    except Exception as error:
        return type(error).__name__
