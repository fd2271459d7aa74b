"""Reductions: columns in Arrow travel without a copy and come back as they were, whatever they are a part of."""

from __future__ import annotations

import pandas as pd
import pytest

from pdparallel.testing import assert_same
from pdparallel.transport.shared_classes import SharedTable, dump, load

pa = pytest.importorskip("pyarrow")

VALUES = {
    "string[pyarrow]": ["a", None, "ccc"],
    "str": ["a", None, "ccc"],
    "int64[pyarrow]": [1, None, 3],
    "timestamp[us, tz=UTC][pyarrow]": [pd.Timestamp("2020-01-01", tz="UTC")] * 3,
}
DTYPES = [*VALUES, pd.ArrowDtype(pa.list_(pa.int64())), pd.ArrowDtype(pa.dictionary(pa.int32(), pa.string()))]


def series(dtype: object, repeats: int = 1_000) -> pd.Series:
    values = VALUES.get(str(dtype), ["a", "b", None])
    if "list" in str(dtype):
        values = [[1], None, [2, 3]]
    return pd.Series(values * repeats, dtype=dtype)


def there_and_back(data: object) -> tuple[object, int, int]:
    """The data, its bytes in all, and the bytes that Arrow took meanwhile."""
    table, buffers = SharedTable(), []
    before = pa.total_allocated_bytes()
    pickled = dump(data, table, buffer_callback=lambda buffer: buffers.append(buffer.raw()))
    taken = pa.total_allocated_bytes() - before
    return load(pickled, table, buffers), len(pickled) + sum(map(len, buffers)), taken


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("part", ["all", "none", "few", "most", "of two", "twice"])
def test_a_column_comes_back_as_it_was(dtype, part):
    s = series(dtype)
    if part == "all":
        s = s.copy()
    elif part in ("of two", "twice"):
        s = pd.concat([s, s if part == "twice" else s.iloc[3:99]])
    else:
        s = s.iloc[{"none": slice(0), "few": slice(10, 20), "most": slice(5, None)}[part]]
    back, _, _ = there_and_back(s)
    assert_same(back, s)
    assert type(back.array) is type(s.array)


@pytest.mark.parametrize("dtype", ["string[pyarrow]", "int64[pyarrow]"])
def test_a_whole_column_is_not_copied(dtype):
    assert there_and_back(series(dtype))[2] == 0


@pytest.mark.parametrize("dtype", ["string[pyarrow]", "int64[pyarrow]"])
def test_a_small_part_of_a_column_travels_without_the_rest(dtype):
    s = series(dtype)
    _, size, _ = there_and_back(s.iloc[10:20])
    assert size < there_and_back(s)[1] / 5
