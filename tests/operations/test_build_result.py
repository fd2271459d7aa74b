"""Shaping: recorded returns become what pandas makes of them, and pieces become one with all that the whole had."""

from __future__ import annotations

import datetime
import decimal
import itertools
import re

import numpy as np
import pandas as pd
import pytest

import pdparallel.operations.build_result
from pdparallel.compat import PANDAS_2
from pdparallel.core.chunking import Chunk, cut
from pdparallel.core.returns import Returns, pack
from pdparallel.errors import InvalidOptionError
from pdparallel.operations.build_result import DetectNan, build_apply, build_map
from pdparallel.operations.concat import combined, without_overlap
from pdparallel.testing import assert_same, assert_same_as_pandas
from tests.oracle.frames import Measured


def _frame():
    return pd.DataFrame({"a": [1, 2, 3], "b": [0.5, 1.5, 2.5]}, index=list("xyz"))


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("raw", [False, True])
@pytest.mark.parametrize(
    "value", [lambda n: n, lambda n: None if n else 1, lambda n: [n, n], lambda n: pd.Series({"p": n, "q": "t"})]
)
def test_shape_of_returns(value, axis, raw):
    df = _frame()
    df.attrs = {"source": "s"}
    returns = [value(n) for n in range(df.shape[1 - axis])]
    following = iter(returns)
    assert_same_as_pandas(
        lambda: build_apply(df, Returns([returns]), axis, raw, None),
        lambda: df.apply(lambda unit: next(following), axis=axis, raw=raw),
    )


NOON = pd.Timestamp("2024-10-26 12:00")
LEAST = pd.Timestamp("1677-09-21 00:12:43")  # less than nanoseconds can say

#: What is shaped without a look at each return again: result_type, and the returns.
SHORT = {
    "times": (None, [NOON, pd.NaT, NOON]),
    "times with a zone": (None, [NOON.tz_localize("Europe/Berlin").tz_convert("UTC")] * 3),
    "times of seconds": (None, [NOON.as_unit("s")] * 3),
    "times beyond nanoseconds": (None, [NOON, LEAST.as_unit(NOON.unit), NOON]),
    "times beyond nanoseconds, the first of them": (None, [LEAST, LEAST, NOON.as_unit("s")]),
    "scalars, expanded": ("expand", [NOON, NOON, NOON]),
    "lists": (None, [[1, "a"], [None, "b"], [2.5, "c"]]),
    "dicts": (None, [{"p": 1}, {"p": 2}, {"p": 3}]),
    "dicts, reduced": ("reduce", [{"p": 1}, {"p": 2}, {"p": 3}]),
    "tuples of times": ("expand", [(NOON, NOON)] * 3),
    "tuples of times and numbers": ("expand", [(NOON, 1), (NOON, 2), (NOON, 3)]),
    "tuples of texts and missing values": ("expand", [("a", 1, None), ("b", 2, 0.5), ("c", 3, np.nan)]),
    "dicts of numbers": ("expand", [{"p": 1, "q": 0.5}, {"p": 2, "q": np.nan}, {"p": 3, "q": -0.0}]),
    "dicts of texts": ("expand", [{"p": "a", "q": "b"}] * 3),
    "dicts of several types": ("expand", [{"p": "a", "q": 1, "r": NOON, "s": s} for s in (None, 1, None)]),
    "Series of times": (None, [pd.Series({"p": NOON, "q": pd.NaT})] * 3),
    "Series of timedeltas": (None, [pd.Series({"p": NOON - NOON})] * 3),
}  # fmt: skip

