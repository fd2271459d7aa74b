"""groupby and resample: each method, ways to group, frames and functions, as pandas does them."""

from __future__ import annotations

import functools
import itertools
import warnings

import numpy as np
import pandas as pd
import pytest

from pdparallel.compat import PANDAS_2
from tests.oracle import ways
from tests.oracle.frames import Measured, MeasuredColumn
from tests.oracle.ways import Way, assert_same_on_all, drawn

# pandas 2 warns of what will change; it does so with us as often as without.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::pandas.errors.PerformanceWarning"),
]


def ways_for(*case: object) -> tuple[Way, ...]:
    """One of the ways, another one for other cases: these tables are the broadest; all with ORACLE=all."""
    found = ways.ways_for(*case)
    return found if found == ways.WAYS else found[:1]


def _plain():
    return pd.DataFrame(
        {
            "key": [2, 1, 2, 1, 3, 2, 1, 3],
            "text": list("abaabbab"),
            "x": [1.5, 2.5, np.nan, 4.0, 5.0, 6.0, 7.0, 8.0],
            "n": range(8),
        },
        index=list("stuvwxyz"),
    )


def _with(**columns):
    return lambda: _plain().assign(**{name: make() for name, make in columns.items()})


def _objects():
    return pd.Series([1, "two", None, 3.5, (1, 2), b"", pd.NaT, "x"], index=list("stuvwxyz"), dtype=object)


def _measured():
    df = Measured(_plain())
    df.unit = "metre"
    return df


def _with_attrs():
    df = _plain()
    df.attrs = {"source": ["a sensor"]}
    return df


TIMES = ["2026-01-01", "2026-01-01", "2026-01-03", "2026-01-03", "2026-01-04", "2026-01-06", "2026-01-06", "2026-01-06"]

FRAMES = {
    "plain": _plain,
    "labels in order": lambda: _plain().reset_index(drop=True),
    "in order of the groups": lambda: _plain().sort_values("key"),
    "labels that repeat": lambda: _plain().set_axis(list("aabbccdd")),
    "levels": lambda: _plain().set_axis(pd.MultiIndex.from_product([[1, 2], list("abcd")], names=["one", "two"])),
    "named labels": lambda: _plain().rename_axis("row").rename_axis(columns="column"),
    "objects": _with(o=_objects),
    "objects that are texts": _with(o=lambda: pd.Series(list("pqrstuvw"), index=list("stuvwxyz"), dtype=object)),
    "extension types": _with(
        i=lambda: pd.array([1, None, 3, 4, 5, None, 7, 8], dtype="Int64"),
        c=lambda: pd.Categorical(list("ppqqrrpq"), categories=list("pqrs")),
        z=lambda: pd.to_datetime(TIMES).tz_localize("Europe/Berlin"),
    ),
    "bools": _with(b=lambda: [True, False] * 4),
    "one row": lambda: _plain().iloc[:1],
    "no rows": lambda: _plain().iloc[:0],
    "a subclass": _measured,
    "attrs": _with_attrs,
    "no repeats allowed": lambda: _plain().set_flags(allows_duplicate_labels=False),
}

#: How the frame is grouped: what comes after ``df.groupby``.
BY = {
    "a key": ("key", {}),
    "a list of one": (["key"], {}),
    "two keys": (["key", "text"], {}),
    "not sorted": ("text", {"sort": False}),
    "keys as columns": ("key", {"as_index": False}),
    "two keys as columns": (["key", "text"], {"as_index": False}),
    "no keys in labels": ("key", {"group_keys": False}),
    "a function": (lambda label: str(label) > "w", {}),
    "an array": (lambda df: np.arange(len(df)) % 3, {}),
    "missing keys": (lambda df: df["x"].where(df["x"] > 3).round(-1), {}),
    "missing keys kept": (lambda df: df["x"].where(df["x"] > 3).round(-1), {"dropna": False}),
    "categories": (lambda df: pd.Categorical(df["text"], categories=list("bac")), {"observed": False}),
    "categories without rows": (
        lambda df: pd.Categorical(df["text"], categories=list("zbyax")),
        {"observed": False},
    ),
    "categories without rows, in their order": (
        lambda df: pd.Categorical(df["text"], categories=list("zbyax"), ordered=True),
        {"observed": False, "sort": False},
    ),
    "two categories": (
        lambda df: [pd.Categorical(df["text"], list("zbya")), pd.Categorical(df["key"], [9, 3, 2, 8, 1])],
        {"observed": False},
    ),
    "categories seen": (lambda df: pd.Categorical(df["text"], categories=list("bac")), {"observed": True}),
    "categories and a key": (
        lambda df: [pd.Categorical(df["text"], categories=list("bac")), df["key"].to_numpy()],
        {"observed": False},
    ),
    "times": (lambda df: pd.to_datetime(TIMES[: len(df)]), {}),
    "spans of time": (
        lambda df: [pd.Grouper(freq="D", key="when")],
        {},
    ),
    "all in one": (lambda df: np.zeros(len(df)), {}),
    "one each": (lambda df: np.arange(len(df)), {}),
    "mixed objects": (lambda df: pd.Series([1, "a", 1.5, "a", 1, "b", 1.5, 2][: len(df)], dtype=object).to_numpy(), {}),
}


