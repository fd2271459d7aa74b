"""Windows: rolling and expanding apply, each kind of window over each kind of data, alone and by groups."""

from __future__ import annotations

import datetime
import decimal
import fractions
import itertools
import math
import operator
import os
import zlib
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pandas.api.indexers import BaseIndexer, FixedForwardWindowIndexer, VariableOffsetWindowIndexer

from pdparallel.api.rolling import WindowPar
from pdparallel.operations.rolling import Windowing, layout
from pdparallel.testing import assert_same_as_pandas
from pdparallel.testing._force import force
from tests.oracle.frames import VALUES, Measured, MeasuredColumn
from tests.oracle.test_properties import QUICK
from tests.oracle.ways import SOME_WAYS, WAYS, Locality, Way, assert_same_on_all, drawn, ways_for

pytestmark = [
    # NumPy says so of one element arrays that become floats: in pandas' own calls, too
    pytest.mark.filterwarnings("ignore:Conversion of an array with ndim:DeprecationWarning"),
    # pandas 2 makes its own empty timedelta with what NumPy 2.5 deprecates
    pytest.mark.filterwarnings("ignore:The 'generic' unit for NumPy timedelta:DeprecationWarning"),
]

N = 9


# Functions


def _code(text: str) -> int:
    return zlib.crc32(text.encode())


def looks(window: Any) -> float:
    """All that there is to see of a window, as one number."""
    values = np.asarray(window)
    seen = len(values) + values.size * values.itemsize + 3 * values.flags.c_contiguous + 5 * values.flags.aligned
    if isinstance(window, pd.Series):
        labels = sum(_code(str(label)) % 1013 for label in window.index)
        seen += labels + _code(type(window).__name__) % 101 + (window.name is None) + len(window.attrs)
        seen += _code(type(window.index).__name__) % 103 + _code(str(window.index.names)) % 107
    else:
        seen += _code(type(window).__name__) % 101 + 7 * window.flags.writeable
    signs = sum(math.copysign(position, value) for position, value in enumerate(values, 1))
    return seen + signs + float(np.nansum(values * np.arange(1, len(values) + 1)))


def weighted(window: Any, weight: float, *, power: int = 1) -> float:
    return float((np.asarray(window) * weight).sum() ** power)


# Calls


def windows_of(kind: str, keys: tuple[Any, ...] = (), by: Any = None, grouping: Any = None, **given: Any) -> Any:
    """pandas' window object and ours, as functions of the frame and of the accessor."""

    def grouped(obj: Any) -> Any:
        return obj if by is None else obj.groupby(by(obj) if callable(by) else by, **(grouping or {}))

    def pandas(obj: Any) -> Any:
        window = getattr(grouped(obj), kind)(**given)
        for key in keys:
            window = window[key]
        return window

    def ours(par: Any) -> Any:
        if by is None:
            window = getattr(par, kind)(**given)
            for key in keys:
                window = window[key]
            return window
        return WindowPar(Windowing(grouped(par._obj), kind, given, keys), par._given)

    return pandas, ours


def check(make: Any, windows: Any, *apply: Any, ways: Any = SOME_WAYS, **more: Any) -> None:
    """On some ways, and as a call without options does it, stopped early and not at all."""
    pandas, ours = windows
    assert_same_on_all(
        make, lambda obj: pandas(obj).apply(*apply, **more), lambda par: ours(par).apply(*apply, **more), ways
    )
    both = (-1.0, 60.0)
    for seconds in both if os.environ.get("ORACLE") == "all" or ways is WAYS else both[drawn(2, ways, more) :][:1]:
        with pytest.MonkeyPatch.context() as patch:
            force(patch.setattr, look_seconds=seconds, restart_pays=True)
            obj = make()
            assert_same_as_pandas(
                lambda obj=obj: ours(obj.par).apply(*apply, **more), lambda: pandas(make()).apply(*apply, **more)
            )


def floats() -> pd.Series:
    return pd.Series([0.5, -1.5, np.nan, np.inf, 0.0, -0.0, 1e300, 3.0, np.nan], name="n")


