"""Whatever the frame: each dtype, each kind of labels, each shape, with functions that look at all they are given.

All combinations are some 25,000; a fixed part of them runs by default, all of them with ``ORACLE=all`` in the
environment.
"""

from __future__ import annotations

import pandas as pd
import pytest

from tests.oracle.frames import EMPTY, FRAMES
from tests.oracle.functions import MODES, UNIT_FUNCTIONS, OfUnit, arguments
from tests.oracle.ways import SOME_WAYS, assert_same_on_all, drawn, ways_for

#: These see, or spoil, the most: they run for each frame.
TELLING = ("looks at everything", "itself", "written into and left", "a number or nothing")


def _cases():
    for function in UNIT_FUNCTIONS:
        for frame in FRAMES:
            for mode, how in MODES.items():
                plain = how["result_type"] is None and not how["raw"]
                one_of = (1 if plain else 8) if function in TELLING else (12 if plain else 48)
                if drawn(one_of, function, frame, mode):
                    yield pytest.param(function, frame, mode, id=f"{function}-{frame}-{mode}")


@pytest.mark.parametrize(("function", "frame", "mode"), list(_cases()))
def test_frames(function, frame, mode):
    func, how = OfUnit(function), MODES[mode]
    if how["raw"] and function.startswith("written into") and not pd.__version__.startswith("2."):
        pytest.skip("the arrays that raw=True hands out are read-only in pandas 3, and in a worker only at times")
    if function.startswith("written into") and not how["axis"] and not FRAMES[frame]().columns.is_unique:
        pytest.skip("pandas 2 stumbles over its own cache of columns where a label repeats")
    if how["raw"] and (function, frame) == ("its sum", "everything"):
        pytest.skip("NumPy refuses a sum of an early column, after the function was called with a later one")
    assert_same_on_all(
        FRAMES[frame],
        lambda df: df.apply(func, **how),
        lambda par: (par.apply_rows if how["axis"] else par.apply_cols)(func, **arguments(how)),
        ways_for(function, frame, mode),
    )


AXES = {0: 0, 1: 1, "index": 0, "columns": 1, "rows": 0}


@pytest.mark.parametrize("frame", ["plain", "int, float, str", "nullable of two kinds", *EMPTY])
@pytest.mark.parametrize("axis", AXES)
@pytest.mark.parametrize("function", TELLING)
def test_apply_with_names_of_the_axes(function, axis, frame):
    func = OfUnit(function)
    assert_same_on_all(
        FRAMES[frame], lambda df: df.apply(func, axis=axis), lambda par: par.apply(func, axis=axis), SOME_WAYS
    )


def _weighted(unit, weight, plus=0):
    return next(iter(unit)) * weight + plus


@pytest.mark.parametrize("how", [{}, {"raw": True}, {"result_type": "broadcast"}], ids=["plain", "raw", "broadcast"])
@pytest.mark.parametrize("axis", [0, 1])
def test_arguments(axis, how):
    assert_same_on_all(
        FRAMES["int and float"],
        lambda df: df.apply(_weighted, axis=axis, args=(2.5,), plus=1, **how),
        lambda par: par.apply(_weighted, axis=axis, args=(2.5,), plus=1, **how),
    )


BEYOND_FUNCTIONS = {
    "name": lambda on: on.apply("sum"),
    "name, by rows": lambda on: on.apply("max", axis=1),
    "name with arguments": lambda on: on.apply("sum", axis=1, min_count=3),
    "name of an attribute": lambda on: on.apply("size"),
    "name of nothing": lambda on: on.apply("no such method"),
    "list": lambda on: on.apply(["sum", "mean"]),
    "list, by rows": lambda on: on.apply(["sum", "mean"], axis=1),
    "dict": lambda on: on.apply({"a": "sum", "b": ["min", "max"]}),
    "dict of no column": lambda on: on.apply({"z": "sum"}),
    "by_row": lambda on: on.apply([lambda x: x * 2], by_row=False),
    "engine": lambda on: on.apply(lambda x: x.sum(), engine="python"),
}


@pytest.mark.parametrize("frame", ["int and float", "nullable of two kinds", "0 rows"])
@pytest.mark.parametrize("call", BEYOND_FUNCTIONS)
def test_other_than_functions(call, frame):
    assert_same_on_all(FRAMES[frame], BEYOND_FUNCTIONS[call], BEYOND_FUNCTIONS[call], SOME_WAYS[:1])


@pytest.mark.parametrize("frame", ["int and float", "plain", "a subclass", "nullable of two kinds"])
@pytest.mark.parametrize("ufunc", ["sqrt", "isnan"])
def test_ufuncs(ufunc, frame):
    import numpy as np

    func = getattr(np, ufunc)
    assert_same_on_all(FRAMES[frame], lambda df: df.apply(func), lambda par: par.apply(func), SOME_WAYS[:1])
    assert_same_on_all(
        FRAMES[frame], lambda df: df.apply(func, axis=1), lambda par: par.apply_rows(func), SOME_WAYS[:1]
    )