def _grouped(obj, by, how):
    """What ``obj.groupby`` gives, of a frame or of its accessor."""
    df = obj if isinstance(obj, (pd.DataFrame, pd.Series)) else obj._obj
    if by == "spans of time":
        return None
    keys = BY[by][0]
    if callable(keys) and by != "a function":
        keys = keys(df)
    return obj.groupby(keys, **how)


def _writes(group):
    group = group.copy()
    group["new"] = len(group)
    return group


def _raises_for_the_second(group):
    if len(group) == 2:
        raise ZeroDivisionError("two", 2)
    return 1


def _none_for_some(group):
    return None if len(group) == 2 else float(len(group))


#: Functions of a group, and of a column of one.
OF_A_GROUP = {
    "a number": len,
    "a float": lambda group: len(group) / 3,
    "its name": lambda group: str(getattr(group, "name", "none")),
    "type of its name": lambda group: repr(getattr(group, "name", "none")),
    "its labels": lambda group: list(group.index),
    "the group": lambda group: group,
    "a copy": lambda group: group.copy(),
    "some rows": lambda group: group.head(2),
    "no rows": lambda group: group.iloc[:0],
    "rows turned round": lambda group: group.iloc[::-1],
    "a Series": lambda group: pd.Series({"a": len(group), "b": 2.5}),
    "a Series of other labels": lambda group: pd.Series(range(len(group))),
    "a named Series": lambda group: pd.Series([1, 2], index=["p", "q"], name="result"),
    "an array": lambda group: np.arange(len(group)),
    "a list": lambda group: [1, len(group)],
    "a dict": lambda group: {"a": len(group)},
    "None": lambda group: None,
    "None for some": _none_for_some,
    "a text": lambda group: "x" * len(group),
    "a time": lambda group: pd.Timestamp("2026-01-01") + pd.Timedelta(len(group), "h"),
    "a time or NaT": lambda group: pd.NaT if len(group) == 2 else pd.Timestamp("2026-01-01"),
    "int or text": lambda group: len(group) if len(group) == 2 else "x",
    "int or float": lambda group: len(group) if len(group) == 2 else 0.5,
    "a bool": lambda group: len(group) > 2,
    "NumPy's bool": lambda group: np.bool_(len(group) > 2),
    "an exception": _raises_for_the_second,
    "a TypeError": lambda group: len(5),
    "an attribute that is none": lambda group: group.none,
    "a key that is none": lambda group: group["none"],
}
OF_A_FRAME = {
    "a column": lambda group: group["n"],
    "a column less its mean": lambda group: group["x"] - group["x"].mean(),
    "columns less their means": lambda group: group[["x", "n"]] - group[["x", "n"]].mean(),
    "written": _writes,
    "columns": lambda group: list(group.columns),
    "dtypes": lambda group: str(list(group.dtypes)),
    "sums": lambda group: group[["x", "n"]].sum(),
    "weighted": lambda group: np.average(group["n"], weights=group["n"] + 1),
    "of two arrays": lambda group: (group["x"].to_numpy() * group.n.values).sum(),
    "of products": lambda group: (group["x"] * group["n"]).sum() / (group["n"] + 1).sum(),
    "a computed column": lambda group: (group["x"] - group["x"].mean()) / group["n"].std(),
    "a mean and the last": lambda group: group["x"].mean() + group["n"].iloc[-1],
    "a column and the whole": lambda group: len(group[group["n"] > group["n"].min()]) * group["n"].max(),
    "a column written into": lambda group: (group["x"].__setitem__(group.index[0], 0.0), group["x"].sum())[1],
    "columns in a list": lambda group: [group["x"], group["n"]],
}
OF_A_COLUMN = {
    "largest": lambda column: column.max(),
    "first": lambda column: column.iloc[0],
    "less its mean": lambda column: column - column.mean(),
    "ranked": lambda column: column.rank(),
    "shifted": lambda column: column.shift(),
    "filled": lambda column: column.fillna(0),
    "standardised": lambda column: (column - column.mean()) / column.std(),
    "spread": lambda column: ((column - column.mean()) ** 2).mean(),
    "range": lambda column: column.max() - column.min() if column.dtype.kind in "if" else column.dtype.kind,
    "mean of it": lambda column: np.mean(np.asarray(column)) if column.dtype.kind in "if" else len(column),
    "its values": lambda column: sum(map(hash, map(repr, column))) % 1000,
    "an array of it": lambda column: column.to_numpy() * 2,
    "dtype": lambda column: str(column.dtype),
    "longer": lambda column: pd.concat([column, column]),
    "strings": lambda column: column.astype(str),
}


