"""Packing: returns of one kind travel as columns and come back as the objects that they were."""

from __future__ import annotations

import math
import pickle
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pdparallel.packing import Numbers, Packed, Returns, SeriesRows, Texts, Tuples, pack
from pdparallel.testing import assert_same

PACKED: list[tuple[list[Any], type[Packed]]] = [
    ([1.5, math.nan, -0.0, math.inf], Numbers),
    ([1, -(2**63), 2**63 - 1], Numbers),
    ([True, False], Numbers),
    ([np.float64(1.5), np.float64("nan")], Numbers),
    ([np.float32(1.5)], Numbers),
    ([np.int8(1), np.int8(-1)], Numbers),
    ([np.uint64(2**64 - 1)], Numbers),
    ([np.bool_(True)], Numbers),
    (["a", "", "ä\x00"], Texts),
    ([(1, 2.5, "x", True), (2, 3.5, "y", False)], Tuples),
    ([[np.float64(1), 2], [np.float64(2), 3]], Tuples),
    ([pd.Series({"x": 1.0}), pd.Series({"x": 2.0})], SeriesRows),
    ([pd.Series([1, "a"]), pd.Series([[2], None])], SeriesRows),
    ([pd.Series([None, pd.Timestamp("2024")], dtype=object), pd.Series([None, "a"], dtype=object)], SeriesRows),
    ([pd.Series([1, 2], dtype=np.int8), pd.Series([3, 4], dtype=np.int8)], SeriesRows),
]

LEFT_ALONE: list[list[Any]] = [
    [],
    [1, 2.5],
    [1, True],
    [None, None],
    [2**63],
    [1 + 2j],
    [np.longdouble(1)],
    [np.datetime64("2024-01-01")],
    [pd.Timestamp("2024-01-01")],
    [pd.NaT],
    [(1,), (1, 2)],
    [(), ()],
    [[None], [None]],
    [(1,), [1]],
    [[[1]], [[2]]],
    [{"a": 1}, {"a": 2}],
    [np.array([1]), np.array([2])],
    [pd.Series([1]), pd.Series([1.5])],
    [pd.Series([1], name="n"), pd.Series([2], name="n")],
    [pd.Series([1], index=["x"]), pd.Series([1], index=["y"])],
    [pd.Series([1], index=pd.Index(["x"], name="n")), pd.Series([1], index=["x"])],
    [pd.Series([1, 2], index=["x", "x"]), pd.Series([1, 2], index=["x", "x"])],
    [pd.Series(pd.date_range("2024", periods=1)), pd.Series(pd.date_range("2024", periods=1))],
    [pd.Series([1], index=pd.date_range("2024", periods=1)), pd.Series([1], index=pd.date_range("2024", periods=1))],
    [pd.Series([1]).set_flags(allows_duplicate_labels=False), pd.Series([2])],
]


class Meters(float):
    """A subclass is not what it derives from."""


@pytest.mark.parametrize(("values", "form"), PACKED)
def test_what_is_of_one_kind_comes_back_as_it_was(values: list[Any], form: type[Packed]) -> None:
    packed = pack(values)
    assert type(packed) is form
    back = pickle.loads(pickle.dumps(packed)).unpacked()
    assert len(packed) == len(back) == len(values)
    assert list(map(type, back)) == list(map(type, values))
    for one, other in zip(back, values, strict=True):
        assert_same(one, other)


@pytest.mark.parametrize("values", [*LEFT_ALONE, [Meters(1.5)]])
def test_everything_else_is_left_alone(values: list[Any]) -> None:
    assert pack(values) is None


@pytest.mark.parametrize(("values", "form"), PACKED)
def test_parts_of_one_form_are_one(values: list[Any], form: type[Packed]) -> None:
    returns = Returns([values, pack(values), list(values)])
    assert type(returns.packed()) is form
    assert len(returns) == 3 * len(values)
    for one, other in zip(returns, values * 3, strict=True):
        assert_same(one, other)


def test_parts_of_several_forms_are_not() -> None:
    assert Returns([[1], [1.5]]).packed() is None
    assert Returns([[1], [None]]).packed() is None
    assert Returns([]).packed() is None
    assert Returns([pack([1]), [None], pack(["x"])]).values() == [1, None, "x"]
