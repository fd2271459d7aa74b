"""Packing: returns of one kind travel as columns and come back as the objects that they were."""

from __future__ import annotations

import datetime
import itertools
import math
import pickle
import struct
import zoneinfo
from collections import OrderedDict
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pdparallel.core.columnar import Dicts, Mixed, Numbers, Packed, Runs, SeriesRows, Texts, Times, Tuples
from pdparallel.core.returns import Returns, pack, pack_runs
from pdparallel.testing import assert_same


class Meters(float):
    """A subclass is not what it derives from."""


class Label(str):
    """Equal to a text."""


class Elsewhere(datetime.tzinfo):
    """A zone of somebody's own."""

    def utcoffset(self, when: datetime.datetime | None) -> datetime.timedelta:
        return datetime.timedelta(hours=1)

    dst = utcoffset

    def tzname(self, when: datetime.datetime | None) -> str:
        return "elsewhere"


NOON = pd.Timestamp("2024-10-26 12:00")
BERLIN = zoneinfo.ZoneInfo("Europe/Berlin")
NAMED = datetime.timezone(datetime.timedelta(hours=2), "here")

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
    ([NOON, pd.Timestamp("2024-10-27 12:00")], Times),
    ([NOON.as_unit("s"), pd.NaT], Times),
    ([pd.NaT, pd.Timestamp("2024-10-26 12:00:00.000000001")], Times),
    ([pd.Timestamp.min, pd.Timestamp.max], Times),
    ([NOON.as_unit("us").replace(year=1700, microsecond=7), NOON.as_unit("us").replace(year=2250)], Times),
    ([NOON.tz_localize("UTC"), pd.NaT, NOON.tz_localize("UTC")], Times),
    ([NOON.tz_localize(BERLIN) + datetime.timedelta(minutes=30 * n) for n in range(40)], Times),
    ([NOON.tz_localize(NAMED), NOON.tz_localize(NAMED)], Times),
    ([pd.Timestamp("2024-05-06 07:08+02:00"), pd.Timestamp("2024-05-06 07:09+02:00")], Times),
    ([pd.Timedelta(np.timedelta64(1, "ns")), pd.NaT, pd.Timedelta.min], Times),
    ([pd.Timedelta(np.timedelta64(1, "h")).as_unit("s"), pd.Timedelta(np.timedelta64(-1, "h")).as_unit("s")], Times),
    ([(NOON, 1.5), (NOON, 2.5)], Tuples),
    ([(NOON, pd.NaT), (NOON, NOON)], Tuples),
    ([[None, 1.5], [2.5, math.nan]], Tuples),
    ([(None,), (None,)], Tuples),
    ([(2**63, 1 + 2j), (1, b"b")], Tuples),
    ([(NOON, pd.NaT), (NOON.tz_localize("UTC"), pd.NA)], Tuples),
    ([(datetime.date(2024, 1, 1), 1), (datetime.datetime(2024, 1, 1, fold=1), True)], Tuples),
    ([(1, 2.5, "x", True), (2, 3.5, "y", False)], Tuples),
    ([[np.float64(1), 2], [np.float64(2), 3]], Tuples),
    ([pd.Series({"x": 1.0}), pd.Series({"x": 2.0})], SeriesRows),
    ([pd.Series([1, "a"]), pd.Series([[2], None])], SeriesRows),
    ([pd.Series([None, pd.Timestamp("2024")], dtype=object), pd.Series([None, "a"], dtype=object)], SeriesRows),
    ([pd.Series([NOON, pd.NaT]), pd.Series([NOON, NOON])], SeriesRows),
    ([pd.Series([NOON]).dt.as_unit("s"), pd.Series([NOON]).dt.as_unit("s")], SeriesRows),
    (
        [pd.Series([pd.Timedelta(np.timedelta64(1, "h"))]), pd.Series([pd.Timedelta(np.timedelta64(2, "h"))])],
        SeriesRows,
    ),
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
    [pd.NaT, pd.NaT],
    [NOON, None],
    [NOON, pd.Timedelta(np.timedelta64(1, "h"))],
    [NOON.as_unit("s"), NOON.as_unit("ms")],
    [NOON, NOON.tz_localize("UTC")],
    [NOON.tz_localize("UTC"), NOON.tz_localize(BERLIN)],
    [NOON.tz_localize(NAMED), pd.Timestamp("2024-05-06 07:08+02:00")],
    [NOON.tz_localize(Elsewhere())],
    [datetime.datetime(2024, 1, 1), datetime.datetime(2024, 1, 1, tzinfo=BERLIN)],
    [datetime.date(2024, 1, 1)],
    [NOON.as_unit("us").replace(year=1), NOON.as_unit("us").replace(year=9999)],
    [(1,), (1, 2)],
    [(), ()],
    [(1,), ([1],)],
    [(1.5,), (Meters(1.5),)],
    [(np.float32(1),), (np.float32(1),)],
    [tuple(range(65)), tuple(range(65))],
    [(1,), [1]],
    [[[1]], [[2]]],
    [{"a": 1}, {"a": 2}],
    [np.array([1]), np.array([2])],
    [pd.Series([1]), pd.Series([1.5])],
    [pd.Series([1], name="n"), pd.Series([2], name="n")],
    [pd.Series([1], index=["x"]), pd.Series([1], index=["y"])],
    [pd.Series([1], index=pd.Index(["x"], name="n")), pd.Series([1], index=["x"])],
    [pd.Series([1, 2], index=["x", "x"]), pd.Series([1, 2], index=["x", "x"])],
    [pd.Series(pd.date_range("2024", periods=1, tz="UTC")), pd.Series(pd.date_range("2024", periods=1, tz="UTC"))],
    [pd.Series([NOON]).dt.as_unit("s"), pd.Series([NOON]).dt.as_unit("ms")],
    [pd.Series([1], index=pd.date_range("2024", periods=1)), pd.Series([1], index=pd.date_range("2024", periods=1))],
    [pd.Series([1]).set_flags(allows_duplicate_labels=False), pd.Series([2])],
]


