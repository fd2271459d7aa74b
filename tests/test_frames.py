"""Frames: a piece is what pandas would cut; the data arrive as they left, with the large parts out of the pickle."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from pdparallel.plan import Chunk
from pdparallel.testing import assert_same
from pdparallel.transport.frames import decode_data, encode_data, take
from pdparallel.transport.objects import SharedTable


class Sub(pd.DataFrame):
    """A subclass with metadata."""

    _metadata = ["origin"]

    @property
    def _constructor(self) -> Any:
        return Sub


def data() -> dict[str, Any]:
    n = 1000
    numbers = pd.DataFrame(np.arange(3.0 * n).reshape(n, 3), columns=list("abc"))
    mixed = pd.DataFrame(
        {
            "int": np.arange(n),
            "float": np.arange(n) / 3,
            "bool": np.arange(n) % 2 == 0,
            "text": [f"text {i}" for i in range(n)],
            "object": [i if i % 2 else None for i in range(n)],
            "category": pd.Categorical([f"c{i % 5}" for i in range(n)]),
            "time": pd.date_range("2020", periods=n, freq="min"),
            "zoned": pd.date_range("2020", periods=n, freq="min", tz="Europe/Berlin"),
            "nullable": pd.array([i if i % 3 else None for i in range(n)], dtype="Int64"),
            "sparse": pd.arrays.SparseArray([0, 1] * (n // 2)),
            "period": pd.period_range("2020", periods=n, freq="D"),
            "interval": pd.interval_range(0, n),
        },
        index=pd.MultiIndex.from_product([range(n // 2), ["x", "y"]], names=["one", "two"]),
    )
    mixed.attrs["source"] = {"name": "made"}
    sub = Sub({"a": [1, 2]})
    sub.origin = "here"  # type: ignore[attr-defined]
    return {
        "numbers": numbers,
        "mixed": mixed,
        "empty": numbers.iloc[:0],
        "no columns": numbers[[]],
        "duplicate columns": numbers.set_axis(["a", "a", "b"], axis=1),
        "subclass": sub,
        "Series": mixed["text"],
        "Series with attrs": mixed["int"].rename(("a", 1)),
        "array": np.arange(12).reshape(3, 4),
        "fortran array": np.asfortranarray(np.arange(12.0).reshape(3, 4)),
        "list": [1, "a", None, [2]],
        "strided": numbers.iloc[::-2, ::2],
    }


@pytest.mark.parametrize("name", data())
def test_data_arrive_as_they_left(name: str) -> None:
    original, table = data()[name], SharedTable()
    assert_same(decode_data(encode_data(original, table), table), original)


def test_large_parts_stay_out_of_the_pickle() -> None:
    first, *buffers = encode_data(data()["numbers"], SharedTable())
    assert len(first) < 2000
    assert sum(len(buffer) for buffer in buffers) >= 3 * 8 * 1000


def test_large_parts_are_not_copied() -> None:
    values = np.arange(3000.0).reshape(1000, 3)
    frame = pd.DataFrame(values, copy=False)
    _, *buffers = encode_data(frame, SharedTable())
    assert any(np.shares_memory(np.frombuffer(buffer, dtype=np.uint8), values) for buffer in buffers)


def test_read_only_arrays_give_read_only_buffers() -> None:
    values = np.arange(10.0)
    _, buffer = encode_data(values, SharedTable())
    assert not buffer.readonly
    values.flags.writeable = False
    _, buffer = encode_data(values, SharedTable())
    assert buffer.readonly


def test_objects_of_the_main_script_go_by_the_table() -> None:
    made, copy = type("Thing", (), {}), type("Thing", (), {})
    frame = pd.DataFrame({"thing": [made(), made()]})
    table = SharedTable()
    parts = encode_data(frame, table)
    assert table.objects == [made]
    arrived = decode_data(parts, SharedTable([copy]))
    assert isinstance(arrived, pd.DataFrame)
    assert [type(thing) for thing in arrived["thing"]] == [copy, copy]


@pytest.mark.parametrize(
    ("bad", "name"),
    [
        (lambda item: pd.DataFrame({"fine": [1, 2], "bad": [1, item]}), "column 'bad'"),
        (lambda item: [1, 2, item], "the item at position 2"),
        (lambda item: pd.Series([1, item]), "the data"),
    ],
)
def test_data_that_cannot_travel_are_named(bad: Any, name: str) -> None:
    with pytest.raises(TypeError, match="generator") as caught:
        encode_data(bad(x for x in [1]), SharedTable())
    assert caught.value.__notes__ == [f"pdparallel: {name} cannot travel to another process; use engine='thread'"]


# Pieces


def test_a_piece_of_rows() -> None:
    frame = data()["mixed"]
    assert_same(take(frame, "row", Chunk(2, 5)), frame.iloc[2:5])
    assert_same(take(frame["text"], "value", Chunk(2, 5)), frame["text"].iloc[2:5])
    assert_same(take(frame, "chunk", Chunk(2, 5, 1, 2)), frame.iloc[1:7])


def test_a_piece_of_columns() -> None:
    frame = data()["mixed"]
    assert_same(take(frame, "column", Chunk(2, 5)), frame.iloc[:, 2:5])
    values = np.arange(12).reshape(3, 4)
    assert take(values, "column-array", Chunk(1, 3)).tolist() == [[1, 2], [5, 6], [9, 10]]


def test_a_piece_of_an_array_and_of_a_list() -> None:
    values = np.arange(12).reshape(3, 4)
    assert take(values, "row-array", Chunk(1, 3)).tolist() == values[1:3].tolist()
    assert take([1, 2, 3], "item", Chunk(1, 3)) == [2, 3]


def test_a_piece_of_one_dtype_is_a_view() -> None:
    frame = data()["numbers"]
    assert np.shares_memory(take(frame, "row", Chunk(2, 5)).to_numpy(), frame.to_numpy())
