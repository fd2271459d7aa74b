"""Stacking: what it makes of pieces is what pandas and NumPy make of them, and the pieces become views of it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import pdparallel
from pdparallel.operations import concat
from pdparallel.operations.concat import stack
from pdparallel.testing import assert_same
from tests.oracle.frames import FRAMES


@pytest.fixture(autouse=True)
def _all_is_big(monkeypatch):
    monkeypatch.setattr(concat, "MIN_BYTES", 0)


def mixed(n=9):
    return pd.DataFrame(
        {
            "float": np.arange(n) / 2,
            "int": range(n),
            "text": pd.array([f"t{at}" for at in range(n)], dtype="string"),
            "other": np.arange(n) * 2.5,
            "bool": [at % 2 == 0 for at in range(n)],
            "time": pd.date_range("2024-01-01", periods=n),
            "zone": pd.date_range("2024-01-01", periods=n, tz="Europe/Rome"),
            "nullable": pd.array([1, None, 3] * (n // 3), dtype="Int64"),
        }
    )


FITTING = {
    "floats": lambda: pd.DataFrame(np.arange(27.0).reshape(9, 3), columns=list("abc")),
    "floats, small": lambda: pd.DataFrame(np.arange(27, dtype=np.float32).reshape(9, 3)),
    "complex": lambda: pd.DataFrame({"a": np.arange(9) * 1j}),
    "mixed": mixed,
    "labels that repeat": lambda: mixed().set_axis(list("aabbccdd"), axis=1),
    "labels of two levels": lambda: pd.DataFrame(
        np.ones((9, 2)), columns=pd.MultiIndex.from_tuples([("a", 1), ("b", 2)], names=["x", None])
    ),
    "rows by text": lambda: mixed().set_index("text"),
    "rows by time": lambda: mixed().set_index("time"),
    "rows of two levels": lambda: mixed().set_index(["text", "int"]),
    "with attrs": lambda: _with_attrs(mixed()),
    "Series": lambda: pd.Series(np.arange(9.0), name="s"),
    "Series without a name": lambda: pd.Series(np.arange(9)),
    "Series of times": lambda: pd.Series(pd.date_range("2024-01-01", periods=9), index=list("abcdefghi")),
}


def _with_attrs(df):
    df.attrs = {"unit": "km"}
    return df


@pytest.mark.parametrize("make", FITTING.values(), ids=FITTING)
@pytest.mark.parametrize("size", [1, 2, 4, 9, 100])
def test_as_concat(make, size):
    whole = make()
    pieces = [whole.iloc[start : start + size] for start in range(0, 9, size)]
    before = [piece.copy() for piece in pieces]
    expected = pd.concat(before)
    stacked = stack(pieces)
    assert stacked is not None
    stacked.attrs = expected.attrs  # who asks for the whole decides on them
    assert_same(stacked, expected)
    for piece, was in zip(pieces, before, strict=True):
        assert_same(piece, was)


@pytest.mark.parametrize("size", [1, 2, 4, 9])
@pytest.mark.parametrize("shape", [(9,), (9, 2), (9, 2, 2)])
def test_as_concatenate(size, shape):
    whole = np.arange(np.prod(shape)).reshape(shape)
    pieces = [whole[start : start + size] for start in range(0, 9, size)]
    stacked = stack(pieces)
    np.testing.assert_array_equal(stacked, whole)
    assert all(np.shares_memory(piece, stacked) for piece in pieces)


def test_the_pieces_are_views_of_the_whole():
    df = FITTING["floats"]()
    pieces = [df.iloc[:4], df.iloc[4:]]
    stacked = stack(pieces)
    assert all(np.shares_memory(piece.to_numpy(), stacked.to_numpy()) for piece in pieces)
    assert not np.shares_memory(stacked.to_numpy(), df.to_numpy())


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (pd.DataFrame({"a": [1]}), pd.DataFrame({"a": [1.5]})),
        (pd.DataFrame({"a": [1]}), pd.DataFrame({"b": [1]})),
        (pd.DataFrame({"a": [1], "b": [2]}), pd.DataFrame({"b": [1], "a": [2]})),
        (pd.DataFrame({"a": [1]}), pd.Series([1], name="a")),
        (pd.DataFrame({"a": ["x"]}, dtype=object), pd.DataFrame({"a": ["y"]}, dtype=object)),
        (pd.DataFrame({"a": pd.array([1], "Int64")}), pd.DataFrame({"a": pd.array([1], "Int64")})),
        (pd.Series([1]), pd.Series([1.5])),
        (np.array([1]), np.array([1.5])),
        (np.ones((1, 2)), np.ones((1, 3))),
        (np.array(["x"], dtype=object), np.array(["x"], dtype=object)),
        (np.ma.array([1]), np.ma.array([1])),
        (pd.DataFrame(np.ones((1, 70))).assign(more=1),) * 2,
    ],
)
def test_what_does_not_fit_is_left_alone(one, other):
    pieces = [one, other]
    assert stack(pieces) is None
    assert pieces[0] is one
    assert pieces[1] is other


def test_small_pieces_are_left_alone(monkeypatch):
    monkeypatch.setattr(concat, "MIN_BYTES", 80)
    assert stack([np.arange(10), np.arange(9)]) is None
    assert stack([np.arange(10), np.arange(10)]) is not None


@pytest.mark.part(2)
@pytest.mark.parametrize("frame", FRAMES)
@pytest.mark.parametrize("function", [lambda chunk: chunk, lambda chunk: chunk.isna(), lambda chunk: chunk.iloc[:, 0]])
def test_apply_chunks_upon_all_kinds_of_frames(frame, function):
    df = FRAMES[frame]()
    if df.shape[1] == 0 and df.columns.size == 0:
        function = lambda chunk: chunk
    assert_same(df.par(engine="serial", chunk_size=2).apply_chunks(function), function(df))


def test_an_error_after_stacking_still_has_the_pieces(monkeypatch):
    def refuse(*args, **kwargs):
        raise MemoryError

    df = FITTING["floats"]()
    monkeypatch.setattr(pdparallel.operations.concat, "_in_row_order", lambda pieces, *_: [stack(pieces), refuse()])
    with pytest.raises(MemoryError) as caught:
        df.par(engine="serial", chunk_size=4).apply_chunks(lambda chunk: chunk * 2)
    assert_same(pd.concat(caught.value.pieces), df * 2)
