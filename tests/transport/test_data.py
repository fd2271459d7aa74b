"""Data that were split for transport come together as the part that pandas would cut."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

import pdparallel
from pdparallel.core.chunking import Chunk
from pdparallel.execution import encode
from pdparallel.testing import assert_same
from pdparallel.transport.data import MAX_COLUMNS, SplitData, decode_data, encode_data, loaded, take
from pdparallel.transport.shared_classes import SharedTable
from pdparallel.transport.task import Locality
from pdparallel.typing import UnitFormat
from tests.transport.test_frames import Sub, data

CHUNKS = [Chunk(0, 7), Chunk(3, 4), Chunk(5, 9, before=2, after=3), Chunk(990, 1000), Chunk(0, 1000)]


def frames() -> dict[str, Any]:
    mixed = data()["mixed"].astype({"object": object})
    objects = pd.DataFrame({"a": [1, "x", None, 2.5] * 5, "b": [[i] for i in range(20)]}, dtype=object)
    two = mixed[["object", "int"]].iloc[:20]
    return {
        "some objects": mixed,
        "objects first": mixed[["object", "int", "text"]],
        "only objects": objects,
        "labels that repeat": pd.concat([two, two], axis=1),
        "labels of two levels": two.set_axis(pd.MultiIndex.from_tuples([("p", 1), ("q", 2)], names=["u", "v"]), axis=1),
        "labels of dates": two.set_axis(pd.date_range("2024", periods=2, name="day"), axis=1),
        "labels of categories": two.set_axis(pd.CategoricalIndex(["u", "v"]), axis=1),
        "a range of labels": two.set_axis(pd.RangeIndex(2, name="r"), axis=1),
        "texts as objects": pd.DataFrame({"a": pd.Series(["x", "y"] * 5, dtype=object), "b": range(10)}),
        "times as objects": pd.DataFrame({"a": pd.Series([pd.Timestamp("2024")] * 9, dtype=object), "b": range(9)}),
        "missing as objects": pd.DataFrame({"a": pd.Series([None, np.nan, pd.NaT] * 3, dtype=object), "b": 1}),
        "rows that repeat": two.set_axis(pd.Index(["r"] * 20), axis=0),
        "no objects": mixed[["int", "float"]],
        "a subclass": Sub(two),
        "no label twice": two.reset_index(drop=True).set_flags(allows_duplicate_labels=False),
        "too many": pd.DataFrame({at: pd.Series([at] * 10, dtype=object) for at in range(MAX_COLUMNS + 1)}),
        "a Series of objects": mixed["object"],
        "a Series of numbers": mixed["int"],
        "a list": list(range(40)),
        "an array of objects": objects.to_numpy(),
        "an array": np.arange(40.0).reshape(20, 2),
    }


@pytest.mark.part(2)
@pytest.mark.parametrize("chunk", CHUNKS)
@pytest.mark.parametrize("name", frames())
def test_a_piece_of_rows_comes_together(name: str, chunk: Chunk) -> None:
    whole = frames()[name]
    unit_format: UnitFormat = "chunk"
    table = SharedTable()
    split_data = loaded(whole, unit_format)
    beside = split_data.beside(whole, unit_format, chunk)
    arrived: SplitData = decode_data(encode_data(split_data, table), table)
    if beside is not None:
        beside = decode_data(encode_data(beside, table), table)
    piece, expected = arrived.piece(beside, unit_format, chunk), take(whole, unit_format, chunk)
    if isinstance(expected, list):
        assert piece == expected
    else:
        assert_same(piece, expected)
        if not isinstance(expected, np.ndarray):
            assert_same(piece.index, expected.index)


def test_columns_of_a_frame_with_objects_go_by_chunk() -> None:
    mixed = data()["mixed"].astype({"object": object})
    split_data = loaded(mixed, "column")
    assert split_data.whole is None
    assert_same(
        split_data.piece(split_data.beside(mixed, "column", Chunk(1, 5)), "column", Chunk(1, 5)), mixed.iloc[:, 1:5]
    )


def test_a_chunk_brings_only_its_own_objects() -> None:
    sizes = []
    for n in (1_000, 100_000):
        call = _call(pd.DataFrame({"a": range(n), "o": pd.Series([f"text {at}" for at in range(n)], dtype=object)}))
        made = encode.pack(call, Locality.HOST, "dill")
        sizes.append(len(made.task(Chunk(10, 20))))
        made.close()
    assert sizes[1] < sizes[0] + 100


def _call(frame: pd.DataFrame) -> Any:
    from pdparallel.core.call import Call, Work

    return Call("apply_rows", Work(len, (), {}, "row"), frame, len(frame), "row", frame.index.__getitem__)


class Mine:
    """A class that travels by name here."""

    def __init__(self, value: int) -> None:
        self.value = value


def test_classes_that_only_a_later_chunk_brings() -> None:
    namespace: dict[str, Any] = {"__name__": "__main__"}
    exec("class One:\n    value = 1\nclass Two:\n    value = 2", namespace)
    items = [namespace["One"]()] * 10 + [namespace["Two"]()] * 10 + [Mine(3)] * 10
    got = pdparallel.map(lambda item: (item.value, item), items, engine="process", n_workers=2, chunk_size=5)
    assert [value for value, _ in got] == [1] * 10 + [2] * 10 + [3] * 10
    assert [type(item) for _, item in got] == [type(item) for item in items]


def test_what_cannot_travel_is_named_by_its_place() -> None:
    items = [*range(30), (x for x in "a")]
    with pytest.raises(Exception, match="generator") as caught:
        pdparallel.map(lambda item: 1, items, engine="process", n_workers=2, chunk_size=4)
    assert caught.value.__notes__ == [
        "pdparallel: the item at position 30 cannot be sent to another process. Use engine='thread'."
    ]
    frame = pd.DataFrame({"a": range(31), "o": pd.Series(items, dtype=object)})
    with pytest.raises(Exception, match="generator") as caught:
        frame.par(engine="process", n_workers=2, chunk_size=4).apply_rows(lambda row: 1)
    assert caught.value.__notes__ == ["pdparallel: column 'o' cannot be sent to another process. Use engine='thread'."]
    assert pdparallel.map(abs, [-1, 2], engine="process", n_workers=2) == [1, 2]