#: What pandas itself shapes, for it is not known beforehand what it makes of each row.
REPLAYED = {
    "a missing text": ("expand", [("a", np.nan)] * 3),
    "a missing text of some": ("expand", [("a", None), ("b", "c"), ("d", "e")]),
    "a missing number": ("expand", [(None, 1), (0.5, 2), (1.5, 3)]),
    "a missing time": ("expand", [(NOON, np.nan), (NOON, 1.5), (NOON, 2.5)]),
    "missing times": ("expand", [(pd.NaT, NOON), (NOON, pd.NaT), (NOON, NOON)]),
    "a column of nothing": ("expand", [("a", 1, pd.NaT), ("b", 2, None), ("c", 3, pd.NaT)]),
    "times of two zones": ("expand", [(NOON, NOON.tz_localize("UTC"))] * 3),
    "times of two units": ("expand", [(NOON.as_unit("s"), NOON.as_unit("ms"))] * 3),
    "times beyond nanoseconds": ("expand", [(NOON.as_unit("s"),), (LEAST,), (NOON.as_unit("s"),)]),
    "keys of numbers": ("expand", [{1: 1, 2: 0.5}] * 3),
    "keys in another order": ("expand", [{"p": 1, "q": 2}, {"q": 3, "p": 4}, {"p": 1, "q": 2}]),
    "Series, reduced": ("reduce", [pd.Series({"p": NOON})] * 3),
}


def _by_pandas(df, returns, result_type):
    following = iter(returns)
    return df.apply(lambda row: next(following), axis=1, result_type=result_type)


@pytest.mark.parametrize("travelled", [False, True])
@pytest.mark.parametrize("case", SHORT)
def test_what_is_known_is_not_replayed(case, travelled, monkeypatch):
    result_type, values = SHORT[case]
    df = _frame()
    expected = _by_pandas(df, values, result_type)
    monkeypatch.setattr(pdparallel.operations.build_result, "replay", None)
    parts = [(pack(values) if travelled else None) or values]
    assert_same(build_apply(df, Returns(parts), 1, False, result_type), expected)


@pytest.mark.parametrize("travelled", [False, True])
@pytest.mark.parametrize("case", REPLAYED)
def test_what_is_not_known_is_replayed(case, travelled):
    result_type, values = REPLAYED[case]
    parts = [(pack(values) if travelled else None) or values]
    assert_same(build_apply(_frame(), Returns(parts), 1, False, result_type), _by_pandas(_frame(), values, result_type))


@pytest.mark.parametrize("result_type", [None, "reduce"])
@pytest.mark.parametrize("make", [dict, list])
def test_an_object_that_is_returned_again_and_again_is_one(make, result_type):
    shared = make({"p": 1})
    result = build_apply(_frame(), Returns([[shared, shared], [shared]]), 1, False, result_type)
    assert all(value is shared for value in result)


def test_shape_of_a_map_to_times():
    s = pd.Series([1, 2, 3], name="s")
    for values in (
        [NOON, pd.NaT, NOON],
        [NOON.tz_localize("UTC")] * 3,
        [NOON - NOON] * 3,
        [LEAST, LEAST, NOON.as_unit("s")],
    ):
        expected = s.map(dict(zip(s, values, strict=True)).__getitem__)
        assert_same(build_map(s, Returns([pack(values) or values]), "map"), expected)


def test_shape_of_a_subclass_keeps_it_and_its_metadata():
    df = Measured(_frame())
    df.unit = "metre"
    result = build_apply(df, Returns([[pd.Series({"p": 1})] * 3]), 1, False, None)
    assert_same(result, df.apply(lambda row: pd.Series({"p": 1}), axis=1))
    assert type(result) is Measured


def test_shape_of_a_map():
    s = pd.Series(["a", None, "b"], name="s")
    assert_same(build_map(s, Returns([["A", "B"]]), "map", na_action="ignore"), s.map(str.upper, na_action="ignore"))
    assert_same(build_map(s, Returns([[1, 2.5, None]]), "apply"), pd.Series([1, 2.5, np.nan], name="s"))


class _Own:
    """Of no library; equal to itself only."""


class _LikeAnArray(_Own):
    def __array__(self, dtype=None, copy=None):
        return np.array([1, 2])


