"""Any frame, any function of a pool, any cut: what the tables did not think of.

A failure prints the frame, the function and the cut that hypothesis shrank it to, and ``@reproduce_failure``.
"""

from __future__ import annotations

import datetime
import operator
import os
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from hypothesis.extra import pandas as pdst

from tests.oracle.functions import ROW_FUNCTIONS, UNIT_FUNCTIONS, VALUE_FUNCTIONS, OfUnit, OfValue
from tests.oracle.test_table_groups import OF_A_COLUMN, OF_A_FRAME, OF_A_GROUP
from tests.oracle.ways import Locality, Way, assert_same_on_all

# pandas 2 makes its own empty timedelta with what NumPy 2.5 deprecates
pytestmark = pytest.mark.filterwarnings("ignore:The 'generic' unit for NumPy timedelta:DeprecationWarning")

QUICK = settings(
    # The same examples each time, so that a run of the tests says something of the change it runs for; with ORACLE=all
    # other and more ones each time.
    derandomize=os.environ.get("ORACLE") != "all",
    max_examples=1_000 if os.environ.get("ORACLE") == "all" else 150,
    print_blob=True,
    # hypothesis itself is slow to make frames of some dtypes; the sizes are small
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)

MAX_ROWS, MAX_COLUMNS = 7, 4

_ZONES = ("UTC", "Europe/Berlin", "Asia/Kolkata")
_TEXT = st.text("ab é\U0001f600", max_size=3)
_TIMES = st.datetimes(datetime.datetime(1970, 1, 1), datetime.datetime(2100, 1, 1)).map(
    lambda time: pd.Timestamp(time).floor("s")
)
_INTS = st.integers(-(2**63), 2**63 - 1)
_SMALL = st.integers(-3, 3)
_FLOATS = st.one_of(st.floats(-1e6, 1e6), st.sampled_from([np.nan, np.inf, -0.0]))
_OBJECTS = st.one_of(
    _SMALL, _TEXT, st.none(), st.just(np.nan), st.booleans(), _FLOATS, st.lists(_SMALL, max_size=2), _TIMES
)


