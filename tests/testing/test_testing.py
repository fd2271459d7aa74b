"""The comparison that everything else is tested by must have teeth: each kind of difference is seen, and only these."""

from __future__ import annotations

import datetime
import threading

import numpy as np
import pandas as pd
import pytest

import pdparallel
from pdparallel.errors import FunctionNotSerializableError, InvalidOptionError, ResultNotSerializableError
from pdparallel.testing import assert_same, assert_same_as_pandas, serial


class _Thing:
    def __init__(self, value):
        self.value = value


class _Frame(pd.DataFrame):
    _metadata = ["unit"]

    @property
    def _constructor(self):
        return _Frame


def _frame(**changes):
    df = pd.DataFrame({"a": [1, 2], "b": [0.5, np.nan]}, index=pd.date_range("2024-01-01", periods=2, name="day"))
    return df.assign(**changes)


def _with(obj, **attributes):
    for name, value in attributes.items():
        setattr(obj, name, value)
    return obj


def _objects(*values):
    series = pd.Series([None] * len(values), dtype=object)
    for position, value in enumerate(values):
        series.iloc[position] = value
    return series


_NOON = pd.Timestamp("2024-01-01 12:00", tz="UTC")

ALIKE = [
    1, 1.5, np.nan, np.float64("nan"), None, pd.NA, pd.NaT, "a", b"a", (1, np.nan), [1, [2, None]], {"a": np.nan},
    {1, 2}, pd.Timestamp("2024-01-01", tz="UTC"), np.datetime64("NaT", "s"),
    np.array([1.0, np.nan]), np.array([], dtype="U3"),
    np.array([1, None, "a"], dtype=object), pd.Index(["a", "b"], name="i"),
    pd.MultiIndex.from_tuples([("a", 1), ("b", 2)]),
    pd.Categorical(["a", None]), pd.array([1, None], dtype="Int64"), _frame(), _frame()["b"],
    _objects(1, [2.0], pd.Series([1, 2]), pd.DataFrame({"a": [1]}), np.nan), _Thing([1, np.nan]),
]  # fmt: skip