class _LikeANumber:
    def __float__(self):
        return 1.5

    def __index__(self):
        return 1


#: Returns of several kinds, or of one that does not pack.
OBJECTS = {
    "ints and None": [1, None, -5],
    "ints beyond 64 bits": [1, 2**63, None, 2**70],
    "ints beyond 63 bits": [2**63, None, 1],
    "ints of both ends": [2**63, -1],
    "ints that no float holds": [2**53 + 1, None, 1.5],
    "ints and infinite floats": [1, float("inf"), None],
    "ints and floats": [1, 2.5],
    "bools and None": [True, None],
    "bools and ints": [True, 1],
    "floats, ints, None": [1.5, None, 1, float("nan"), -0.0],
    "None": [None, None],
    "texts and None": ["a", None, "ß"],
    "texts and nan": ["a", np.nan],
    "texts, floats, None": ["a", 1.5, None],
    "half a surrogate pair and None": ["\ud800", None],
    "bytes": [b"a", None],
    "tuples": [(1, 2), (3, 4)],
    "tuples and None": [(1,), None, 2],
    "lists": [[1], [2, 3]],
    "dicts and sets": [{"a": 1}, {2}, frozenset()],
    "complex": [1j, 1, None],
    "dates": [datetime.date(2024, 1, 1), None],
    "decimals": [decimal.Decimal(1), None],
    "pd.NA": [pd.NA, 1, None],
    "NaT": [pd.NaT, None],
    "Timestamps and texts": [pd.Timestamp("2024"), "a"],
    "Periods": [pd.Period("2024"), pd.Period("2025")],
    "numbers of NumPy": [np.int64(3), None, np.float32(2)],
    "texts of NumPy": [np.str_("q"), "a", None],
    "classes": [int, object, None],
    "objects": [_Own(), _Own(), 1],
    "objects like arrays": [_LikeAnArray(), None],
    "objects like numbers": [_LikeANumber(), 1],
}

#: What such returns come from.
MAPPED = {
    "ints": pd.Series(range(5), name="x"),
    "floats": pd.Series([0.5, np.nan, 1.5, 2.5, 3.5], dtype="float32"),
    "bools": pd.Series([True, False, True, True, False]),
    "objects": pd.Series([1, "a", None, 2.5, (3,)], dtype=object),
    "texts": pd.Series(["a", None, "b", "c", "d"]),
    "texts of Python": pd.Series(["a", None, "b", "c", "d"], dtype=pd.StringDtype("python")),
    "times": pd.Series(pd.date_range("2024", periods=5)),
    "times of a zone": pd.Series(pd.date_range("2024", periods=5, tz="Europe/Rome")),
}
if not PANDAS_2:
    MAPPED["texts of Python with nan"] = MAPPED["texts"].astype(pd.StringDtype("python", na_value=np.nan))


@pytest.mark.parametrize("verb", ["map", "apply"])
@pytest.mark.parametrize("returned", OBJECTS)
@pytest.mark.parametrize("s", MAPPED.values(), ids=MAPPED.keys())
def test_shape_of_a_map_to_several_kinds(s, returned, verb):
    returns = list(itertools.islice(itertools.cycle(OBJECTS[returned]), len(s)))
    following = iter(returns)
    assert_same_as_pandas(
        lambda: build_map(s, Returns([returns]), verb), lambda: getattr(s, verb)(lambda value: next(following))
    )


def test_texts_become_what_pandas_infers_by_now():
    for storage in ("python", "pyarrow", "python"):
        with pd.option_context("mode.string_storage", storage):
            for s, returns in itertools.product(
                (pd.Series(range(3)), pd.Series(["a", "b", "c"])), (["x", "y", "z"], ["x", None, "z"])
            ):
                following = iter(returns)
                assert_same_as_pandas(
                    lambda s=s, returns=returns: build_map(s, Returns([returns]), "map"),
                    lambda s=s, following=following: s.map(lambda _: next(following)),
                )


