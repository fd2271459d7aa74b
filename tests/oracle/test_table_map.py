"""DataFrame.map: each dtype, alone and in frames of several, labels and shapes, functions and na_action."""

from __future__ import annotations

import functools

import numpy as np
import pandas as pd
import pytest

from tests.oracle.frames import DTYPES, EMPTY, FRAMES, LABELS
from tests.oracle.functions import RETURNS, VALUE_FUNCTIONS, OfNumber, OfValue
from tests.oracle.ways import SOME_WAYS, assert_same_on_all, drawn, ways_for

ACTIONS = [None, "ignore"]


def _cases():
    for function in VALUE_FUNCTIONS:
        for dtype in DTYPES:
            for action in ACTIONS:
                if function == "looks at everything" or drawn(6, function, dtype, action):
                    yield pytest.param(function, dtype, action, id=f"{function}-{dtype}-{action}")


@pytest.mark.parametrize(("function", "dtype", "action"), list(_cases()))
def test_dtypes(function, dtype, action):
    func = OfValue(function)
    assert_same_on_all(
        DTYPES[dtype],
        lambda df: df.map(func, na_action=action),
        lambda par: par.map(func, na_action=action),
        ways_for(function, dtype, action),
    )


@pytest.mark.parametrize("function", ["looks at everything", "an int", "an int or a float", "a Series", "a time"])
@pytest.mark.parametrize("frame", [*LABELS, *EMPTY])
def test_labels_and_shapes(frame, function):
    func = OfValue(function)
    assert_same_on_all(FRAMES[frame], lambda df: df.map(func), lambda par: par.map(func), ways_for(frame, function))


@pytest.mark.parametrize("returns", RETURNS)
def test_returns(returns):
    func = OfNumber(returns)
    assert_same_on_all(
        lambda: pd.DataFrame(np.arange(9).reshape(3, 3), columns=list("abc")),
        lambda df: df.map(func),
        lambda par: par.map(func),
        SOME_WAYS,
    )


#: What a function returns for each column of some, so that columns of the result differ.
BY_COLUMN = {
    "numbers, texts, times": [1.5, "text", pd.Timestamp("2024-05-01", tz="UTC")],
    "texts, numbers, objects": ["text", True, [1]],
    "times of two zones, and none": [pd.Timestamp("2024-05-01", tz=zone) for zone in ("Asia/Tokyo", "UTC", None)],
    "times, and none at all": [pd.Timestamp("2024-05-01", tz="UTC"), pd.NaT, pd.Timestamp("2024-05-02", tz="UTC")],
    "timedeltas, and none at all": [pd.Timedelta(np.timedelta64(1, "h")).as_unit("s"), pd.NaT, pd.NaT],
    "Python's and NumPy's numbers": [1, np.int64(1), np.float32(0.5)],
    "ints beyond 64 bits": [2**70, 2**63, 1],
}


@pytest.mark.parametrize("returns", BY_COLUMN)
def test_columns_of_other_returns(returns):
    values = BY_COLUMN[returns]
    assert_same_on_all(
        lambda: pd.DataFrame({"a": [0, 0, 0, 0], "b": [1, 1, 1, 1], "c": [2, 2, 2, 2]}, index=list("wxyz")),
        lambda df: df.map(lambda number: values[number]),
        lambda par: par.map(lambda number: values[number]),
    )


def _power(value, power=1, plus=0):
    return value**power + plus


@pytest.mark.parametrize("dtype", ["int64", "float64", "Int64", "Sparse[int64, 0]", "category ordered ints"])
def test_keywords(dtype):
    assert_same_on_all(
        DTYPES[dtype],
        lambda df: df.map(_power, power=2, plus=0.5),
        lambda par: par.map(_power, power=2, plus=0.5),
    )


CALLABLES = {
    "ufunc": np.sqrt,
    "bound method": "{:>5}".format,
    "type": complex,
    "partial": functools.partial(_power, power=2),
    "stops": lambda value: next(iter(())),
}


@pytest.mark.parametrize("dtype", ["int64", "float64", "Int64", "bool and int"])
@pytest.mark.parametrize("call", CALLABLES)
def test_other_callables(call, dtype):
    func = CALLABLES[call]
    assert_same_on_all(DTYPES[dtype], lambda df: df.map(func), lambda par: par.map(func), SOME_WAYS)


def test_some_columns():
    assert_same_on_all(
        DTYPES["everything"],
        lambda df: df[["str", "int64", "str"]].map(str),
        lambda par: par(columns=["str", "int64", "str"]).map(str),
    )


WIDE = {
    "one dtype": lambda: pd.DataFrame(np.arange(600).reshape(4, 150)),
    "several": lambda: pd.DataFrame({at: [(at, at / 2, str(at), at > 9)[at % 4]] * 4 for at in range(150)}),
    "times among them": lambda: pd.DataFrame(
        {at: pd.date_range("2024-01-01", periods=4, tz="UTC") if at % 50 == 7 else range(4) for at in range(150)}
    ),
    "views of every other row": lambda: pd.DataFrame(np.arange(1200.0).reshape(8, 150))[::2],
}


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("function", ["looks at everything", "itself"])
@pytest.mark.parametrize("frame", WIDE)
def test_many_columns(frame, function, action):
    func = OfValue(function)
    assert_same_on_all(
        WIDE[frame],
        lambda df: df.map(func, na_action=action),
        lambda par: par.map(func, na_action=action),
        ways_for(frame, function, action)[1:],
    )


def test_only_missing():
    assert_same_on_all(
        lambda: pd.DataFrame({"a": [np.nan, None], "b": [None, pd.NaT]}),
        lambda df: df.map(str, na_action="ignore"),
        lambda par: par.map(str, na_action="ignore"),
    )


def _zero_but_for_five(value):
    if value == 5:
        raise LookupError("five")
    return 0


@pytest.mark.parametrize("first", [[0, 0, 1], [0, 0, 0], [5, 0, 1]], ids=["refused", "taken", "raises itself"])
def test_what_pandas_refuses_comes_before_what_fails_in_a_later_column(first):
    assert_same_on_all(
        lambda: pd.DataFrame({"a": pd.arrays.SparseArray(first), "b": [4, 5, 6]}),
        lambda df: df.map(_zero_but_for_five),
        lambda par: par.map(_zero_but_for_five),
    )