@pytest.mark.parametrize(("values", "form"), PACKED)
def test_what_is_of_one_kind_comes_back_as_it_was(values: list[Any], form: type[Packed]) -> None:
    packed = pack(values)
    assert type(packed) is form
    back = pickle.loads(pickle.dumps(packed)).unpacked()
    assert len(packed) == len(back) == len(values)
    assert list(map(type, back)) == list(map(type, values))
    for one, other in zip(back, values, strict=True):
        assert_same(one, other)
        assert type(getattr(one, "tzinfo", None)) is type(getattr(other, "tzinfo", None))
        assert getattr(one, "fold", None) == getattr(other, "fold", None)


@pytest.mark.parametrize("values", [*LEFT_ALONE, [Meters(1.5)]])
def test_everything_else_is_left_alone(values: list[Any]) -> None:
    assert pack(values) is None


@pytest.mark.parametrize(("values", "form"), PACKED)
def test_parts_of_one_form_are_one(values: list[Any], form: type[Packed]) -> None:
    returns = Returns([values, pack(values), list(values)])
    assert type(returns.packed(columns=True)) is form
    assert len(returns) == 3 * len(values)
    for one, other in zip(returns, values * 3, strict=True):
        assert_same(one, other)


def test_parts_of_several_forms_are_not() -> None:
    assert Returns([[1], [1.5]]).packed() is None
    assert Returns([[1], [None]]).packed() is None
    assert Returns([]).packed() is None
    assert Returns([pack([1]), [None], pack(["x"])]).values() == [1, None, "x"]


def test_what_a_nan_carries_stays() -> None:
    nan = struct.unpack("<d", struct.pack("<Q", 0x7FF8_0000_0000_1234))[0]
    packed = pack([(nan, "x"), (1.5, "y")])
    assert packed is not None
    assert struct.pack("<d", packed.unpacked()[0][0]) == struct.pack("<d", nan)


def test_a_list_that_is_there_twice_stays_one() -> None:
    shared, other = [1], [2]
    assert pack([shared, other, shared]) is None
    assert pack([(1,)] * 2) is not None  # of tuples nobody sees it


def test_columns_that_differ_from_part_to_part_are_mixed() -> None:
    returns = Returns([pack([(1.5, "x")]), pack([(None, "y")]), [(2, "z")]])
    packed = returns.packed(columns=True)
    assert isinstance(packed, Tuples)
    assert list(map(type, packed.columns)) == [Mixed, Texts]
    assert packed.unpacked() == returns.values() == [(1.5, "x"), (None, "y"), (2, "z")]


def test_what_did_not_travel_is_still_the_functions_own() -> None:
    own = [[1, "x"], [2, "y"]]
    for returns in (Returns([own]), Returns([pack([[0, "w"]]), own, pack([[3, "z"]])])):
        assert returns.packed() is None
        assert isinstance(returns.packed(columns=True), Tuples)
        values = returns.values()
        assert [value for value in values if any(value is each for each in own)] == own
        assert [value[0] for value in values] == sorted(value[0] for value in values)
        assert len(returns) == len(values)