DIFFERENT = {
    "int and float": (1, 1.0),
    "int and bool": (1, True),
    "int and numpy int": (1, np.int64(1)),
    "float and numpy float": (1.0, np.float64(1.0)),
    "values": (1, 2),
    "sign of zero": (0.0, -0.0),
    "nan and None": (np.nan, None),
    "nan and NaT": (np.nan, pd.NaT),
    "NA and None": (pd.NA, None),
    "nan and a number": (1.0, np.nan),
    "a number and nan": (np.nan, 1.0),
    "NaT of datetime and of timedelta": (np.datetime64("NaT", "s"), np.timedelta64("NaT", "s")),
    "Timestamp and datetime": (pd.Timestamp("2024-01-01"), datetime.datetime(2024, 1, 1)),
    "times of two zones": (_NOON, _NOON.tz_convert("Japan")),
    "times of two units": (pd.Timestamp("2024-01-01").as_unit("s"), pd.Timestamp("2024-01-01").as_unit("ns")),
    "list and tuple": ([1], (1,)),
    "lengths": ([1], [1, 1]),
    "namedtuple and tuple": (next(_frame().itertuples()), tuple(next(_frame().itertuples()))),
    "fields of namedtuples": (next(_frame().itertuples()), next(_frame().rename(columns={"a": "z"}).itertuples())),
    "order of keys": ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
    "types of keys": ({1: "a"}, {1.0: "a"}),
    "types in sets": ({1}, {1.0}),
    "state of objects": (_Thing(1), _Thing(2)),
    "deep inside": ([{"a": (1, [2])}], [{"a": (1, [2.0])}]),
    "dtype of arrays": (np.array([1], dtype="int64"), np.array([1], dtype="int32")),
    "shape of arrays": (np.zeros((1, 2)), np.zeros((2, 1))),
    "types in object arrays": (np.array([1], dtype=object), np.array([1.0], dtype=object)),
    "dtype of extension arrays": (pd.array([1], dtype="Int64"), pd.array([1], dtype="Int32")),
    "frame and Series": (_frame(), _frame()["a"]),
    "dtype of a column": (_frame(), _frame(a=np.array([1, 2], dtype="int32"))),
    "nullable and plain": (pd.Series([1, 2]), pd.Series([1, 2], dtype="Int64")),
    "str and object": (pd.Series(["a"], dtype="string"), pd.Series(["a"], dtype=object)),
    "values of a column": (_frame(), _frame(b=[0.5, 1.0])),
    "sign of zero in a column": (pd.Series([0.0, np.nan]), pd.Series([-0.0, np.nan])),
    "nearly the same": (pd.Series([1.0]), pd.Series([1.0 + 1e-12])),
    "order of columns": (_frame(), _frame()[["b", "a"]]),
    "labels": (pd.Series([1], index=["x"]), pd.Series([1], index=["y"])),
    "dtype of labels": (pd.Series([1], index=[0]), pd.Series([1], index=[0.0])),
    "types of object labels": (
        pd.Series([1, 2], index=pd.Index([1, "a"], dtype=object)),
        pd.Series([1, 2], index=pd.Index([True, "a"], dtype=object)),
    ),
    "range and other ints": (pd.Series([1, 2]), pd.Series([1, 2], index=pd.Index([0, 1]))),
    "levels of labels": (
        pd.Index([("a", 1)], tupleize_cols=False), pd.MultiIndex.from_tuples([("a", 1)])
    ),
    "dtype of a level": (pd.MultiIndex.from_tuples([("a", 1)]), pd.MultiIndex.from_tuples([("a", 1.0)])),
    "name of a Series": (pd.Series([1], name="a"), pd.Series([1])),
    "type of a name": (pd.Series([1], name=1), pd.Series([1], name=True)),
    "name of an index": (_frame(), _frame().rename_axis(index="other")),
    "name of the columns": (_frame(), _frame().rename_axis(columns="other")),
    "name of a level": (
        pd.MultiIndex.from_tuples([("a", 1)], names=["l", None]), pd.MultiIndex.from_tuples([("a", 1)])
    ),
    "freq of the index": (_frame(), _with(_frame(), index=pd.DatetimeIndex(_frame().index, freq=None))),
    "freq of the columns": (_frame().T, _with(_frame().T, columns=pd.DatetimeIndex(_frame().index, freq=None))),
    "categories": (pd.Series(pd.Categorical(["a"], ["a", "b"])), pd.Series(pd.Categorical(["a"], ["b", "a"]))),
    "ordered categories": (
        pd.Series(pd.Categorical(["a"], ["a"])), pd.Series(pd.Categorical(["a"], ["a"], ordered=True))
    ),
    "fill value of sparse data": (
        pd.Series(pd.arrays.SparseArray([1, 0], fill_value=0)), pd.Series(pd.arrays.SparseArray([1, 0], fill_value=1))
    ),
    "time zone": (
        pd.Series(pd.DatetimeIndex(["2024-01-01"], tz="UTC")), pd.Series(pd.DatetimeIndex(["2024-01-01"], tz="Japan"))
    ),
    "attrs": (_frame(), _with(_frame(), attrs={"a": 1})),
    "attrs of a Series": (_frame()["a"], _with(_frame()["a"], attrs={"a": 1})),
    "types in attrs": (_with(_frame(), attrs={"a": 1}), _with(_frame(), attrs={"a": True})),
    "flags": (_frame(), _frame().set_flags(allows_duplicate_labels=False)),
    "subclass": (_frame(), _Frame(_frame())),
    "metadata of a subclass": (_with(_Frame(_frame()), unit="m"), _with(_Frame(_frame()), unit="km")),
    "int and float in an object column": (_objects(1, "a"), _objects(1.0, "a")),
    "int and bool in an object column": (_objects(1, "a"), _objects(True, "a")),
    "int and numpy int in an object column": (_objects(1, "a"), _objects(np.int64(1), "a")),
    "nan and None in an object column": (_objects(np.nan, "a"), _objects(None, "a")),
    "nan and NaT in an object column": (_objects(np.nan, "a"), _objects(pd.NaT, "a")),
    "a Series in an object column": (_objects(pd.Series([1])), _objects(pd.Series([1.0]))),
    "a list in an object column of a frame": (
        pd.DataFrame({"a": _objects([1])}), pd.DataFrame({"a": _objects([True])})
    ),
}  # fmt: skip


@pytest.mark.parametrize("value", ALIKE, ids=lambda value: f"{type(value).__name__} {str(value)[:20]!r}")
def test_holds_for_what_is_alike(value):
    assert_same(value, value)
    if isinstance(value, (pd.DataFrame, pd.Series, pd.Index, np.ndarray)):
        assert_same(value.copy(), value)


@pytest.mark.parametrize("kind", DIFFERENT)
def test_fails_for_a_difference_of(kind):
    one, other = DIFFERENT[kind]
    with pytest.raises(AssertionError):
        assert_same(one, other)
    with pytest.raises(AssertionError):
        assert_same(other, one)
    assert_same([one], [one])
    assert_same([other], [other])


def test_rows_of_two_calls_of_itertuples_are_alike():
    row, again = (next(_frame()[["a"]].itertuples()) for _ in range(2))
    assert type(row) is not type(again)
    assert_same(row, again)


