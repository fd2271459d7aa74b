"""Functions that write into what they are handed, or into parts of other data: warned of as in the pandas at hand."""

from __future__ import annotations

import collections
import threading
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

import pdparallel  # noqa: F401 - it gives frames their ``par``
from pdparallel.compat import PANDAS_2, without_copy_warnings

ENGINES: list[dict[str, Any]] = [
    {},
    {"engine": "serial"},
    {"engine": "thread", "n_workers": 2, "chunk_size": 2},
    {"engine": "process", "n_workers": 2, "chunk_size": 2},
]
FRAMES = {
    "int, float": pd.DataFrame({"a": [3, 1, 2, 5], "b": [0.5, 1, 2, 3]}),
    "int": pd.DataFrame({"a": [3, 1, 2, 5], "b": [1, 2, 3, 4]}),
    "float": pd.DataFrame({"a": [3.0, 1, 2, 5], "b": [1.0, 2, 3, 4]}),
    "int, text": pd.DataFrame({"a": [3, 1, 2, 5], "b": list("wxyz")}),
    "int8, int64": pd.DataFrame({"a": np.array([3, 1, 2, 5], "i1"), "b": [1, 2, 3, 4]}),
    "object": pd.DataFrame({"a": [3, 1, 2, 5], "b": list("wxyz")}, dtype=object),
    "bool, Int64": pd.DataFrame({"a": [True, False, True, True], "b": pd.array([1, None, 3, 4], "Int64")}),
    "time": pd.DataFrame({"a": pd.date_range("2020", periods=4), "b": pd.date_range("2021", periods=4)}),
}
OTHER = pd.DataFrame({"x": [1, 2, 3]})


def item(unit: Any) -> Any:
    unit["a" if unit.ndim == 2 else unit.index[0]] = 5
    return unit


def iloc(unit: Any) -> Any:
    unit.iloc[0] = 5
    return unit


def loc(unit: Any) -> Any:
    unit.loc[unit.index[0]] = 5
    return unit


def new(unit: Any) -> Any:
    unit["z"] = 1
    return unit


def a_part(unit: Any) -> Any:
    part = unit[unit.index > unit.index[0]]
    part.iloc[0] = 1
    return unit


def of_other(unit: Any) -> Any:
    part = OTHER[OTHER["x"] > 1]
    part["y"] = 1
    return unit


def in_column(unit: Any) -> Any:
    if unit.ndim == 2:
        unit["a"][unit.index[0]] = 7
    return unit


def in_iloc_of_column(unit: Any) -> Any:
    if unit.ndim == 2:
        unit["a"].iloc[0] = 7
    return unit


def in_iat_of_column(unit: Any) -> Any:
    if unit.ndim == 2:
        unit["a"].iat[0] = 7
    return unit


def in_loc_of_column(unit: Any) -> Any:
    if unit.ndim == 2:
        unit["a"].loc[unit.index[0]] = 7
    return unit


def in_kept_column(unit: Any) -> Any:
    if unit.ndim == 2:
        column = unit["a"]
        column.iloc[0] = 7
    return unit


def in_attribute(unit: Any) -> Any:
    if unit.ndim == 2:
        unit.a.iloc[0] = unit.a.iloc[0] + 1
    return unit


WRITERS = [
    item, iloc, loc, new, a_part, of_other, in_column, in_iloc_of_column, in_iat_of_column, in_loc_of_column,
    in_kept_column, in_attribute,
]  # fmt: skip


class _One:
    """The same function, which returns a number."""

    def __init__(self, write: Callable[[Any], Any]) -> None:
        self.write = write

    def __call__(self, unit: Any) -> int:
        self.write(unit)
        return 1


class _True(_One):
    def __call__(self, unit: Any) -> Any:
        return bool(super().__call__(unit))


GROUPED = pd.DataFrame({"k": list("abab") * 2, "a": range(8), "b": np.arange(8) * 0.5})

