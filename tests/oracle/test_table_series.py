"""Series.map and Series.apply: each dtype, each kind of return, with and without missing values passed on."""

from __future__ import annotations

import collections
import functools

import numpy as np
import pandas as pd
import pytest

import pdparallel
from tests.oracle.frames import LABELS, VALUES, Measured, MeasuredColumn
from tests.oracle.functions import RETURNS, VALUE_FUNCTIONS, OfNumber, OfValue
from tests.oracle.ways import SOME_WAYS, assert_same_on_all, drawn, ways_for

CALLS = {
    "map": ("map", {}),
    "map, missing ignored": ("map", {"na_action": "ignore"}),
    "apply": ("apply", {}),
}


def _cases():
    for function in VALUE_FUNCTIONS:
        for dtype in VALUES:
            for call in CALLS:
                if function == "looks at everything" or drawn(3, function, dtype, call):
                    yield pytest.param(function, dtype, call, id=f"{function}-{dtype}-{call}")


@pytest.mark.parametrize(("function", "dtype", "call"), list(_cases()))
def test_dtypes(function, dtype, call):
    func, (verb, how) = OfValue(function), CALLS[call]
    assert_same_on_all(
        VALUES[dtype],
        lambda s: getattr(s, verb)(func, **how),
        lambda par: getattr(par, verb)(func, **how),
        ways_for(function, dtype, call),
    )


@pytest.mark.parametrize("verb", ["map", "apply"])
@pytest.mark.parametrize("returns", RETURNS)
def test_returns(returns, verb):
    func = OfNumber(returns)
    assert_same_on_all(
        lambda: pd.Series(range(9), name="n"),
        lambda s: getattr(s, verb)(func),
        lambda par: getattr(par, verb)(func),
        SOME_WAYS,
    )


def _measured():
    s = MeasuredColumn([1, 2, 3], name="m")
    s.unit = "metre"
    return s


def _with_attrs():
    s = pd.Series([1, 2, 3], name=("a", 1))
    s.attrs = {"source": ["a sensor"]}
    return s


SHAPES = {
    **{f"labels: {kind}": (lambda make: lambda: make().iloc[:, 0])(make) for kind, make in LABELS.items()},
    **{f"empty: {dtype}": (lambda make: lambda: make().iloc[:0])(make) for dtype, make in VALUES.items()},
    **{f"one value: {dtype}": (lambda make: lambda: make().iloc[[4]])(make) for dtype, make in VALUES.items()},
    "attrs": _with_attrs,
    "a subclass": _measured,
    "a column of a subclass": lambda: Measured({"a": [1, 2]})["a"],
    "no repeats allowed": lambda: pd.Series([1, 2]).set_flags(allows_duplicate_labels=False),
    "only missing": lambda: pd.Series([np.nan, None, np.nan]),
    "only missing objects": lambda: pd.Series([None, np.nan, pd.NaT, pd.NA], dtype=object),
    "unused categories": lambda: pd.Series(pd.Categorical([], categories=["a", "b"])),
    "a stored fill value": lambda: pd.Series(_with_other_fill_value()),
}


def _with_other_fill_value():
    array = pd.arrays.SparseArray([1, 0, 2, 1, 0], fill_value=0)
    array.fill_value = 1  # which the array holds as a value, too
    return array


@pytest.mark.parametrize("verb", ["map", "apply"])
@pytest.mark.parametrize("function", ["looks at everything", "an int or a float", "a Series", "raises for some"])
@pytest.mark.parametrize("series", SHAPES)
def test_shapes(series, function, verb):
    func = OfValue(function)
    ways = ways_for(series, function, verb)[:1]
    assert_same_on_all(SHAPES[series], lambda s: getattr(s, verb)(func), lambda par: getattr(par, verb)(func), ways)


class Calls(dict):
    """A dict that can be called: pandas 2 looks up in it, pandas 3 calls it."""

    def __call__(self, value):
        return "called", value