DICTS: list[list[Any]] = [
    [{"a": 1, "b": "x"}, {"a": 2.5, "b": "y"}],
    [{"a": None}, {"a": NOON}],
    [dict.fromkeys(["a", "b"], -0.0)] * 2,
]

OTHER_DICTS: list[list[Any]] = [
    [{}, {}],
    [{"a": 1}, {"b": 1}],
    [{"a": 1, "b": 2}, {"b": 1, "a": 2}],
    [{"a": 1}, {"a": 1, "b": 2}],
    [{"a": 1, "b": 1}, {"a": 1}, {"b": 1, "a": 1, "c": 1}],
    [{1: 1}, {1: 1}],
    [{1: 1}, {True: 1}],
    [{"a": 1}, {Label("a"): 1}],
    [{"a": 1}, OrderedDict(a=1)],
    [{"a": 1}, None],
    [{"a": [1]}, {"a": [1]}],
    [dict.fromkeys(map(str, range(65)))] * 2,
]


@pytest.mark.parametrize("values", DICTS)
def test_dicts_are_columns_only_where_that_is_asked_for(values: list[Any]) -> None:
    assert pack(values) is None
    returns = Returns([values, list(values)])
    assert returns.packed() is None
    packed = returns.packed(columns=True)
    assert isinstance(packed, Dicts)
    assert_same(packed.unpacked(), values * 2)
    assert all(one is other for one, other in zip(returns, values * 2, strict=True))


@pytest.mark.parametrize("values", OTHER_DICTS)
def test_other_dicts_are_left_alone(values: list[Any]) -> None:
    assert Returns([values]).packed(columns=True) is None
    assert Returns([values[:1], values[1:]]).values() == values


def test_a_second_type_of_the_same_width_is_itself_after_a_journey() -> None:
    values = [np.longlong(1), np.longlong(2)]
    packed = pack(values)
    assert packed is not None
    there = pickle.loads(pickle.dumps(packed))
    assert [type(value) for value in there.unpacked()] == [np.longlong, np.longlong]


class TestRuns:
    VALUES = [0.5] * 150 + ["a"] * 150 + [[1]] * 5 + [None] * 5 + [pd.Timestamp("2024-01-01", tz="UTC")] * 300

    def test_they_come_back_as_they_were(self):
        runs = pack_runs(self.VALUES)
        assert [type(part).__name__ for part in runs.parts] == ["Numbers", "Texts", "list", "list", "Times"]
        assert len(runs) == len(self.VALUES)
        assert list(map(repr, runs)) == list(map(repr, self.VALUES))
        assert list(map(repr, Runs.concat_packed([runs, runs]))) == list(map(repr, self.VALUES * 2))

    @pytest.mark.parametrize("values", [[1, None] * 500, [0.5] * 150 + [1], [[1]] * 300 + [{}] * 300, []])
    def test_not_worth_it(self, values):
        assert pack_runs(values) is None

    def test_a_list_that_is_there_twice_stays_one(self):
        one = [1]
        values = pickle.loads(pickle.dumps(pack_runs([one] * 200 + [0.5] * 200 + [one] * 200))).unpacked()
        assert values[0] is values[-1]

    def test_returns_of_columns_are_split_into_them(self):
        pieces = Returns([pack_runs(self.VALUES), [1.5] * 10]).split([150, 0, 100, 60, 310])
        assert list(map(len, pieces)) == [150, 0, 100, 60, 310]
        assert [type(piece.packed()).__name__ for piece in pieces[:3]] == ["Numbers", "NoneType", "Texts"]
        assert list(map(repr, itertools.chain(*pieces))) == list(map(repr, [*self.VALUES, *[1.5] * 10]))

    @pytest.mark.parametrize("asked", [False, True], ids=["before", "after the whole was asked for"])
    @pytest.mark.parametrize(
        "parts", [[[1.5, 2.5], [3.5]], [pack([1.5, 2.5]), [3.5, 4.5], pack([5.5])], [pack([(1, 2), (3, 4)]), [(5, 6)]]]
    )
    def test_split(self, parts, asked):
        returns = Returns(parts)
        if asked:
            returns.packed(columns=True)
        whole = list(Returns(parts))
        for at in range(len(whole) + 1):
            first, second = returns.split([at, len(whole) - at])
            assert (first.values(), second.values()) == (whole[:at], whole[at:])

    def test_times_of_which_none_are_left_have_no_zone(self):
        times = pack([pd.Timestamp("2024-01-01", tz="UTC"), pd.NaT, pd.NaT])
        assert Returns([times]).split([1, 2])[1].packed() is None