def test_names_the_column():
    with pytest.raises(AssertionError) as caught:
        assert_same(_frame(), _frame(b=[0.5, 1.0]))
    assert caught.value.__notes__ == ["in column 'b' (position 1)"]


def _raise(error):
    raise error


def test_data_in_the_place_of_pandas_call() -> None:
    with pytest.raises(InvalidOptionError, match="Data are obj="):
        assert_same_as_pandas(lambda par: par.map(str), pd.Series([1]))


def test_the_name_that_differs_is_named() -> None:
    with pytest.raises(AssertionError) as caught:
        assert_same(pd.Series([1]), pd.Series([1], name="a"))
    assert caught.value.__notes__ == ["in the attribute 'name': None and 'a'"]


@pytest.mark.parametrize(
    ("ours", "pandas", "message"),
    [
        (lambda: 1, lambda: _raise(ValueError("x")), r"pandas raises ValueError\('x'\), and pdparallel returns 1"),
        (lambda: _raise(ValueError("x")), lambda: 1, r"pandas returns a int, and pdparallel raises ValueError\('x'\)"),
        (
            lambda: _raise(KeyError("x")),
            lambda: _raise(ValueError("x")),
            "ValueError.*pdparallel raises KeyError",
        ),
        (
            lambda: _raise(ValueError("y")),
            lambda: _raise(ValueError("x")),
            r"ValueError\('x'\), and pdparallel raises ValueError\('y'\)",
        ),
        (lambda: 1, lambda: 1.0, "types differ: int and float"),
    ],
)
def test_calls_that_end_otherwise(ours, pandas, message):
    with pytest.raises(AssertionError, match=message):
        assert_same_as_pandas(ours, pandas)


def test_calls_that_end_alike():
    df = pd.DataFrame({"a": [1, 2]})
    func = lambda row: row["a"] / 2
    assert_same_as_pandas(lambda: df.par(engine="serial").apply_rows(func), lambda: df.apply(func, axis=1))
    assert_same_as_pandas(lambda: _raise(KeyError("a", 1)), lambda: _raise(KeyError("a", 1)))


def test_a_wrong_result_is_told_from_the_right_one():
    df = pd.DataFrame({"a": [1, 2]})
    with pytest.raises(AssertionError):
        assert_same_as_pandas(
            lambda: pd.concat([df[:1].apply(lambda row: 1, axis=1), df[1:].apply(lambda row: None, axis=1)]),
            lambda: df.apply(lambda row: 1 if row["a"] < 2 else None, axis=1),
        )


# Every verb, on several cuts


FRAME = pd.DataFrame({"key": ["a", "b", "a"], "x": [1, 2, 3], "y": [0.5, np.nan, 2.5]}, index=["p", "q", "r"])

VERBS = {
    "apply_rows": (
        lambda par: par.apply_rows(lambda row: max(row), rows="tuple"),
        lambda df: df.apply(lambda row: max(row), axis=1),
        FRAME[["y", "y"]],
    ),
    "apply_cols": (lambda par: par.apply_cols(len), lambda df: df.apply(len), FRAME),
    "apply": (lambda df: df.apply(lambda row: [row["x"], 0], axis=1, result_type="expand"), None, FRAME),
    "map": (lambda df: df.map(str), None, FRAME),
    "map of a Series": (lambda s: s.map(str), None, FRAME["x"]),
    "apply of a Series": (lambda s: s.apply(lambda value: None if value > 2 else value), None, FRAME["x"]),
    "apply_chunks": (lambda par: par.apply_chunks(lambda chunk: chunk[["x"]] * 2), lambda df: df[["x"]] * 2, FRAME),
    "groupby.apply": (lambda df: df.groupby("key")[["x"]].apply(lambda group: group.max()), None, FRAME),
    "groupby.agg": (lambda df: df.groupby("key").agg(lambda column: column.max()), None, FRAME),
    "groupby.transform": (lambda df: df.groupby("key")["x"].transform(lambda x: x - x.mean()), None, FRAME),
    "groupby.filter": (lambda df: df.groupby("key").filter(lambda group: len(group) > 1), None, FRAME),
    "rolling": (lambda df: df.rolling(2)["x"].apply(lambda window: window.sum()), None, FRAME),
    "an exception": (lambda df: df.apply(lambda row: [][row["x"]], axis=1), None, FRAME),
    "no rows": (lambda df: df.apply(lambda row: row["x"], axis=1), None, FRAME.iloc[:0]),
}  # fmt: skip


@pytest.mark.parametrize("name", VERBS)
def test_each_verb_is_as_in_pandas(name):
    ours, pandas, obj = VERBS[name]
    assert_same_as_pandas(ours, pandas, obj)


