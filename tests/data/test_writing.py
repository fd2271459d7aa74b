"""Results can be written into as pandas' own can, and nothing written into them reaches the data of the call."""

import datetime
import decimal

import numpy as np
import pandas as pd
import pytest

import pdparallel  # noqa: F401

ENGINES = {
    "here": {},
    "serial": {"engine": "serial"},
    "thread": {"engine": "thread", "n_workers": 2, "chunk_size": 2},
    "process": {"engine": "process", "n_workers": 2, "chunk_size": 2},
}

TIMES = pd.date_range("2020-01-01", periods=6, freq="D")

COLUMNS = {
    "texts": pd.Series(list("abcdef")),
    "ints": pd.Series(range(6)),
    "floats": pd.Series(np.arange(6) * 0.5),
    "bools": pd.Series([True, False] * 3),
    "objects": pd.Series(["a", 1, 2.5, None, b"x", ()], dtype=object),
    "times": pd.Series(TIMES),
    "times with a zone": pd.Series(TIMES.tz_localize("UTC")),
    "spans": pd.Series(TIMES - TIMES[0]),
    "periods": pd.Series(pd.period_range("2020-01", periods=6, freq="M")),
    "categories": pd.Series(list("abcabc"), dtype="category"),
    "Int64": pd.Series([1, 2, None, 4, 5, 6], dtype="Int64"),
}

_TIME = pd.Timestamp("2020-01-02 03:04:05")


def _is_odd(value):
    return str(value)[-1] in "13579ace"


RETURNS = {
    "Timestamp": lambda value: _TIME,
    "Timestamp ns": lambda value: _TIME.as_unit("ns"),
    "Timestamp with a zone": lambda value: _TIME.tz_localize("Europe/Berlin"),
    "Timestamp or NaT": lambda value: _TIME if _is_odd(value) else pd.NaT,
    "Timestamp or None": lambda value: _TIME if _is_odd(value) else None,
    "Timedelta": lambda value: pd.Timedelta(1, "h"),
    "datetime": lambda value: datetime.datetime(2020, 1, 1),
    "Period": lambda value: pd.Period("2020-01", "M"),
    "Interval": lambda value: pd.Interval(0, 1),
    "text": lambda value: "a",
    "text or None": lambda value: "a" if _is_odd(value) else None,
    "bool": lambda value: True,
    "int": lambda value: 1,
    "int or None": lambda value: 1 if _is_odd(value) else None,
    "int or NA": lambda value: 1 if _is_odd(value) else pd.NA,
    "int8": lambda value: np.int8(1),
    "float": lambda value: 0.5,
    "float32": lambda value: np.float32(0.5),
    "Decimal": lambda value: decimal.Decimal(1),
    "the value itself": lambda value: value,
}


def _is_written(data, at):
    try:
        data.iloc[at] = data.iloc[(1, *at[1:])]
    except ValueError as error:
        return str(error)
    return True


def _written(call, data):
    """What becomes of a value that is written into each column of a result; the data must stay as they were."""
    given = data.copy()
    try:
        result = call(given)
    except Exception as error:
        return type(error)
    places = [(0,)] if result.ndim == 1 else [(0, at) for at in range(result.shape[1])]
    dtypes = [result.dtype] if result.ndim == 1 else list(result.dtypes)
    written = [_is_written(result, at) for at in places]
    assert given.equals(data)
    return dtypes, written


@pytest.mark.parametrize(
    ("column", "engine"),
    [(column, "here") for column in COLUMNS]
    + [(column, engine) for column in ("texts", "times") for engine in ("serial", "thread", "process")],
)
def test_what_functions_of_values_return_can_be_written_into(column, engine):
    s = COLUMNS[column]
    df, options = pd.DataFrame({"a": s, "b": s[::-1].to_numpy()}), ENGINES[engine]
    calls = {
        "map": (s, lambda s, f: s.map(f), lambda s, f: s.par(**options).map(f)),
        "apply": (s, lambda s, f: s.apply(f), lambda s, f: s.par(**options).apply(f)),
        "frame": (df, lambda df, f: df.map(f), lambda df, f: df.par(**options).map(f)),
    }
    for verb, (data, pandas, parallel) in calls.items():
        for name, func in RETURNS.items():
            want = _written(lambda data: pandas(data, func), data)
            got = _written(lambda data: parallel(data, func), data)
            assert got == want, (verb, name)


@pytest.mark.parametrize("engine", ["here", "process"])
@pytest.mark.parametrize("column", ["floats", "times with a zone"])
def test_what_functions_of_rows_and_groups_return_can_be_written_into(column, engine):
    s, options = COLUMNS[column], ENGINES[engine]
    df = pd.DataFrame({"key": [0, 0, 1, 1, 2, 2], "a": s})
    for name in (
        "Timestamp",
        "Timestamp with a zone",
        "Timestamp or NaT",
        "Timedelta",
        "text",
        "int",
        "float",
        "Period",
    ):
        func = RETURNS[name]
        calls = {
            "rows": (
                lambda x: x.apply(lambda row: func(row["a"]), axis=1),
                lambda x: x.apply_rows(lambda row: func(row["a"])),
            ),
            "two": (
                lambda x: x.apply(lambda row: (func(row["a"]), 1), axis=1, result_type="expand"),
                lambda x: x.apply_rows(lambda row: (func(row["a"]), 1), result_type="expand"),
            ),
            "columns": (lambda x: x.apply(lambda c: c.map(func)), lambda x: x.apply_cols(lambda c: c.map(func))),
            "apply": (lambda x: x.groupby("key")["a"].apply(lambda g: func(g.iloc[0])),) * 2,
            "agg": (lambda x: x.groupby("key")["a"].agg(lambda g: func(g.iloc[0])),) * 2,
            "transform": (lambda x: x.groupby("key")["a"].transform(lambda g: g.map(func)),) * 2,
        }  # fmt: skip
        for verb, (pandas, parallel) in calls.items():
            want = _written(pandas, df)
            got = _written(lambda data: parallel(data.par(**options)), df)
            assert got == want, (verb, name)