def _cases(methods):
    for frame in FRAMES:
        for by in BY:
            if by == "spans of time" or (by == "times" and frame in ("one row", "no rows")):
                continue
            for method in methods:
                for func in {**OF_A_GROUP, **OF_A_FRAME, **OF_A_COLUMN}:
                    of_column = func in OF_A_COLUMN
                    if (method == "apply" and of_column) or (method in ("agg", "transform") and func in OF_A_FRAME):
                        continue
                    if drawn(157, frame, by, method, func):
                        yield pytest.param(frame, by, method, func, id=f"{frame}-{by}-{method}-{func}")


def _call(method, func, obj, by, of=None):
    grouped = _grouped(obj, by, BY[by][1])
    if of is not None:
        grouped = grouped[of]
    return getattr(grouped, method)(func)


@pytest.mark.parametrize(("frame", "by", "method", "func"), list(_cases(["apply", "agg", "transform", "filter"])))
def test_frames(frame, by, method, func):
    function = {**OF_A_GROUP, **OF_A_FRAME, **OF_A_COLUMN}[func]
    call = functools.partial(_call, method, function)
    assert_same_on_all(
        FRAMES[frame], lambda df: call(df, by), lambda par: call(par, by), ways_for(frame, by, method, func)
    )


def _cases_of_columns():
    for frame in FRAMES:
        for by in BY:
            if by in ("spans of time", "times"):
                continue
            for method in ("apply", "agg", "transform", "filter"):
                for func in {**OF_A_GROUP, **OF_A_COLUMN}:
                    for of in ("x", "n", ["x", "n"]):
                        if drawn(353, frame, by, method, func, of):
                            yield pytest.param(frame, by, method, func, of, id=f"{frame}-{by}-{method}-{func}-{of}")


@pytest.mark.parametrize(("frame", "by", "method", "func", "of"), list(_cases_of_columns()))
def test_columns_of_frames(frame, by, method, func, of):
    call = functools.partial(_call, method, {**OF_A_GROUP, **OF_A_COLUMN}[func])
    assert_same_on_all(
        FRAMES[frame], lambda df: call(df, by, of), lambda par: call(par, by, of), ways_for(frame, by, method, func)
    )


SERIES = {
    "floats": lambda: _plain()["x"],
    "numbers": lambda: _plain()["n"],
    "texts": lambda: _plain()["text"],
    "times": lambda: pd.Series(pd.to_datetime(TIMES), index=list("stuvwxyz")),
    "Int64": lambda: pd.Series([1, None, 3, 4, 5, None, 7, 8], dtype="Int64"),
    "categories": lambda: pd.Series(list("ppqqrrpq"), dtype="category"),
    "a subclass": lambda: MeasuredColumn(range(8), name="m"),
    "attrs": lambda: _with_attrs()["x"],
    "none": lambda: pd.Series([], dtype=float),
}
SERIES_BY = {
    "an array": (lambda s: np.arange(len(s)) % 3, {}),
    "itself": (lambda s: s.astype(str), {}),
    "a level": (None, {"level": 0}),
    "a list of one level": (None, {"level": [0]}),
    "categories": (lambda s: pd.Categorical(list("abab" * 2)[: len(s)], categories=list("cba")), {"observed": False}),
    "no keys in labels": (lambda s: np.arange(len(s)) % 3, {"group_keys": False}),
    "missing": (lambda s: np.array([1, np.nan] * 4)[: len(s)], {}),
}


def _series_cases():
    for s in SERIES:
        for by in SERIES_BY:
            for method in ("apply", "agg", "transform", "filter"):
                for func in {**OF_A_GROUP, **OF_A_COLUMN}:
                    if drawn(41, s, by, method, func):
                        yield pytest.param(s, by, method, func, id=f"{s}-{by}-{method}-{func}")


@pytest.mark.parametrize(("s", "by", "method", "func"), list(_series_cases()))
def test_series(s, by, method, func):
    keys, how = SERIES_BY[by]
    function = {**OF_A_GROUP, **OF_A_COLUMN}[func]

    def call(obj):
        series = obj if isinstance(obj, pd.Series) else obj._obj
        return getattr(obj.groupby(None if keys is None else keys(series), **how), method)(function)

    assert_same_on_all(SERIES[s], call, call, ways_for(s, by, method, func))


@pytest.mark.parametrize("method", ["apply", "agg", "transform"])
@pytest.mark.parametrize("func", ["the group", "a copy", "some rows", "rows turned round"])
def test_objects_that_are_texts(method, func):
    """pandas finds the dtype of texts in a list or an array, but objects stay objects here."""
    make = FRAMES["objects that are texts"]

    def call(obj):
        return getattr(obj.groupby("key")["o"], method)(OF_A_GROUP[func])

    assert_same_on_all(make, call, call)