#: What is called, with a frame or what stands for it.
VERBS: dict[str, Callable[[Any, Any], Any]] = {
    "map": lambda df, write: df["a"].map(_One(of_other)),
    "groupby.apply": lambda df, write: df.groupby("k")[["a", "b"]].apply(_One(write)),
    "groupby.apply of a column": lambda df, write: df.groupby("k")["a"].apply(_One(write)),
    "groupby.agg": lambda df, write: df.groupby("k")[["a", "b"]].agg(_One(write)),
    "groupby.agg of a column": lambda df, write: df.groupby("k")["a"].agg(_One(write)),
    "groupby.transform": lambda df, write: df.groupby("k")[["a", "b"]].transform(_One(write)),
    "groupby.transform of a column": lambda df, write: df.groupby("k")["a"].transform(_One(write)),
    "groupby.filter": lambda df, write: df.groupby("k")[["a", "b"]].filter(_True(write)),
}


class Par:
    def __init__(self, data: Any, options: dict[str, Any]) -> None:
        self._data, self._options = data, options

    def __getattr__(self, name: str) -> Any:
        return getattr(self._data.par(**self._options), name)

    def __getitem__(self, key: Any) -> Any:
        return Par(self._data[key], self._options)


def seen(call: Callable[[], Any]) -> tuple[Any, Any]:
    """How many warnings of which kind, and the result."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            result = call()
        except Exception as error:
            result = f"{type(error).__name__}: {error}"
    return collections.Counter((w.category, str(w.message)[:40], w.filename) for w in caught), result


def is_same(one: Any, other: Any) -> bool:
    if isinstance(one, (pd.DataFrame, pd.Series)):
        return type(one) is type(other) and one.equals(other)
    return bool(one == other)


@pytest.mark.parametrize("options", ENGINES, ids=repr)
@pytest.mark.parametrize("axis", [1, 0])
def test_rows_and_columns(options: dict[str, Any], axis: int) -> None:
    differ = []
    for name, df in FRAMES.items():
        for write in WRITERS[:6]:
            wanted, expected = seen(lambda df=df, write=write: df.copy().apply(write, axis=axis))
            found, result = seen(lambda df=df, write=write: df.copy().par(**options).apply(write, axis=axis))
            if found != wanted or (PANDAS_2 and not is_same(expected, result)):
                differ.append((name, write.__name__, wanted, found, expected, result))
    assert not differ


@pytest.mark.parametrize("options", ENGINES, ids=repr)
@pytest.mark.parametrize("verb", VERBS)
def test_groups(options: dict[str, Any], verb: str) -> None:
    differ = []
    for write in WRITERS:
        if write is new and "transform" in verb:
            continue  # a group that grows is another matter
        wanted, expected = seen(lambda write=write: VERBS[verb](GROUPED.copy(), write))
        found, result = seen(lambda write=write: VERBS[verb](Par(GROUPED.copy(), options), write))
        if found != wanted or not is_same(expected, result):
            differ.append((write.__name__, wanted, found, expected, result))
    assert not differ


@pytest.mark.skipif(not PANDAS_2, reason="pandas 3 has no such option")
@pytest.mark.parametrize("options", ENGINES, ids=repr)
def test_where_they_are_errors(options: dict[str, Any]) -> None:
    with pd.option_context("mode.chained_assignment", "raise"):
        for df in FRAMES.values():
            for write in (new, loc):
                wanted, expected = seen(lambda df=df, write=write: df.copy().apply(write, axis=1))
                found, result = seen(lambda df=df, write=write: df.copy().par(**options).apply_rows(write))
                assert (found, is_same(expected, result)) == (wanted, True)
        with pytest.raises(pd.errors.SettingWithCopyError):
            GROUPED.par(**options).groupby("k")["a"].agg(_One(of_other))
        assert pd.get_option("mode.chained_assignment") == "raise"


@pytest.mark.skipif(not PANDAS_2, reason="pandas 3 has no such option")
def test_the_option_is_as_before_after_threads_that_overlap() -> None:
    before, inside, may_end = pd.get_option("mode.chained_assignment"), threading.Event(), threading.Event()

    def longer() -> None:
        with without_copy_warnings():
            inside.set()
            may_end.wait(30)

    with without_copy_warnings():
        thread = threading.Thread(target=longer)
        thread.start()
        inside.wait(30)
    assert pd.get_option("mode.chained_assignment") is None
    may_end.set()
    thread.join()
    assert pd.get_option("mode.chained_assignment") == before