def _maybe(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(values, st.none())


def _series(values: st.SearchStrategy[Any], dtype: Any = None, then: Any = None) -> Any:
    """A function of n that gives a strategy for Series of n values."""

    def of(n: int) -> st.SearchStrategy[pd.Series]:
        made = st.lists(values, min_size=n, max_size=n).map(lambda each: pd.Series(each, dtype=dtype))
        return made if then is None else made.map(then)

    return of


def _of_numpy(dtype: st.SearchStrategy[Any]) -> Any:
    return lambda n: dtype.flatmap(lambda each: npst.arrays(each, n)).map(pd.Series)


_NUMPY_DTYPES = st.one_of(
    npst.boolean_dtypes(), npst.integer_dtypes(endianness="="), npst.unsigned_integer_dtypes(endianness="="),
    npst.floating_dtypes(endianness="=", sizes=(32, 64)), npst.complex_number_dtypes(endianness="=", sizes=(64, 128)),
)  # fmt: skip

COLUMNS = {
    "numpy": _of_numpy(_NUMPY_DTYPES),
    "int64": _series(_INTS, "int64"),
    "small ints": _series(_SMALL, "int64"),
    "float64": _series(_FLOATS, "float64"),
    "bool": _series(st.booleans(), "bool"),
    "str": _series(_maybe(_TEXT), "str" if not pd.__version__.startswith("2.") else object),
    "object": _series(_OBJECTS, object),
    "category": _series(_maybe(st.sampled_from(["", "a", "ab"])), pd.CategoricalDtype(["ab", "", "b", "a"])),
    "datetime": _series(_maybe(_TIMES), "datetime64[ns]"),
    "aware": lambda n: st.sampled_from(_ZONES).flatmap(
        lambda zone: _series(_maybe(_TIMES), "datetime64[ns]", lambda s: s.dt.tz_localize("UTC").dt.tz_convert(zone))(n)
    ),
    "timedelta": _series(_maybe(_SMALL.map(lambda n: pd.Timedelta(hours=n))), "timedelta64[ns]"),
    "period": _series(_maybe(_SMALL.map(lambda n: pd.Period("2024-06", "M") + n)), "period[M]"),
    "Int64": _series(_maybe(_INTS), "Int64"),
    "Float64": _series(_maybe(st.floats(-10, 10)), "Float64"),
    "boolean": _series(_maybe(st.booleans()), "boolean"),
    "string": _series(_maybe(_TEXT), "string"),
    "int64[pyarrow]": _series(_maybe(_INTS), "int64[pyarrow]"),
    "Sparse": _series(st.sampled_from([0.0, 0.0, 1.5]), pd.SparseDtype("float64", 0.0)),
}

_LABELS = st.one_of(_SMALL, _TEXT, st.tuples(_SMALL, _TEXT), st.none(), st.floats(0, 1))


def indexes(n: int) -> st.SearchStrategy[pd.Index]:
    """Labels of each kind; most of them may repeat."""
    name = st.one_of(st.none(), _TEXT, st.integers())
    each = lambda values: st.lists(values, min_size=n, max_size=n)
    kinds = st.one_of(
        st.tuples(_SMALL, st.sampled_from([1, 2, -1])).map(
            lambda pair: pd.RangeIndex(pair[0], pair[0] + pair[1] * n, pair[1])
        ),
        each(_SMALL).map(lambda labels: pd.Index(labels, dtype="int64")),
        each(st.floats(-1, 1)).map(lambda labels: pd.Index(labels, dtype="float64")),
        each(_TEXT).map(lambda labels: pd.Index(labels, dtype=object)),
        each(_LABELS).map(lambda labels: pd.Index(labels, dtype=object, tupleize_cols=False)),
        each(st.tuples(_SMALL, _TEXT)).map(
            lambda labels: (
                pd.MultiIndex.from_tuples(labels, names=["number", None])
                if labels
                else pd.MultiIndex.from_arrays([[], []])
            )
        ),
        each(_TIMES).map(lambda labels: pd.DatetimeIndex(labels).tz_localize("UTC")),
        st.tuples(_TIMES, st.sampled_from(_ZONES), st.sampled_from(["D", "h", "ME"])).map(
            # begun in UTC: not each time of day exists in each zone
            lambda three: pd.date_range(
                three[0].tz_localize("UTC").tz_convert(three[1]).floor("D", nonexistent="shift_forward"),
                periods=n,
                freq=three[2],
            )
        ),
        each(st.sampled_from("ab")).map(lambda labels: pd.CategoricalIndex(labels, categories=["b", "a", "z"])),
        pdst.indexes(dtype=np.dtype("int16"), min_size=n, max_size=n),
    )
    return st.tuples(kinds, name).map(lambda pair: pair[0] if pair[0].nlevels > 1 else pair[0].rename(pair[1]))


@st.composite
def frames(draw: Any) -> pd.DataFrame:
    n, width = draw(st.integers(0, MAX_ROWS)), draw(st.integers(0, MAX_COLUMNS))
    kinds = draw(
        st.one_of(
            st.lists(st.sampled_from(sorted(COLUMNS)), min_size=width, max_size=width),
            st.sampled_from(sorted(COLUMNS)).map(lambda kind: [kind] * width),
        )
    )
    columns = {position: draw(COLUMNS[kind](n)) for position, kind in enumerate(kinds)}
    df = pd.DataFrame(columns, index=range(n))
    df.index, df.columns = draw(indexes(n)), draw(indexes(width))
    df.attrs = draw(st.sampled_from([{}, {"a": 1}]))
    return df


@st.composite
def series(draw: Any) -> pd.Series:
    n = draw(st.integers(0, MAX_ROWS))
    s = draw(COLUMNS[draw(st.sampled_from(sorted(COLUMNS)))](n))
    s.index, s.name = draw(indexes(n)), draw(st.one_of(st.none(), _TEXT))
    return s


_SIZES = st.integers(1, MAX_ROWS + 1)
ways = st.one_of(
    st.builds(Way, _SIZES, st.sampled_from([Locality.HOST, Locality.ANYWHERE]), st.booleans()),
    st.builds(Way, _SIZES, st.just(Locality.HOST), alone=st.just(True)),
)
results = st.sampled_from([None, None, "expand", "reduce", "broadcast"])

#: Without those that write: pandas 2 lets them write into other rows and columns that share their data.
POOL = sorted(name for name in UNIT_FUNCTIONS if not name.startswith("written"))


@QUICK
@given(df=frames(), function=st.sampled_from(POOL), axis=st.sampled_from([1, 1, 0]), how=results, way=ways)
def test_apply(df, function, axis, how, way):
    func = OfUnit(function)
    assert_same_on_all(
        lambda: df.copy(),
        lambda df: df.apply(func, axis=axis, result_type=how),
        lambda par: par.apply(func, axis=axis, result_type=how),
        (way,),
    )


@QUICK
@given(df=frames(), function=st.sampled_from(POOL), axis=st.sampled_from([1, 0]), way=ways)
def test_apply_raw(df, function, axis, way):
    func = OfUnit(function)
    assert_same_on_all(
        lambda: df.copy(),
        lambda df: df.apply(func, axis=axis, raw=True),
        lambda par: par.apply(func, axis=axis, raw=True),
        (way,),
    )


_RETURNS = st.one_of(
    _OBJECTS, _INTS, st.just(pd.NA), st.just(pd.NaT), _TIMES, st.tuples(_SMALL, _TEXT), st.dictionaries(_TEXT, _SMALL),
    npst.arrays(st.sampled_from([np.int64, np.float64]), st.integers(0, 3), elements=_SMALL),
    st.lists(_SMALL, max_size=3).map(lambda values: pd.Series(values, dtype="int64")),
    st.dictionaries(_TEXT, _OBJECTS, max_size=3).map(lambda values: pd.Series(values, dtype=object)),
    st.lists(st.tuples(st.sampled_from("ab"), _SMALL), max_size=3).map(
        lambda pairs: pd.Series([v for _, v in pairs], index=[k for k, _ in pairs], dtype="int64")
    ),
)  # fmt: skip


_planned: list[Any] = []


def _as_planned(unit: Any) -> Any:
    # By reference to this module, so that it is the way of the results that is tested and not dill's of the function.
    return _planned[int(unit[0] if isinstance(unit, np.ndarray) else unit.iloc[0])]


@QUICK
@given(
    returns=st.lists(_RETURNS, min_size=1, max_size=MAX_ROWS),
    axis=st.sampled_from([1, 1, 0]),
    how=results,
    raw=st.sampled_from([False, False, True]),
    way=ways,
)
def test_any_returns(returns, axis, how, raw, way):
    _planned[:] = returns

    def make():
        df = pd.DataFrame({"n": range(len(returns)), "m": 7})
        return df if axis else df.T

    assert_same_on_all(
        make,
        lambda df: df.apply(_as_planned, axis=axis, result_type=how, raw=raw),
        lambda par: par.apply(_as_planned, axis=axis, result_type=how, raw=raw),
        (way,),
    )


_STAMPS = st.one_of(_TIMES, st.sampled_from([pd.Timestamp.min, pd.Timestamp.max, pd.Timestamp("2024-10-27 00:30")]))
_UNITS = ("s", "ms", "us", "ns")

#: What is at one place of each return: mostly of one type.
_PLACES = st.one_of(
    st.sampled_from([_FLOATS, _INTS, _SMALL, st.booleans(), _TEXT, _OBJECTS, _maybe(_FLOATS), _maybe(_TEXT)]),
    st.tuples(st.sampled_from([None, *_ZONES]), st.sampled_from([*_UNITS, None]), st.booleans()).map(
        lambda how: _of_times(*how)
    ),
    st.tuples(st.sampled_from(_UNITS), st.booleans()).map(lambda how: _of_timedeltas(*how)),
)


def _of_times(zone: str | None, unit: str | None, may_miss: bool) -> st.SearchStrategy[Any]:
    units = st.just(unit) if unit else st.sampled_from(_UNITS)
    at = lambda pair: (pair[0] if zone is None else pair[0].tz_localize("UTC").tz_convert(zone)).as_unit(pair[1])
    times = st.tuples(_STAMPS if zone in (None, "UTC") else _TIMES, units).map(at)
    return st.one_of(times, times, st.just(pd.NaT)) if may_miss else times


def _of_timedeltas(unit: str, may_miss: bool) -> st.SearchStrategy[Any]:
    times = st.integers(-(10**6), 10**6).map(lambda n: pd.Timedelta(np.timedelta64(n, "s")).as_unit(unit))
    return st.one_of(times, times, st.just(pd.NaT)) if may_miss else times


@st.composite
def returns_of_one_kind(draw: Any) -> list[Any]:
    """Some returns that could be packed: scalars, or tuples, lists, dicts or Series of always as many."""
    n = draw(st.integers(1, MAX_ROWS))
    container = draw(st.sampled_from(["scalar", "tuple", "list", "dict", "Series"]))
    width = 1 if container == "scalar" else draw(st.integers(1, MAX_COLUMNS))
    columns = [draw(st.lists(draw(_PLACES), min_size=n, max_size=n)) for _ in range(width)]
    rows = list(zip(*columns, strict=True))
    labels = ["a", "b", 1, "d"][:width]
    into = {
        "scalar": lambda row: row[0],
        "tuple": tuple,
        "list": list,
        "dict": lambda row: dict(zip("abcd", row, strict=False)),
        "Series": lambda row: pd.Series(list(row), index=labels),
    }
    return [into[container](row) for row in rows]


@QUICK
@given(returns=returns_of_one_kind(), how=st.sampled_from([None, None, "expand", "expand", "reduce"]), way=ways)
def test_returns_of_one_kind(returns, how, way):
    _planned[:] = returns
    assert_same_on_all(
        lambda: pd.DataFrame({"n": range(len(returns)), "m": 7}),
        lambda df: df.apply(_as_planned, axis=1, result_type=how),
        lambda par: par.apply_rows(_as_planned, result_type=how),
        (way,),
    )
    assert_same_on_all(
        lambda: pd.Series(range(len(returns)), name="n"),
        lambda s: s.map(_planned.__getitem__),
        lambda par: par.map(_planned_at),
        (way,),
    )


def _planned_at(number: int) -> Any:
    return _planned[number]


@QUICK
@given(
    s=series(), function=st.sampled_from(sorted(VALUE_FUNCTIONS)), action=st.sampled_from([None, "ignore"]), way=ways
)
def test_map(s, function, action, way):
    func = OfValue(function)
    assert_same_on_all(
        lambda: s.copy(), lambda s: s.map(func, na_action=action), lambda par: par.map(func, na_action=action), (way,)
    )


@QUICK
@given(
    df=frames(), function=st.sampled_from(sorted(VALUE_FUNCTIONS)), action=st.sampled_from([None, "ignore"]), way=ways
)
def test_map_of_frames(df, function, action, way):
    func = OfValue(function)
    assert_same_on_all(
        lambda: df.copy(),
        lambda df: df.map(func, na_action=action),
        lambda par: par.map(func, na_action=action),
        (way,),
    )


@QUICK
@given(columns=st.lists(returns_of_one_kind(), min_size=1, max_size=MAX_COLUMNS), way=ways)
def test_map_of_frames_with_returns_of_one_kind_by_column(columns, way):
    n = min(map(len, columns))
    _planned[:] = [value for column in columns for value in column[:n]]
    assert_same_on_all(
        lambda: pd.DataFrame(np.arange(len(_planned)).reshape(len(columns), n).T),
        lambda df: df.map(_planned.__getitem__),
        lambda par: par.map(_planned_at),
        (way,),
    )


@QUICK
@given(s=series(), function=st.sampled_from(sorted(VALUE_FUNCTIONS)), way=ways)
def test_series_apply(s, function, way):
    func = OfValue(function)
    assert_same_on_all(lambda: s.copy(), lambda s: s.apply(func), lambda par: par.apply(func), (way,))


@QUICK
@given(df=frames(), kind=st.sampled_from(["tuple", "namedtuple", "array"]), way=ways)
def test_rows(df, kind, way):
    look = ROW_FUNCTIONS["looks at everything"]
    units = {
        "tuple": lambda df: df.itertuples(index=False, name=None),
        "namedtuple": lambda df: df.itertuples(),
        "array": lambda df: iter(df.to_numpy()),
    }
    if 0 in df.shape:
        return  # nothing is handed out
    assert_same_on_all(
        lambda: df.copy(),
        lambda df: pd.Series([look(unit) for unit in units[kind](df)], index=df.index).tolist(),
        lambda par: par.apply_rows(look, rows=kind).tolist(),
        (way,),
    )


@QUICK
@given(df=frames(), way=ways, overlap=st.one_of(st.none(), st.integers(0, 3)))
def test_chunks(df, way, overlap):
    for func in (lambda chunk: chunk, lambda chunk: chunk.isna()):
        assert_same_on_all(lambda: df.copy(), func, lambda par: par.apply_chunks(func, overlap=overlap), (way,))


_KEYS = {
    "ints": _series(_SMALL, "int64"),
    "floats": _series(st.sampled_from([0.0, 1.5, -0.0, np.nan]), "float64"),
    "texts": _series(st.sampled_from(["a", "b", None]), object),
    "mixed": _series(st.sampled_from([1, "a", (1, 2), None, 1.5, True]), object),
    "bools": _series(st.booleans(), "bool"),
    "categories": _series(_maybe(st.sampled_from("ab")), pd.CategoricalDtype(["c", "b", "a"])),
    "ordered": _series(_maybe(_SMALL), pd.CategoricalDtype(range(-3, 5), ordered=True)),
    "times": _series(
        _maybe(st.sampled_from([pd.Timestamp("2024-01-01"), pd.Timestamp("2024-01-02")])), "datetime64[ns]"
    ),
    "Int64": _series(_maybe(_SMALL), "Int64"),
    "string": _series(_maybe(st.sampled_from("ab")), "string"),
}


@st.composite
def keyed(draw: Any) -> tuple[Any, dict[str, Any]]:
    """A frame or a Series, and how it is grouped: ``(obj, arguments of groupby)``."""
    obj = draw(st.one_of(frames(), frames(), series()))
    n = len(obj)
    made = [draw(_KEYS[draw(st.sampled_from(sorted(_KEYS)))](n)) for _ in range(draw(st.sampled_from([1, 1, 2])))]
    how = {name: draw(st.booleans()) for name in ("sort", "group_keys", "dropna", "observed")}
    by: list[Any] = [key.array for key in made]
    if obj.ndim == 2:
        how["as_index"] = draw(st.sampled_from([True, True, False]))
        if obj.columns.nlevels == 1 and draw(st.booleans()):
            for at, key in enumerate(made):
                obj.insert(draw(st.integers(0, obj.shape[1])), f"key {at}", key.array)
            by = [f"key {at}" for at in range(len(made))]
    how["by"] = by[0] if len(by) == 1 and draw(st.booleans()) else by
    return obj, how


#: What can be asked of a column.
_ASKED = {
    **{name: operator.methodcaller(name) for name in ("sum", "max", "min", "mean", "std", "var", "tolist")},
    **{name: operator.attrgetter(name) for name in ("name", "dtype", "size", "index", "values", "empty")},
    "first": lambda column: column.iloc[0],
    "last": lambda column: column.iloc[-1],
    "length": len,
    "array": np.asarray,
    "iterated": list,
    "of NumPy": np.sum,
    "twice": lambda column: column + column,
    "less its mean": lambda column: column - column.mean(),
    "scaled": lambda column: 1 - (column * 0.5 + 2) / column,
    "squared": lambda column: (column**2).sum(),
}


def _asked(column: Any) -> list[str]:
    answers = []
    for name, ask in _ASKED.items():
        try:
            answer = ask(column)
            answers.append(f"{name}: {type(answer).__name__} {answer!r}")
        except Exception as error:
            answers.append(f"{name}: {type(error).__name__}")
    return answers


def _all_columns(group: Any) -> str:
    """All that columns say that were not looked at before, as a text."""
    columns = [group] if group.ndim == 1 else [group[label] for label in group]
    return "\n".join(answer for column in columns for answer in _asked(column))


def _some_columns(group: Any) -> Any:
    """A number of NumPy where the first column has one, by way of arrays alone."""
    first = group if group.ndim == 1 else next((group[label] for label in group), group)
    array = np.asarray(first)
    return array[0] if array.ndim == 1 and array.dtype.kind in "biuf" and len(array) else len(first)


_OF_GROUPS = {
    **OF_A_GROUP, **OF_A_FRAME, **OF_A_COLUMN, "all columns asked": _all_columns, "all columns, again": _all_columns,
    "an array of some": _some_columns,
}  # fmt: skip


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of pandas 2, of what will change
@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.filterwarnings("ignore::pandas.errors.PerformanceWarning")
@settings(QUICK, max_examples=1_000 if os.environ.get("ORACLE") == "all" else 40)
@given(
    grouped=keyed(),
    method=st.sampled_from(["apply", "agg", "transform", "filter"]),
    function=st.sampled_from(sorted(_OF_GROUPS)),
    way=ways,
)
def test_groupby(grouped, method, function, way):
    obj, how = grouped
    func = _OF_GROUPS[function]
    call = lambda of: getattr(of.groupby(**how), method)(func)
    assert_same_on_all(lambda: obj.copy(), call, call, (way,))
