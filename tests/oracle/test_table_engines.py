"""The same answer from real worker processes, and from auto: a telling part of the tables."""

from __future__ import annotations

import pytest

from pdparallel.testing import assert_same_as_pandas
from tests.oracle.frames import FRAMES, NUMBERED, VALUES
from tests.oracle.functions import RETURNS, UNIT_FUNCTIONS, VALUE_FUNCTIONS

ENGINES = ("auto", "process")


def _par(obj, engine):
    return obj.par(engine=engine, n_workers=2, chunk_size=2)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize(
    "returns",
    [
        "int then None", "Timestamp then NaN", "list then scalar", "Series then scalar", "lists, ragged", "the unit",
        "Series of other labels", "Series upon moving times", "dict", "NA", "raises at the sixth",
        "raises an error of one's own",
    ],
)  # fmt: skip
def test_returns(returns, axis, engine):
    value = RETURNS[returns]
    func = lambda unit: value(int(unit.iloc[0]), unit)
    assert_same_as_pandas(
        lambda: _par(NUMBERED["repeating"](axis), engine).apply(func, axis=axis),
        lambda: NUMBERED["repeating"](axis).apply(func, axis=axis),
    )


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("frame", FRAMES)
def test_frames(frame, engine):
    func = UNIT_FUNCTIONS["looks at everything"]
    assert_same_as_pandas(
        lambda: _par(FRAMES[frame](), engine).apply_rows(func), lambda: FRAMES[frame]().apply(func, axis=1)
    )


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("function", ["looks at everything", "a Series", "raises for some"])
@pytest.mark.parametrize(
    "dtype", ["int64", "str", "object", "category", "Int64", "Sparse[int64, 0]", "datetime64[ns, tz]"]
)
def test_map(dtype, function, engine):
    func = VALUE_FUNCTIONS[function]
    assert_same_as_pandas(lambda: _par(VALUES[dtype](), engine).map(func), lambda: VALUES[dtype]().map(func))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("frame", ["plain", "everything", "a subclass", "aware times with a freq"])
def test_chunks(frame, engine):
    func = lambda chunk: chunk.assign(total=chunk.isna().sum(axis=1))
    assert_same_as_pandas(lambda: _par(FRAMES[frame](), engine).apply_chunks(func), lambda: func(FRAMES[frame]()))