def several() -> pd.DataFrame:
    return pd.DataFrame({"a": floats(), "b": range(N), "c": [True, False, True] * 3}, index=list("abcdefghi"))


def times() -> pd.DataFrame:
    at = pd.DatetimeIndex(np.array([0, 1, 1, 2, 5, 6, 6, 9, 20], dtype="datetime64[s]"), name="at")
    return pd.DataFrame({"a": floats().to_numpy(), "b": np.arange(N) * 1.5}, index=at)


class Ragged(BaseIndexer):
    """Windows that go back and forth."""

    def get_window_bounds(self, num_values=0, min_periods=None, center=None, closed=None, step=None):
        at = np.arange(0, num_values, step or 1, dtype=np.int64)
        starts = (at * 5) % max(num_values, 1)
        return starts, np.minimum(starts + at % 4, num_values)


class Whole(BaseIndexer):
    """Each window is all there is, in the bounds of another dtype."""

    def get_window_bounds(self, num_values=0, min_periods=None, center=None, closed=None, step=None):
        return np.zeros(num_values, dtype=np.int32), np.full(num_values, num_values, dtype=np.int32)


class Beyond(BaseIndexer):
    """Windows that are fewer than the rows."""

    def get_window_bounds(self, num_values=0, min_periods=None, center=None, closed=None, step=None):
        return np.zeros(2, dtype=np.int64), np.ones(2, dtype=np.int64)


# Tables

CLOSED = (None, "left", "right", "both", "neither")


def _counted() -> Any:
    for window, closed, center in itertools.product(
        (0, 1, 2, 3, 4, 20), (None, "left", "right", "both", "neither"), (False, True)
    ):
        for least, step in itertools.product((None, 0, 1, 2), (None, 1, 2, 4)):
            if (least or 0) <= window and drawn(12, window, closed, center, least, step):
                yield window, closed, center, least, step


@pytest.mark.parametrize(("window", "closed", "center", "least", "step"), list(_counted()))
def test_windows_of_rows(window, closed, center, least, step):
    given = {"window": window, "closed": closed, "center": center, "min_periods": least, "step": step}
    frame = window % 2 == 0
    ways = ways_for(window, closed, center, least, step)
    check(several if frame else floats, windows_of("rolling", **given), looks, raw=window % 3 != 0, ways=ways)


@pytest.mark.parametrize("raw", [True, False])
@pytest.mark.parametrize("closed", CLOSED)
@pytest.mark.parametrize("center", [False, True])
@pytest.mark.parametrize("least", [None, 0, 2])
def test_windows_of_time(least, center, closed, raw):
    given = {"window": "2s", "closed": closed, "center": center, "min_periods": least}
    backwards = least == 0
    make = (lambda: times().iloc[::-1]) if backwards else times
    check(make, windows_of("rolling", **given), looks, raw=raw, ways=ways_for(least, center, closed, raw))


KINDS = {
    "timedelta": {"window": datetime.timedelta(seconds=3)},
    "offset": {"window": pd.offsets.Second(2)},
    "forward": {"window": FixedForwardWindowIndexer(window_size=3)},
    "forward, some": {"window": FixedForwardWindowIndexer(window_size=3), "min_periods": 1},
    "forward, stepping": {"window": FixedForwardWindowIndexer(window_size=3), "min_periods": 1, "step": 2},
    "ragged": {"window": Ragged(window_size=1)},
    "ragged, stepping": {"window": Ragged(window_size=0), "step": 3},
    "ragged, empty ones": {"window": Ragged(window_size=1), "min_periods": 0},
    "other integers": {"window": Whole(window_size=1)},
    "too few": {"window": Beyond(window_size=1)},
    "NumPy's numbers": {"window": np.int64(2), "min_periods": np.int32(1)},
    "business days": {
        "window": VariableOffsetWindowIndexer(index=pd.date_range("2024-01-01", periods=N), offset=pd.offsets.BDay(2)),
        "min_periods": 1,
    },
    "by table": {"window": 2, "method": "table"},
    "step of none": {"window": 2, "step": 0},
    "negative": {"window": -1},
    "a text": {"window": "many"},
    "least above": {"window": 2, "min_periods": 3},
    "closed oddly": {"window": 2, "closed": "outside"},
    "on nothing": {"window": 2, "on": "nowhere"},
}


