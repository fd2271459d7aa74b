"""``agg`` of narrow columns: pandas 3 keeps the dtype of a column if no value changes by that, pandas 2 does not."""

import warnings

import numpy as np
import pandas as pd
import pytest

import pdparallel  # noqa: F401
from pdparallel.testing import assert_same

ENGINES = {
    "here": {},
    "serial": {"engine": "serial"},
    "process": {"engine": "process", "n_workers": 2, "chunk_size": 1},
}

DTYPES = (
    "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float16", "float32", "float64", "bool",
    "Int8", "Int64", "UInt8", "Float32", "boolean", "complex64",
)  # fmt: skip

FUNCTIONS = {
    "float": lambda c: float(c.sum()),
    "half": lambda c: float(c.sum()) / 2,
    "tenth": lambda c: 0.1,
    "nearly one": lambda c: 1 + 1e-9,
    "huge float": lambda c: 1e300,
    "nan": lambda c: np.nan,
    "float or nan": lambda c: 0.5 if len(c) > 1 else np.nan,
    "int": lambda c: int(c.sum()),
    "negative": lambda c: -1,
    "big int": lambda c: 300 if len(c) > 1 else 1,
    "huge int": lambda c: 2**62 + 1,
    "int or None": lambda c: 1 if len(c) > 1 else None,
    "int or float": lambda c: 1 if len(c) > 1 else 0.5,
    "np.int64": lambda c: np.int64(c.sum()),
    "np.float64": lambda c: np.float64(0.5),
    "np.int8": lambda c: np.int8(1),
    "bool": lambda c: bool(c.iloc[0]),
    "text": lambda c: "a",
    "first": lambda c: c.iloc[0] if len(c) else np.nan,
    "sum": lambda c: c.sum(),
    "mean": lambda c: c.mean(),
}

WAYS = {
    "column": lambda x, f: x.groupby("k")["c"].agg(f),
    "columns": lambda x, f: x.groupby("k")[["c", "d"]].agg(f),
    "frame": lambda x, f: x.groupby("k")[["c"]].agg(f),
    "no index": lambda x, f: x.groupby("k", as_index=False)["c"].agg(f),
    "dict": lambda x, f: x.groupby("k").agg({"c": f}),
    "list": lambda x, f: x.groupby("k")["c"].agg([f]),
    "named": lambda x, f: x.groupby("k").agg(p=("c", f)),
    "apply": lambda x, f: x.groupby("k")["c"].apply(f),
    "resample": lambda x, f: x.resample("2D")[["c"]].apply(f),
    "resample, column": lambda x, f: x.resample("2D")["c"].agg(f),
}


def _answer(call):
    try:
        return call()
    except Exception as error:
        return type(error)


@pytest.mark.part(3)
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_dtype_of_what_agg_gives_is_that_of_pandas(dtype, engine):
    df = pd.DataFrame(
        {"k": [0, 0, 1, 2], "c": pd.Series([1, 0, 1, 1]).astype(dtype), "d": [1.0, 2.0, 3.0, 4.0]},
    )
    df.index = pd.date_range("2026-01-01", periods=4, freq="D")
    ways = WAYS if engine == "here" else {way: WAYS[way] for way in ("column", "columns", "resample, column")}
    names = FUNCTIONS if engine != "process" else ("float", "tenth", "int", "big int", "bool", "sum")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for way, call in ways.items():
            for name in names:
                want = _answer(lambda: call(df, FUNCTIONS[name]))
                got = _answer(lambda: call(df.par(**ENGINES[engine]), FUNCTIONS[name]))
                if isinstance(want, type):
                    assert got is want, (way, name)
                else:
                    assert_same(got, want)
