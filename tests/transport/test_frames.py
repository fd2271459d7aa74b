"""Frames: a piece is what pandas would cut; the data arrive as they left, with the large parts out of the pickle."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from pdparallel.core.chunking import Chunk
from pdparallel.testing import assert_same
from pdparallel.transport.data import decode_data, encode_data, take
from pdparallel.transport.shared_classes import SharedTable


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
    assert caught.value.__notes__ == [f"pdparallel: {name} cannot be sent to another process. Use engine='thread'."]


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


def test_a_piece_is_a_view_where_nothing_can_be_written_through_it() -> None:
    frame = data()["numbers"]
    copy_on_write = int(pd.__version__.split(".")[0]) >= 3
    assert np.shares_memory(take(frame, "row", Chunk(2, 5)).to_numpy(), frame.to_numpy()) == copy_on_write


@pytest.mark.parametrize("engine", ["auto", "serial", "thread"])
def test_what_a_function_writes_does_not_reach_the_frame(engine: str) -> None:
    """Also where pandas before version 3 would let it through: a frame that is changed in part is nobody's wish."""
    df = pd.DataFrame({"a": [1.0, 2.0, 3.0], "b": [4.0, 5.0, 6.0]})
    before = df.copy()

    def writes(row: Any) -> float:
        row["a"] = 100.0
        return float(row["a"] + row["b"])

    def writes_to_chunk(chunk: pd.DataFrame) -> pd.DataFrame:
        chunk["a"] = 0.0
        chunk.loc[:, "b"] = -1.0
        return chunk

    of_one_row = df.par(engine=engine, chunk_size=1, n_workers=2)
    if int(pd.__version__.split(".")[0]) >= 3:  # which lets a function assign to the first row of such a frame only
        with pytest.raises(ValueError, match="read-only"):
            of_one_row.apply_rows(writes)
    else:
        assert of_one_row.apply_rows(writes).tolist() == [104.0, 105.0, 106.0]
    par = df.par(engine=engine, chunk_size=2, n_workers=2)
    assert par.apply_chunks(writes_to_chunk)["b"].tolist() == [-1.0] * 3
    pd.testing.assert_frame_equal(df, before)


@pytest.mark.parametrize("engine", ["serial", "process"])
def test_a_chunk_does_not_see_what_was_written_into_its_neighbour(engine: str) -> None:
    s = pd.Series(range(6), dtype="float64")

    def writes(chunk: pd.Series) -> pd.Series:
        out = chunk.rolling(2, min_periods=1).sum()
        chunk.iloc[:] = 1000.0
        return out

    got = s.par(engine=engine, n_workers=1, chunk_size=2).apply_chunks(writes, overlap=(1, 0))
    assert got.tolist() == [0.0, 1.0, 3.0, 5.0, 7.0, 9.0]


@pytest.mark.parametrize("engine", ["process", "pathos", "thread"])
def test_a_frame_of_a_class_that_only_this_process_has(engine: str) -> None:
    """The class travels with the frame; the function does not know it."""

    class Local(pd.DataFrame):
        @property
        def _constructor(self) -> Any:
            return Local

        def larger(self) -> Any:
            return super().max()

    got = Local({"a": [1, 2], "b": [3, 0]}).par(engine=engine, n_workers=2).apply_rows(lambda row: row["a"] + row["b"])
    assert got.tolist() == [4, 2]