@pytest.mark.parametrize("raw", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_kinds_of_windows(kind, raw):
    check(times, windows_of("rolling", **KINDS[kind]), looks, raw=raw, ways=ways_for(kind, raw))


@pytest.mark.parametrize("raw", [True, False])
@pytest.mark.parametrize("least", [0, 1, 3, 20, None])
def test_expanding(least, raw):
    check(several, windows_of("expanding", min_periods=least), looks, raw=raw)
    check(floats, windows_of("expanding", min_periods=least), looks, raw=raw)


@pytest.mark.parametrize("dtype", VALUES)
def test_dtypes(dtype):
    check(VALUES[dtype], windows_of("rolling", window=2, min_periods=1), looks, raw=True)
    check(lambda: VALUES[dtype]().to_frame("v"), windows_of("rolling", window=2), looks)


def _on_its_index() -> pd.DataFrame:
    df = times()
    df["t"] = df.index
    return df


def _levels() -> pd.DataFrame:
    df = several()[["a", "b"]]
    df.columns = pd.MultiIndex.from_tuples([("x", "a"), ("y", "b")], names=["one", None])
    return df


def _with_attrs() -> pd.DataFrame:
    df = several()
    df.attrs = {"source": ["a sensor"]}
    return df


def _measured() -> pd.DataFrame:
    df = Measured({"a": [1.0, 2.0, 3.0], "b": [1, 2, 3]})
    df.unit = "metre"
    return df


SHAPES = {
    "attrs": _with_attrs,
    "a subclass": _measured,
    "a column of a subclass": lambda: MeasuredColumn([1.0, 2.0, 3.0], name="m"),
    "levels": _levels,
    "labels that repeat": lambda: several().set_axis(["a", "a", "b"], axis=1).set_axis([1, 1, 2] * 3),
    "levels of rows": lambda: several().set_axis(pd.MultiIndex.from_product([[1, 2, 3], list("abc")])),
    "categories": lambda: several().set_axis(pd.CategoricalIndex(list("abcabcabc"))),
    "periods": lambda: several().set_axis(pd.period_range("2024", periods=N, freq="D")),
    "no repeats allowed": lambda: several().set_flags(allows_duplicate_labels=False),
    "objects that are numbers": lambda: pd.DataFrame({"a": pd.Series([1, 2.5, None, True], dtype=object)}),
    "a text": lambda: several().assign(text="x"),
    "times": lambda: several().assign(time=pd.Timestamp("2024")),
    "complex": lambda: pd.Series([1.0, 2.0]),
    "no rows": lambda: several().iloc[:0],
    "no columns": lambda: several()[[]],
    "nothing": pd.DataFrame,
    "one row": lambda: several().iloc[:1],
    "only missing": lambda: pd.DataFrame({"a": [np.nan] * 3, "b": [np.inf] * 3}),
    "from one array": lambda: pd.DataFrame(np.arange(12.0).reshape(6, 2)),
    "one array's rows": lambda: pd.DataFrame(np.arange(12.0).reshape(6, 2), copy=False),
    "backwards": lambda: several().iloc[::-1],
    "every other": lambda: pd.Series(np.arange(12.0)[::2], copy=False),
    "named columns": lambda: several().rename_axis("named", axis=1),
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("raw", [True, False])
def test_shapes(shape, raw):
    make = SHAPES[shape]
    check(make, windows_of("rolling", window=2, min_periods=1), looks, raw=raw, ways=ways_for(shape, raw))
    check(make, windows_of("rolling", window=2, step=2), looks, raw=raw, ways=ways_for(shape, raw)[:1])


SELECTED = {
    "a column": {"keys": ("a",)},
    "columns": {"keys": (["b", "a"],)},
    "one of two": {"keys": (["b", "a"], "a")},
    "not there": {"keys": ("z",)},
    "on": {"on": "t"},
    "on, a column": {"on": "t", "keys": ("a",)},
    "on, columns": {"on": "t", "keys": (["b"],)},
    "on, columns with it": {"on": "t", "keys": (["t", "a"],)},
}


@pytest.mark.parametrize("selected", SELECTED)
@pytest.mark.parametrize("window", [2, "2s"])
@pytest.mark.parametrize("on_index", [True, False])
def test_selected(selected, window, on_index):
    make = _on_its_index if on_index else lambda: _on_its_index().reset_index(drop=True)
    check(make, windows_of("rolling", window=window, min_periods=1, **SELECTED[selected]), looks)
    if window == 2:
        check(make, windows_of("rolling", window=2, step=3, **SELECTED[selected]), looks, raw=True)


# Groups


def keyed() -> pd.DataFrame:
    df = _on_its_index().reset_index(drop=True)
    df.insert(0, "k", [1, 0, 1, np.nan, 0, 0, 1, 0, 0])
    df["l"] = list("xyxyxyxyx")
    return df


GROUPS = {
    "a key": {"by": "k"},
    "two keys": {"by": ["l", "k"]},
    "a function": {"by": lambda df: df.index % 3},
    "an array": {"by": lambda df: np.arange(len(df)) // 4},
    "a level": {"by": lambda df: df.index, "grouping": {}},
    "not sorted": {"by": "l", "grouping": {"sort": False}},
    "missing keys": {"by": "k", "grouping": {"dropna": False}},
    "missing keys, not sorted": {"by": "k", "grouping": {"dropna": False, "sort": False}},
    "keys as columns": {"by": "l", "grouping": {"as_index": False}},
    "two keys as columns": {"by": ["l", "k"], "grouping": {"as_index": False}},
    "categories": {"by": lambda df: _categories(df["l"]), "grouping": {"observed": False}},
    "observed categories": {"by": lambda df: _categories(df["l"]), "grouping": {"observed": True}},
}


def _categories(letters: pd.Series) -> pd.Categorical:
    return pd.Categorical(letters, categories=["y", "z", "x"])


GROUPED = {
    "rows": ("rolling", {"window": 2}),
    "rows, both ends": ("rolling", {"window": 3, "closed": "both", "min_periods": 1}),
    "rows, centred": ("rolling", {"window": 3, "center": True, "min_periods": 0, "closed": "left"}),
    "time": ("rolling", {"window": "3s", "on": "t"}),
    "time, neither end": ("rolling", {"window": "3s", "on": "t", "closed": "neither", "min_periods": 0}),
    "forward": ("rolling", {"window": FixedForwardWindowIndexer(window_size=2), "min_periods": 1}),
    "expanding": ("expanding", {"min_periods": 2}),
    "a column": ("rolling", {"window": 2, "keys": ("a",)}),
    "columns": ("rolling", {"window": 2, "keys": (["b", "a"],)}),
    "time, a column": ("rolling", {"window": "3s", "on": "t", "keys": ("a",)}),
}


@pytest.mark.filterwarnings("ignore:The default of observed=False:FutureWarning")
@pytest.mark.parametrize("groups", GROUPS)
@pytest.mark.parametrize("windows", GROUPED)
def test_groups(groups, windows):
    kind, given = GROUPED[windows]
    numbers = given.get("on") is None and "keys" not in given

    def make() -> pd.DataFrame:
        df = keyed()
        return df.drop(columns=["t"]) if numbers else df

    by = GROUPS[groups]
    if callable(by["by"]):  # the texts would be among the columns
        make_whole, by = make, {**by, "by": _after(by["by"])}
        make = lambda: make_whole().drop(columns="l").set_index(keyed()["l"].rename("index of l"))
    elif "l" not in by["by"]:
        make_whole_frame = make
        make = lambda: make_whole_frame().drop(columns="l")
    for raw in (True, False):
        if drawn(3, groups, windows, raw):
            check(make, windows_of(kind, **by, **given), looks, raw=raw, ways=ways_for(groups, windows, raw)[:1])


def _after(by: Any) -> Any:
    return lambda df: by(pd.DataFrame({"l": list("xyxyxyxyx")}))


@pytest.mark.parametrize("column", ["a", ["a", "b"]])
@pytest.mark.parametrize("as_index", [True, False])
def test_columns_of_groups(column, as_index):
    """Selected before the windows."""
    for raw in (True, False):
        pandas = lambda df, raw=raw: df.groupby("l", as_index=as_index)[column].rolling(2).apply(looks, raw=raw)
        ours = lambda par, raw=raw: WindowPar(
            Windowing(par._obj.groupby("l", as_index=as_index)[column], "rolling", {"window": 2}), par._given
        ).apply(looks, raw=raw)
        assert_same_on_all(keyed, pandas, ours, SOME_WAYS)


def test_series_of_groups():
    check(floats, windows_of("rolling", window=2, min_periods=1, by=lambda s: np.arange(len(s)) % 2), looks, raw=True)


#: What pandas alone can do: bounds that nobody could cut by, arguments that it refuses, or nothing to call.
ALONE = {"other integers", "too few", "by table", "step of none", "negative", "a text", "least above", "closed oddly"}


@pytest.mark.parametrize("kind", sorted(set(KINDS) - ALONE - {"on nothing"}))
def test_kinds_that_take_all_cores(kind):
    found = layout(Windowing(times(), "rolling", KINDS[kind]), raw=False)
    assert found is not None
    assert len(found.spans) > 0


@pytest.mark.filterwarnings("ignore:The default of observed=False:FutureWarning")
@pytest.mark.parametrize("windows", GROUPED)
@pytest.mark.parametrize("by", ["l", ["l", "k"]])
@pytest.mark.parametrize("as_index", [True, False])
def test_groups_that_take_all_cores(windows, by, as_index):
    kind, given = GROUPED[windows]
    df = keyed() if "on" in given else keyed().drop(columns="t")
    given = {**given, "min_periods": 1}
    keys = given.pop("keys", ())
    # as Series pandas refuses windows that leave out rows, whose key is missing
    found = layout(Windowing(df.groupby(by, as_index=as_index), kind, given, keys), raw=by != "l")
    assert found is not None
    assert len(found.spans) > 0


# What comes back


RETURNS = {
    "ints": operator.methodcaller("argmax"),
    "bools": lambda w: bool(w[0] > 1),
    "NumPy's bools": lambda w: w[0] > 1,
    "floats of 32 bits": lambda w: np.float32(w[0]),
    "wide floats": lambda w: np.longdouble(w[0]) / 3,
    "unsigned": lambda w: np.uint64(2**63 + 1),
    "long ints": lambda w: 2**70 + 1,
    "longest ints": lambda w: 2**1030 if w[0] > 3 else 1,
    "some ints": lambda w: 1 if w[0] > 1 else 0.5,
    "infinity": lambda w: math.inf,
    "missing": lambda w: math.nan if w[0] > 2 else -0.0,
    "decimals": lambda w: decimal.Decimal("0.1"),
    "fractions": lambda w: fractions.Fraction(1, 3),
    "arrays without dimensions": lambda w: np.array(w[0]),
    "timedeltas": lambda w: np.timedelta64(3, "ns"),
    "None": lambda w: None,
    "None later": lambda w: None if w[0] > 2 else 1.0,
    "texts": lambda w: "1.5",
    "lists": lambda w: [1.0],
    "arrays": lambda w: w,
    "complex": lambda w: 1j,
    "pandas' missing": lambda w: pd.NA,
    "times": lambda w: pd.Timestamp("2024"),
    "an error": lambda w: 1 / 0,
    "an error later": lambda w: [][5] if w[0] > 2 else 1.0,
    "None, then an error": lambda w: None if w[0] == 2 else 1.0 if w[0] < 5 else 1 / 0,
    "an error, then None": lambda w: 1 / 0 if w[0] == 2 else 1.0 if w[0] < 5 else None,
    "the end": lambda w: next(iter([])) if w[0] > 2 else 1.0,
    "divisions by nothing": lambda w: np.float64(1) / (w[0] - 2),
}


@pytest.mark.parametrize("returns", RETURNS)
def test_returns(returns):
    def make() -> pd.DataFrame:
        return pd.DataFrame({"a": np.arange(8.0), "b": np.arange(8.0)[::-1]})

    check(make, windows_of("rolling", window=2, min_periods=1), RETURNS[returns], raw=True, ways=WAYS)


def test_returns_of_series():
    check(floats, windows_of("rolling", window=1), lambda window: window.iloc[0], ways=WAYS)
    check(floats, windows_of("rolling", window=2), lambda window: window, ways=WAYS)


@pytest.mark.parametrize("raw", [True, False])
def test_arguments(raw):
    for more in (
        {"args": (2.0,)},
        {"kwargs": {"weight": 0.5, "power": 2}},
        {"args": (2.0,), "kwargs": {"power": 3}},
        {},
    ):
        check(several, windows_of("rolling", window=2), weighted, raw=raw, **more)


STRAIGHT = {
    "raw": {"raw": "yes"},
    "an engine": {"engine": "other"},
    "options of an engine": {"engine_kwargs": {"nogil": True}},
}


@pytest.mark.parametrize("more", STRAIGHT)
def test_goes_to_pandas(more):
    check(several, windows_of("rolling", window=2), looks, **STRAIGHT[more])


@pytest.mark.parametrize("func", ["sum", None, np.sum, [np.sum], np.abs], ids=["text", "None", "sum", "list", "ufunc"])
def test_functions_of_other_kinds(func):
    check(several, windows_of("rolling", window=2), func, raw=True)


def test_window_types_have_no_apply():
    pytest.importorskip("scipy")
    check(several, windows_of("rolling", window=2, win_type="boxcar"), looks)


# Any


@st.composite
def _windows(draw: Any) -> tuple[pd.DataFrame, dict[str, Any]]:
    n = draw(st.integers(0, 8))
    values = st.lists(st.sampled_from([np.nan, np.inf, -0.0, 1.0, -2.5, 1e30]), min_size=n, max_size=n)
    seconds = sorted(draw(st.lists(st.integers(0, 9), min_size=n, max_size=n)))
    df = pd.DataFrame(
        {"a": draw(values), "b": draw(st.lists(st.integers(-3, 3), min_size=n, max_size=n))},
        index=pd.DatetimeIndex(np.array(seconds, dtype="datetime64[s]")),
        dtype=draw(st.sampled_from([None, np.float64, np.float32])),
    )
    window = draw(st.one_of(st.integers(0, 5), st.sampled_from(["1s", "3s"])))
    given = {
        "window": window,
        "closed": draw(st.sampled_from(CLOSED)),
        "center": draw(st.booleans()),
        "min_periods": draw(st.sampled_from([None, 0, 1, 2])),
    }
    if isinstance(window, int):
        given["step"] = draw(st.sampled_from([None, 1, 2, 3]))
    if draw(st.booleans()):
        keys = np.array(draw(st.lists(st.integers(0, 2), min_size=n, max_size=n)), dtype=int)
        given["by"] = lambda df: keys
        given.pop("step", None)
    return df, given


@QUICK
@given(
    case=_windows(),
    raw=st.booleans(),
    size=st.integers(1, 9),
    locality=st.sampled_from([Locality.HOST, Locality.ANYWHERE]),
)
def test_any_windows(case, raw, size, locality):
    df, given = case
    pandas, ours = windows_of("rolling", **given)
    assert_same_on_all(
        df.copy,
        lambda obj: pandas(obj).apply(looks, raw=raw),
        lambda par: ours(par).apply(looks, raw=raw),
        (Way(size, locality),),
    )