def test_each_cut_is_tried_by_way_of_bytes():
    sizes, copies = [], []

    class Kept(list):
        def __reduce__(self):
            copies.append(self)
            return list, ()

    kept = Kept()

    def measured(chunk):
        kept.append(len(chunk))
        return len(chunk)

    def ours(par):
        sizes.append(par.apply_chunks(measured, combine="list"))
        return 3

    assert_same_as_pandas(ours, lambda df: 3, FRAME)
    assert sizes == [[1, 1, 1], [2, 1], [3]]
    assert len(copies) == 3
    assert kept == []


def test_the_cut_is_named_that_differs():
    with pytest.raises(AssertionError) as caught:
        assert_same_as_pandas(
            lambda par: par.apply_chunks(lambda c: c["x"].cumsum()), lambda df: df["x"].cumsum(), FRAME
        )
    assert caught.value.__notes__ == ["in chunks of 1"]
    assert_same_as_pandas(
        lambda par: par.apply_chunks(lambda c: c["x"].cumsum()), lambda df: df["x"].cumsum(), FRAME, chunk_sizes=[None]
    )


def test_options_of_the_calls():
    def func(value):
        if value == 2:
            raise ValueError(value)
        return value

    want = pd.Series([1.0, np.nan, 3.0], index=FRAME.index, name="x")
    assert_same_as_pandas(lambda par: par.map(func), lambda s: want, FRAME["x"], errors="coerce", n_workers=3)
    for given in ({"engine": "serial"}, {"timeout": 3}, {"rate_limit": 3}, {"chunk_sise": 3}):
        with pytest.raises(InvalidOptionError, match=next(iter(given))):
            assert_same_as_pandas(lambda df: df.map(str), obj=FRAME, **given)
    with pytest.raises(InvalidOptionError, match="chunk_size"):
        assert_same_as_pandas(lambda df: df.map(str), obj=FRAME, chunk_sizes=[0])
    with pytest.raises(InvalidOptionError, match="pandas=None"):
        assert_same_as_pandas(lambda: 3)


def test_functions_may_write_into_what_they_get():
    def writes(df):
        df["x"] = 0
        return df.map(str) if isinstance(df, pd.DataFrame) else df

    before = FRAME.copy()
    assert_same_as_pandas(lambda par: writes(par._obj), lambda df: writes(df), FRAME)
    assert_same(FRAME, before)


# Serial


def test_serial_takes_every_call_by_way_of_bytes():
    here, seen = threading.get_ident(), []

    def func(value):
        seen.append(value)
        return threading.get_ident()

    with serial():
        for options in (
            {},
            {"engine": "process"},
            {"engine": "pathos", "timeout": 3},
            {"engine": "thread", "rate_limit": 9},
        ):
            assert set(pd.Series([1, 2]).par(**options).map(func)) == {here}
        with pytest.raises(FunctionNotSerializableError, match="generator"):
            pdparallel.map(lambda x, of=(x for x in ()): x, [1])
        with pytest.raises(ResultNotSerializableError, match="generator"):
            pdparallel.map(lambda x: (x for x in ()), [1])
        assert not isinstance(pdparallel.get_options()["engine"], str)
    assert seen == []
    assert pdparallel.get_options()["engine"] == "auto"
    assert pd.Series([1, 2]).par(engine="serial").map(func).tolist() == [here, here]
    assert seen == [1, 2]


def test_serial_holds_for_other_threads_and_cuts_as_it_is_asked():
    sizes = []
    with serial(chunk_size=2):
        thread = threading.Thread(target=lambda: sizes.append(FRAME.par(chunk_size=3).apply_chunks(len)))
        thread.start()
        thread.join()
        with serial():
            sizes.append(FRAME.par(chunk_size=1).apply_chunks(len))
        sizes.append(FRAME.par.apply_chunks(len))
    assert sizes == [[2, 1], [1, 1, 1], [2, 1]]
    with pytest.raises(InvalidOptionError, match="chunk_size=0"), serial(chunk_size=0):
        pass


def test_serial_takes_groups_windows_and_calls_inside_calls():
    def inner(row):
        return int(pd.Series([row["x"], 1]).par(engine="process").map(lambda value: value * 2).sum())

    with serial(chunk_size=1):
        assert FRAME.par.apply_rows(inner).tolist() == [4, 6, 8]
        assert FRAME.par.groupby("key")["x"].agg(lambda x: x.max()).to_dict() == {"a": 3, "b": 2}
        assert FRAME["x"].par.rolling(2).apply(lambda window: window.sum()).tolist()[1:] == [3.0, 5.0]
        assert list(pdparallel.imap(abs, [-1, -2])) == [1, 2]
        assert FRAME.par.background.map(str).result()["x"].tolist() == ["1", "2", "3"]