def test_the_nan_of_categories_is_told_from_other_nans():
    s = pd.Series(["a", None], dtype="category")
    same, other = DetectNan(lambda value: value), DetectNan(lambda value: float("nan"))
    assert build_map(s, Returns([[same("a"), same(np.nan)]]), "map", na_action=None).dtype == s.dtype
    assert build_map(s, Returns([["a", other(np.nan)]]), "map", na_action=None).dtype != s.dtype
    assert same(3) == 3


def _cut(df, size=1):
    plan = cut(0, len(df), size=size)
    return [df.iloc[chunk.start : chunk.stop] for chunk in plan], plan


@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize(
    "index",
    [
        pd.RangeIndex(3, name="r"),
        pd.RangeIndex(9, 3, -2),
        pd.date_range("2024-03-30", periods=3, tz="Europe/Berlin"),
        pd.period_range("2024-01", periods=3, freq="M"),
        pd.Index([1, "a", 2], dtype=object),
        pd.CategoricalIndex(["a", "b", "a"], categories=["b", "a"]),
        pd.MultiIndex.from_tuples([("a", 1), ("a", 1), ("b", 2)], names=["l", None]),
    ],
    ids=lambda index: type(index).__name__,
)
def test_pieces_with_their_rows_get_the_frames_own_labels(index, size):
    df = _frame().set_axis(index, axis=0)
    pieces, plan = _cut(df, size)
    assert_same(combined(pieces, "auto", df.index, plan), df)
    assert_same(combined([piece["b"] for piece in pieces], "concat", df.index, plan), df["b"])


def test_pieces_in_order_of_groups_are_put_back():
    df = _frame().set_axis(pd.RangeIndex(3), axis=0)
    order = np.array([1, 2, 0])
    plan = cut(0, 3, size=2)
    pieces = [df.iloc[order[:2]], df.iloc[order[2:]]]
    assert_same(combined(pieces, "auto", df.index, plan, order), df)
    assert_same(combined(pieces, "list", df.index, plan, order), pieces)


def test_pieces_with_other_rows_stay_in_order_of_the_chunks():
    df = _frame()
    pieces, plan = _cut(df)
    others = [piece.iloc[:0] if piece.index[0] == "y" else piece for piece in pieces]
    assert combined(others, "auto", df.index, plan).index.tolist() == ["x", "z"]
    renamed = [piece.rename(index=str.upper) for piece in pieces]
    assert combined(renamed, "auto", df.index, plan).index.tolist() == ["X", "Y", "Z"]


def test_objects_that_all_are_numbers_stay_objects_in_labels():
    df = _frame().set_axis(pd.Index([1, "a", 2], dtype=object), axis=0)
    pieces, plan = _cut(df)
    kept = [piece[[not isinstance(label, str) for label in piece.index]] for piece in pieces]
    assert_same(combined(kept, "auto", df.index, plan), df.iloc[[0, 2]])


@pytest.mark.parametrize("attrs", [{"a": 1}, {"a": np.array([1, 2]), "b": pd.DataFrame({"c": [1]})}])
def test_attrs_that_all_pieces_share_stay(attrs):
    df = _frame()
    df.attrs = attrs
    pieces, plan = _cut(df)
    result = combined(pieces, "auto", df.index, plan)
    assert_same(result.attrs, attrs)
    pieces[1] = pieces[1].copy()
    pieces[1].attrs = {"a": np.array([1, 3])}
    assert combined(pieces, "auto", df.index, plan).attrs == {}


def test_metadata_that_all_pieces_share_stays():
    df = Measured(_frame())
    df.unit = "metre"
    pieces, plan = _cut(df)
    assert combined(pieces, "auto", df.index, plan).unit == "metre"
    pieces[0].unit = "mile"
    assert getattr(combined(pieces, "auto", df.index, plan), "unit", None) is None


