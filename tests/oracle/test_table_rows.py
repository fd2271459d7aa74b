"""rows=: each kind hands out what the pandas idiom of its name does, and the result is shaped as by ``apply``."""

from __future__ import annotations

import pytest

from tests.oracle.frames import DTYPES, LABELS
from tests.oracle.functions import ROW_FUNCTIONS, OfRow
from tests.oracle.ways import assert_same_on_all, drawn, ways_for

KINDS = {
    "tuple": lambda df: df.itertuples(index=False, name=None),
    "namedtuple": lambda df: df.itertuples(),
    # to_dict("records") has the same values, but pandas 2.2 leaves np.nan where itertuples has it as pd.NA
    "dict": lambda df: (dict(zip(df.columns, row, strict=True)) for row in df.itertuples(index=False, name=None)),
    "array": lambda df: iter(df.to_numpy()),
}


def _serially(df, func, kind, **how):
    units = KINDS[kind](df)
    return df.apply(lambda _row: func(next(units)), axis=1, **how)


def _cases():
    for function in ROW_FUNCTIONS:
        for kind in KINDS:
            for frame in (*DTYPES, *LABELS):
                if drawn(1 if function == "looks at everything" else 9, function, kind, frame):
                    yield pytest.param(function, kind, frame, id=f"{function}-{kind}-{frame}")


@pytest.mark.parametrize(("function", "kind", "frame"), list(_cases()))
def test_rows(function, kind, frame):
    make = {**DTYPES, **LABELS}[frame]
    if kind == "dict" and not make().columns.is_unique:
        pytest.skip("a dict has no place for two columns of one label: the call says so, in tests of the accessor")
    func = OfRow(function)
    assert_same_on_all(
        make,
        lambda df: _serially(df, func, kind),
        lambda par: par.apply_rows(func, rows=kind),
        ways_for(function, kind, frame),
    )


@pytest.mark.parametrize("result_type", ["expand", "reduce"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("function", ROW_FUNCTIONS)
def test_result_type(function, kind, result_type):
    func = OfRow(function)
    assert_same_on_all(
        DTYPES["int, float, str"],
        lambda df: _serially(df, func, kind, result_type=result_type),
        lambda par: par.apply_rows(func, rows=kind, result_type=result_type),
    )


@pytest.mark.parametrize("kind", KINDS)
def test_arguments(kind):
    assert_same_on_all(
        DTYPES["int64"],
        lambda df: _serially(df, lambda row: (len(row), 3, "b"), kind),
        lambda par: par.apply_rows(lambda row, a, b: (len(row), a, b), args=(3,), b="b", rows=kind),
    )