class LikeADict:
    """What pandas takes for a dict, though it derives from nothing."""

    def keys(self):
        return [1, "k"]

    def __getitem__(self, key):
        return {1: "one", "k": "K"}[key]

    def __contains__(self, key):
        return key in self.keys()

    def __len__(self):
        return 2


MAPPERS = {
    "dict": {1: "one", 3: "three", "k": "K"},
    "empty dict": {},
    "dict that knows missing keys": collections.defaultdict(lambda: "other", {1: "one"}),
    "counter": collections.Counter({1: 5, "k": 6}),
    "dict that can be called": Calls({1: "one", "k": "K"}),
    "like a dict": LikeADict(),
    "Series": pd.Series({1: 0.5, 2: 1.5}),
    "Series of strings": pd.Series(["K", "C"], index=["k", "c"]),
}


def _accelerated(s, mapper, na_action):
    with pdparallel.accelerate():
        return s.map(mapper, na_action)


@pytest.mark.parametrize("door", [lambda par, *args: par.map(*args), lambda par, *args: _accelerated(par._obj, *args)])
@pytest.mark.parametrize("na_action", [None, "ignore"])
@pytest.mark.parametrize(
    "dtype", ["int64", "str", "object of ints", "category", "Int64", "Sparse[int64, 0]", "float64"]
)
@pytest.mark.parametrize("mapper", MAPPERS)
def test_map_by_a_mapper(mapper, dtype, na_action, door):
    assert_same_on_all(
        VALUES[dtype],
        lambda s: s.map(MAPPERS[mapper], na_action),
        lambda par: door(par, MAPPERS[mapper], na_action),
        SOME_WAYS[:1],
    )


def _power(value, power=1, plus=0):
    return value**power + plus


@pytest.mark.parametrize("dtype", ["int64", "float64", "Int64", "Sparse[int64, 0]", "category ordered ints"])
def test_map_with_keywords(dtype):
    assert_same_on_all(
        VALUES[dtype],
        # Series.map takes keywords from pandas 3 on
        lambda s: s.map(functools.partial(_power, power=2, plus=0.5)),
        lambda par: par.map(_power, power=2, plus=0.5),
    )


@pytest.mark.parametrize("dtype", ["int64", "float64", "Int64", "Sparse[int64, 0]", "category ordered ints"])
def test_apply_with_arguments(dtype):
    assert_same_on_all(
        VALUES[dtype],
        lambda s: s.apply(_power, args=(2,), plus=0.5),
        lambda par: par.apply(_power, args=(2,), plus=0.5),
    )


BEYOND_FUNCTIONS = {
    "name": lambda on: on.apply("sum"),
    "name with arguments": lambda on: on.apply("quantile", q=0.25),
    "name of nothing": lambda on: on.apply("no such method"),
    "list": lambda on: on.apply(["sum", "max"]),
    "list of functions": lambda on: on.apply([np.min, "mean", _power]),
    "dict": lambda on: on.apply({"low": "min", "high": max}),
    "ufunc": lambda on: on.apply(np.sqrt),
    "ufunc with arguments": lambda on: on.apply(np.add, args=(3,)),
    "by_row": lambda on: on.apply(lambda s: s.sum(), by_row=False),
    "by_row with arguments": lambda on: on.apply(lambda s, n: s * n, args=(3,), by_row=False),
    "builtin": lambda on: on.apply(float),
    "ufunc mapped": lambda on: on.map(np.sqrt),
    "bound method mapped": lambda on: on.map("{:>5}".format),
    "type mapped": lambda on: on.map(complex),
}


@pytest.mark.parametrize("dtype", ["int64", "float64", "Int64"])
@pytest.mark.parametrize("call", BEYOND_FUNCTIONS)
def test_other_than_functions(call, dtype):
    assert_same_on_all(VALUES[dtype], BEYOND_FUNCTIONS[call], BEYOND_FUNCTIONS[call], SOME_WAYS[:2])