@pytest.mark.parametrize(
    ("method", "how"),
    [
        ("apply", {"func": lambda group, plus, times: len(group) * times + plus, "plus": 1, "times": 2}),
        ("agg", {"func": lambda column, plus: column.max() + plus, "plus": 1}),
        ("transform", {"func": lambda column, plus: column + plus, "plus": 1}),
        ("filter", {"func": lambda group, least: len(group) >= least, "least": 3}),
        ("filter", {"func": lambda group: len(group) >= 3, "dropna": False}),
    ],
    ids=["apply", "agg", "transform", "filter", "filter, others missing"],
)
@pytest.mark.parametrize("by", ["key", ["key", "text"]], ids=["a key", "two"])
def test_arguments(method, how, by):
    def call(obj):
        return getattr(obj.groupby(by)[["x", "n"]], method)(**how)

    assert_same_on_all(_plain, call, call)


@pytest.mark.parametrize(
    "func",
    ["sum", ["sum", "max"], {"x": "sum"}, np.mean, np.sum, max, sum],
    ids=["name", "names", "by column", "np.mean", "np.sum", "max", "sum"],
)
@pytest.mark.parametrize("method", ["agg", "transform", "apply"])
def test_what_pandas_does_by_name(method, func):
    def call(obj):
        return getattr(obj.groupby("key")[["x", "n"]], method)(func)

    assert_same_on_all(_plain, call, call)


@pytest.mark.skipif(not PANDAS_2, reason="pandas 3 never hands keys to the function")
@pytest.mark.parametrize("include_groups", [True, False])
@pytest.mark.parametrize("func", {**OF_A_GROUP, **OF_A_FRAME})
def test_keys_in_groups(func, include_groups):
    function = {**OF_A_GROUP, **OF_A_FRAME}[func]

    def call(obj):
        return obj.groupby("key").apply(function, include_groups=include_groups)

    assert_same_on_all(_plain, call, call, ways_for(func, include_groups))


def _in_time():
    df = _plain().drop(columns="text")
    return df.set_axis(pd.DatetimeIndex(TIMES, name="when"))


@pytest.mark.parametrize(
    "by",
    [pd.Grouper(freq="D"), pd.Grouper(freq="2D", closed="right", label="right"), [pd.Grouper(freq="D"), "key"]],
    ids=["a day", "two days", "a day and a key"],
)
@pytest.mark.parametrize("method", ["apply", "agg", "transform", "filter"])
@pytest.mark.parametrize(
    "func", ["a number", "the group", "its name", "a Series", "largest", "less its mean", "a bool"]
)
def test_spans_of_time(func, method, by):
    function = {**OF_A_GROUP, **OF_A_COLUMN}[func]

    def call(obj):
        return getattr(obj.groupby(by), method)(function)

    assert_same_on_all(_in_time, call, call, ways_for(func, method, str(by)))


def _resample_cases():
    rules, hows = ["D", "2D", "36h"], [{}, {"closed": "right", "label": "right"}, {"origin": "end"}]
    for number, func in enumerate({**OF_A_GROUP, **OF_A_FRAME, **OF_A_COLUMN}):
        for method, how, rule in itertools.product(["apply", "transform"], hows, rules):
            # Each function with each method at least once, whatever else is drawn.
            always = (hows.index(how), rules.index(rule)) == (number % 3, number // 3 % 3)
            if always or drawn(29, func, method, how, rule):
                yield pytest.param(func, method, how, rule, id=f"{func}-{method}-{how}-{rule}")


@pytest.mark.parametrize(("func", "method", "how", "rule"), list(_resample_cases()))
def test_resample(func, method, how, rule):
    function = {**OF_A_GROUP, **OF_A_FRAME, **OF_A_COLUMN}[func]

    def call(obj):
        return getattr(obj.resample(rule, **how), method)(function)

    some = ways_for(func, method, how, rule)
    assert_same_on_all(_in_time, call, call, some)
    assert_same_on_all(lambda: _in_time()["x"], call, call, some)


def test_resample_by_a_column_and_of_columns():
    def call(obj):
        return obj.resample("D", on="when")[["x"]].apply(lambda column: column.max())

    assert_same_on_all(lambda: _in_time().reset_index(), call, call)
    assert_same_on_all(_in_time, lambda df: df.resample("D").x.apply(len), lambda par: par.resample("D").x.apply(len))


def test_only_some_columns():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = _plain().groupby("key")[["x"]].apply(lambda group: list(group.columns))
        pd.testing.assert_series_equal(
            _plain().par(columns=["x"]).groupby("key").apply(lambda group: list(group.columns)), expected
        )
