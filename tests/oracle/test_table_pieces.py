"""groupby.apply whose function returns frames, or Series with indexes of their own: how pandas puts them together."""

from __future__ import annotations

import itertools
import zlib

import numpy as np
import pandas as pd
import pytest

from pdparallel.compat import PANDAS_2
from pdparallel.operations import groupby
from tests.oracle.ways import WAYS, assert_same_on_all, drawn, ways_for

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::pandas.errors.PerformanceWarning"),
]

N = 12


def _frame():
    return pd.DataFrame(
        {
            "key": [2, 1, 2, 1, 3, 2, 1, 3, 5, 5, 1, 9],
            "text": list("abaabbabcbca"),
            "x": [1.5, 2.5, np.nan, 4.0, 5.0, 6.0, 7.0, 8.0, -0.0, 0.0, 1.0, 2.0],
            "n": range(N),
        }
    )


LABELS = {
    "a range": lambda: pd.RangeIndex(N),
    "a range by three": lambda: pd.RangeIndex(3, 3 + 3 * N, 3, name="by three"),
    "a range downwards": lambda: pd.RangeIndex(N, 0, -1),
    "numbers": lambda: pd.Index([5, 3, 8, 1, 9, 0, 2, 7, 4, 6, 11, 10], name="number"),
    "small numbers": lambda: pd.Index(range(N), dtype="int8"),
    "floats": lambda: pd.Index([0.5, np.nan, *range(2, N)]),
    "texts": lambda: pd.Index(list("zyxwvutsrqpo"), name="letter"),
    "texts and none": lambda: pd.Index(["a", None, *"cdefghijkl"]),
    "objects": lambda: pd.Index([1, "a", 2.5, None, (1, 2), *range(5, N)], dtype=object),
    "numbers as objects": lambda: pd.Index(range(N), dtype=object),
    "repeating": lambda: pd.Index([0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5]),
    "repeating in order": lambda: pd.Index([2, 1, 2, 1, 3, 2, 1, 3, 5, 5, 1, 9]),
    "days": lambda: pd.date_range("2026-01-01", periods=N),
    "times": lambda: pd.DatetimeIndex(np.datetime64("2026-01-01") + np.arange(N)[::-1], name="when"),
    "times of a zone": lambda: pd.DatetimeIndex(
        np.datetime64("2026-03-28T22") + np.arange(N) * np.timedelta64(1, "h")
    ).tz_localize("UTC").tz_convert("Europe/Rome"),
    "spans": lambda: pd.to_timedelta([3, 1, 2, 5, 4, 9, 8, 7, 6, 0, 11, 10], unit="h"),
    "months": lambda: pd.period_range("2026-01", periods=N, freq="M"),
    "categories": lambda: pd.CategoricalIndex(list("abcabcabcabc")),
    "levels": lambda: pd.MultiIndex.from_product([range(4), list("abc")], names=["one", None]),
    "nullable": lambda: pd.Index(pd.array([3, None, *range(5, 5 + N - 2)], dtype="Int64")),
    "bools": lambda: pd.Index([True, False] * (N // 2)),
}  # fmt: skip

COLUMNS = {
    "plain": {},
    "objects": {"o": lambda: pd.Series([1, "two", None, 3.5, (1, 2), b"", pd.NaT, "x", 0, [1], {}, "y"], dtype=object)},
    "nullable": {
        "i": lambda: pd.array([1, None, *range(N - 2)], dtype="Int64"),
        "b": lambda: pd.array([True, None] * (N // 2), dtype="boolean"),
        "s": lambda: pd.array(["a", None] * (N // 2), dtype="string"),
    },
    "categories": {"c": lambda: pd.Categorical(list("ppqqrrpqpqpq"), categories=list("spqr"))},
    "times": {
        "t": lambda: pd.date_range("2026-01-01", periods=N, unit="s"),
        "z": lambda: pd.date_range("2026-01-01", periods=N, tz="Europe/Rome"),
        "d": lambda: pd.to_timedelta(range(N), unit="h"),
    },
    "small numbers": {"f": lambda: np.arange(N, dtype="float32"), "b": lambda: [True, False] * (N // 2)},
    "sparse": {"z": lambda: pd.arrays.SparseArray([0, 0, 1] * (N // 3))},
}

BY = {
    "a key": (lambda df: "key", {}),
    "not sorted": (lambda df: "text", {"sort": False}),
    "two keys": (lambda df: ["key", "text"], {}),
    "a named level and a key": (lambda df: [pd.Series(list("pqpqpqpqpqpq"), df.index, name="two"), "key"], {}),
    "keys as columns": (lambda df: "key", {"as_index": False}),
    "missing keys": (lambda df: df["x"].where(df["x"] > 3).round(-1).to_numpy(), {}),
    "missing keys kept": (lambda df: df["x"].where(df["x"] > 3).round(-1).to_numpy(), {"dropna": False}),
    "two keys, missing ones kept": (lambda df: [df["x"].where(df["x"] > 3).to_numpy(), df["text"]], {"dropna": False}),
    "categories": (lambda df: pd.Categorical(df["text"], list("zbyac")), {"observed": False}),
    "categories seen": (lambda df: pd.Categorical(df["text"], list("zbyac")), {"observed": True}),
    "two categories": (
        lambda df: [pd.Categorical(df["text"], list("zbyac")), pd.Categorical(df["key"], [9, 5, 3, 2, 1])],
        {"observed": False},
    ),
    "times": (lambda df: pd.to_datetime("2026-01-01") + pd.to_timedelta(df["key"].to_numpy(), unit="D"), {}),
    "all in one": (lambda df: np.zeros(len(df)), {}),
    "one each": (lambda df: np.arange(len(df))[::-1], {}),
    "in order": (lambda df: np.arange(len(df)) // 5, {}),
}


def _number(group):
    """Another one for each group, the same on each way."""
    return zlib.crc32(repr(group["n"].tolist()).encode()) % 7


OF_FRAMES = {
    "itself": lambda group: group,
    "a copy with more": lambda group: group.assign(z=group["x"] - group["x"].mean()),
    "some rows": lambda group: group.iloc[:2],
    "one row": lambda group: group.tail(1),
    "another order": lambda group: group.sort_values("n", ascending=False),
    "rows of some": lambda group: group[group["x"] > 3],
    "numbered": lambda group: group.reset_index(drop=True),
    "numbered, some": lambda group: group.head(2).reset_index(drop=True).rename_axis("row"),
    "ranges that follow": lambda group: group.set_axis(pd.RangeIndex(_number(group), _number(group) + len(group))),
    "ranges of one": lambda group: group.head(1).set_axis(pd.RangeIndex(5 * _number(group), 5 * _number(group) + 1)),
    "always two rows": lambda group: pd.DataFrame({"lo": [group["x"].min(), 0], "hi": [1, group["n"].max()]}),
    "always two named rows": lambda group: group[["x", "n"]].agg(["min", "max"]),
    "always the same row twice": lambda group: pd.DataFrame({"lo": [1, group["n"].max()]}, index=["a", "a"]),
    "no column": lambda group: group[[]],
    "no row": lambda group: group.iloc[:0],
    "now and then no row": lambda group: group if _number(group) % 2 else group.iloc[:0],
    "now and then nothing": lambda group: group if _number(group) % 2 else None,
    "other columns now and then": lambda group: group if _number(group) % 2 else group[["n", "x"]],
    "another dtype now and then": lambda group: group.astype({"n": float}) if _number(group) % 2 else group,
    "another kind of labels now and then": lambda group: group if _number(group) % 2 else group.set_axis(
        [f"r{at}" for at in range(len(group))]
    ),
    "another name of labels now and then": lambda group: group.rename_axis("r" if _number(group) % 2 else None),
    "numbers as columns": lambda group: pd.DataFrame(group[["x", "n"]].to_numpy()[:1]),
    "levels as columns": lambda group: pd.concat({"one": group[["x"]], "two": group[["n"]]}, axis=1),
    "columns that repeat": lambda group: group[["x", "n", "x"]],
    "named columns": lambda group: group.rename_axis(columns="column"),
    "attrs": lambda group: _with_attrs(group),
    "times as labels": lambda group: group.set_axis(pd.date_range("2026-01-01", periods=len(group))),
    "times without frequency": lambda group: group.set_axis(
        pd.DatetimeIndex(pd.date_range("2026-01-01", periods=len(group)), freq=None)
    ),
    "a Series": lambda group: group["x"],
    "a Series of some rows": lambda group: group["n"].iloc[:2],
    "a Series computed": lambda group: group["x"].cumsum() + group["n"],
    "a Series without a name": lambda group: (group["x"] + group["n"]).rename(None),
    "a Series named after the group": lambda group: group["n"].rename(f"of {_number(group)}"),
    "a numbered Series": lambda group: group["n"].reset_index(drop=True),
    "a Series of always two": lambda group: pd.Series([group["n"].min(), group["n"].max()], index=["lo", "hi"]),
    "a Series of one": lambda group: group["x"].tail(1),
    "a Series, now and then a frame": lambda group: group["n"] if _number(group) % 2 else group[["n"]],
    "a Series of a frame's texts": lambda group: group["text"] if "text" in group else group["x"].astype(str),
    "a Series of now and then nothing": lambda group: group["n"].iloc[: _number(group) % 3],
}  # fmt: skip

OF_SERIES = {
    "itself": lambda column: column,
    "computed": lambda column: column - column.mean(),
    "some rows": lambda column: column.iloc[:2],
    "largest": lambda column: column.nlargest(2),
    "counts": lambda column: column.value_counts(),
    "numbered": lambda column: column.reset_index(drop=True),
    "always two": lambda column: pd.Series([column.min(), column.max()], index=["lo", "hi"]),
    "a frame": lambda column: column.to_frame("one"),
    "a frame of always one row": lambda column: pd.DataFrame({"lo": [column.min()], "hi": [column.max()]}),
    "another name": lambda column: column.rename("other"),
    "no row": lambda column: column.iloc[:0],
    "another dtype now and then": lambda column: column.astype(float) if len(column) % 2 else column,
}


def _with_attrs(group):
    group = group.copy()
    group.attrs = {"n": 1}
    return group


def _cases(functions, columns):
    one_of = len(LABELS) * len(BY) * len(functions) * len(columns) * 2 // 300
    for case in itertools.product(LABELS, columns, BY, functions, (True, False)):
        if drawn(one_of, *case):
            yield pytest.param(*case, id="-".join(map(str, case)))


def _made(labels, columns):
    def make():
        df = _frame().assign(**{name: column() for name, column in COLUMNS[columns].items()})
        return df.set_axis(LABELS[labels]())

    return make


@pytest.mark.parametrize(("labels", "columns", "by", "func", "group_keys"), list(_cases(OF_FRAMES, COLUMNS)))
def test_frames(labels, columns, by, func, group_keys):
    keys, how = BY[by]

    def call(obj):
        df = obj if isinstance(obj, pd.DataFrame) else obj._obj
        others = [name for name in df.columns if name not in ("key", "text")]
        return obj.groupby(keys(df), group_keys=group_keys, **how)[others].apply(OF_FRAMES[func])

    assert_same_on_all(_made(labels, columns), call, call, ways_for(labels, columns, by, func, group_keys))


@pytest.mark.parametrize(("labels", "columns", "by", "func", "group_keys"), list(_cases(OF_SERIES, ["plain"])))
def test_columns(labels, columns, by, func, group_keys):
    keys, how = BY[by]

    def call(obj):
        df = obj if isinstance(obj, pd.DataFrame) else obj._obj
        return obj.groupby(keys(df), group_keys=group_keys, **how)["n"].apply(OF_SERIES[func])

    assert_same_on_all(_made(labels, columns), call, call, ways_for(labels, columns, by, func, group_keys))


@pytest.mark.parametrize("group_keys", [True, False])
@pytest.mark.parametrize("by", ["a key", "two keys", "times"])
@pytest.mark.parametrize("labels", ["a range", "numbers", "texts", "floats"])
@pytest.mark.parametrize(
    "func",
    [
        "a copy with more", "some rows", "another order", "rows of some", "numbered", "always two rows",
        "levels as columns", "a Series computed", "a Series of some rows", "times without frequency",
    ],
)  # fmt: skip
def test_pandas_is_not_asked_again(func, labels, by, group_keys, monkeypatch):
    """What pandas makes of these is known: it would call a function for each group once more."""

    def nobody(*args):
        raise AssertionError("it is known")

    monkeypatch.setattr(groupby.GroupDriver, "answer", nobody)
    keys, how = BY[by]

    def call(obj):
        return obj.groupby(keys(obj._obj), group_keys=group_keys, **how)[["x", "n"]].apply(OF_FRAMES[func])

    def pandas(df):
        return df.groupby(keys(df), group_keys=group_keys, **how)[["x", "n"]].apply(OF_FRAMES[func])

    if PANDAS_2 and labels == "floats" and func == "levels as columns":
        pytest.skip("pandas 2 does not take them apart again")
    assert_same_on_all(_made(labels, "plain"), pandas, call, WAYS[:5])