def test_kinds_of_missing_objects_stay():
    df = pd.DataFrame(
        {"a": pd.Series([None, "s", None], dtype=object), "b": pd.Series([pd.NaT, 1, None], dtype=object)}
    )
    pieces, plan = _cut(df)
    assert_same(combined(pieces, "auto", df.index, plan), df)


PLAN = cut(0, 2, size=1)
INDEX = pd.RangeIndex(2)


@pytest.mark.parametrize(
    ("pieces", "auto"),
    [
        ([1, 2], [1, 2]),
        ([None, None], [None, None]),
        ([[1], [2]], [[1], [2]]),
        ([np.array([1]), np.array([2])], np.array([1, 2])),
        ([np.ones((1, 2)), np.zeros((2, 2))], np.array([[1.0, 1.0], [0.0, 0.0], [0.0, 0.0]])),
        ([np.array(1), np.array(2)], [np.array(1), np.array(2)]),
        ([pd.Series([1]), None], [pd.Series([1]), None]),
        ([pd.Series([1]), np.array([1])], [pd.Series([1]), np.array([1])]),
        ([pd.Series([1]), pd.DataFrame({"a": [1]})], [pd.Series([1]), pd.DataFrame({"a": [1]})]),
        ([pd.Series([1]), pd.Series([2], index=[1])], pd.Series([1, 2])),
    ],
)
def test_auto(pieces, auto):
    assert_same(combined(pieces, "auto", INDEX, PLAN), auto)
    assert combined(pieces, "list", INDEX, PLAN) is pieces
    assert combined(pieces, lambda given: given is pieces, INDEX, PLAN) is True


def test_one_piece_is_the_result():
    for piece in (pd.Series([1]), pd.DataFrame({"a": [1]}), np.array([1])):
        assert combined([piece], "auto", INDEX, PLAN[:1]) is piece
    assert combined([5], "auto", INDEX, PLAN[:1]) == [5]


@pytest.mark.parametrize(
    "pieces", [[1, 2], [None], [np.array(1)], [pd.Series([1]), 5], [pd.Series([1]), np.array([1])]]
)
def test_concat_of_what_cannot_be_joined(pieces):
    with pytest.raises(InvalidOptionError, match="combine") as caught:
        combined(pieces, "concat", INDEX, PLAN[: len(pieces)])
    assert caught.value.pieces is pieces


def test_an_error_of_combine_keeps_the_results():
    pieces = [1, 2]
    with pytest.raises(ZeroDivisionError) as caught:
        combined(pieces, lambda given: 1 // 0, INDEX, PLAN)
    assert caught.value.pieces is pieces
    assert "the results of all 2 chunks could not be joined" in caught.value.__notes__[0]
    assert "the attribute 'pieces'" in caught.value.__notes__[0]


@pytest.mark.parametrize("make", [lambda: _frame(), lambda: _frame()["a"], lambda: _frame().to_numpy()])
def test_without_overlap(make):
    piece = make()
    assert_same(without_overlap(piece, Chunk(5, 6, before=1, after=1)), piece[1:2])
    assert_same(without_overlap(piece, Chunk(0, 3)), piece)
    assert_same(without_overlap(piece, Chunk(1, 3, before=1)), piece[1:])
    assert_same(without_overlap(piece, Chunk(0, 1, after=2)), piece[:1])


@pytest.mark.parametrize(
    ("piece", "got"), [(_frame()[:1], "1 row"), (np.zeros(2), "2 rows"), (7, "an object of type int"),
                      ([1, 2, 3], "an object of type list")],
)  # fmt: skip
def test_overlap_needs_a_row_for_each_row(piece, got):
    text = f"For the chunk of rows 1 to 1 it got 3 rows, 2 of them from neighbours, and returned {got}."
    with pytest.raises(ValueError, match=re.escape(text)):
        without_overlap(piece, Chunk(1, 2, before=1, after=1))
