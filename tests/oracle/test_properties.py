"""Any frame, any function of a pool, any cut: the answer is that of pandas, or the error is.

The tables hold the cases that somebody thought of; here hypothesis thinks of the frames.
"""

from __future__ import annotations

import math
import os
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import pdparallel  # noqa: F401 - registers the accessors
from pdparallel.transport.parcel import Reach
from tests.oracle.ways import Way, assert_same_on_all

EXAMPLES = settings(
    max_examples=int(os.environ.get("ORACLE_EXAMPLES", "150")),
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)

ZONE = "Europe/Berlin"

SCALARS: dict[str, st.SearchStrategy[Any]] = {
    "float": st.one_of(st.floats(width=32), st.just(math.nan), st.sampled_from([0.0, -0.0, 1.5])),
    "int": st.integers(-(2**40), 2**40),
    "bool": st.booleans(),
    "text": st.one_of(st.text("abé ", max_size=4), st.none()),
    "object": st.one_of(st.none(), st.integers(-3, 3), st.text("ab", max_size=2), st.tuples(st.integers(0, 2))),
    "time": st.one_of(st.integers(0, 10**9).map(lambda s: pd.Timestamp(s, unit="s")), st.just(pd.NaT)),
}

DTYPES: dict[str, tuple[str, Any]] = {
    "float64": ("float", "float64"),
    "float32": ("float", "float32"),
    "int64": ("int", "int64"),
    "int16": ("bool", "int16"),
    "bool": ("bool", "bool"),
    "str": ("text", "str"),
    "string": ("text", "string"),
    "object": ("object", "object"),
    "category": ("text", "category"),
    "datetime64": ("time", "datetime64[ns]"),
    "tz": ("time", f"datetime64[ns, {ZONE}]"),
    "Int64": ("int", "Int64"),
    "boolean": ("bool", "boolean"),
}


@st.composite
def columns_of(draw: st.DrawFn, n: int, kinds: tuple[str, ...] = tuple(DTYPES)) -> pd.Series:
    name = draw(st.sampled_from(kinds))
    kind, dtype = DTYPES[name]
    values = draw(st.lists(SCALARS[kind], min_size=n, max_size=n))
    if name in ("Int64", "boolean"):
        values = [pd.NA if draw(st.booleans()) and draw(st.booleans()) else value for value in values]
    if name == "tz":
        return pd.Series(values, dtype="datetime64[ns]").dt.tz_localize("UTC").dt.tz_convert(ZONE)
    if name == "str" and int(pd.__version__.split(".")[0]) < 3:
        dtype = "object"
    return pd.Series(values, dtype=dtype)


@st.composite
def indexes(draw: st.DrawFn, n: int) -> pd.Index:
    kind = draw(st.sampled_from(["range", "texts", "repeated", "dates", "multi", "floats"]))
    if kind == "texts":
        return pd.Index([f"r{i}" for i in range(n)], name="label")
    if kind == "repeated":
        return pd.Index([i // 2 for i in range(n)])
    if kind == "dates":
        return pd.date_range("2024-03-30", periods=n, freq="h", tz=draw(st.sampled_from([None, ZONE])))
    if kind == "multi":
        return pd.MultiIndex.from_arrays([list("xyxyxyxyxyxyx"[:n]), list(range(n))], names=["a", None])
    if kind == "floats":
        return pd.Index([i + 0.5 for i in range(n)], dtype="float64")
    return pd.RangeIndex(3, 3 + n)


@st.composite
def frames(draw: st.DrawFn) -> pd.DataFrame:
    n, k = draw(st.integers(0, 9)), draw(st.integers(0, 4))
    kinds = tuple(DTYPES) if draw(st.booleans()) else (draw(st.sampled_from(tuple(DTYPES))),)
    columns = [draw(columns_of(n, kinds)) for _ in range(k)]
    frame = pd.concat(columns, axis=1) if columns else pd.DataFrame(index=range(n))
    labels = draw(st.sampled_from(["texts", "numbers", "repeated", "multi"]))
    if labels == "multi" and k:
        frame.columns = pd.MultiIndex.from_arrays([["u", "v", "u", "v"][:k], list(range(k))])
    else:
        frame.columns = {"texts": list("abcd"), "numbers": [0, 1, 5, 7]}.get(labels, ["a", "a", "b", "b"])[:k]
    frame.index = draw(indexes(n))
    if draw(st.booleans()):
        frame.attrs = {"source": "made up"}
    return frame


def first(unit: Any) -> Any:
    return unit.iloc[0] if hasattr(unit, "iloc") else unit[0]


def missing_or(unit: Any, value: Any) -> Any:
    return value if bool(pd.isna(first(unit))) else first(unit)


FUNCTIONS: dict[str, Any] = {
    "first": first,
    "itself": lambda unit: unit,
    "length": len,
    "None": lambda unit: None,
    "values as a list": list,
    "a tuple": lambda unit: (first(unit), len(unit)),
    "a dict": lambda unit: {"first": first(unit), "n": len(unit)},
    "text or number": lambda unit: str(first(unit)) if pd.isna(first(unit)) else len(str(first(unit))),
    "first or None": lambda unit: missing_or(unit, None),
    "a Series": lambda unit: pd.Series({"n": len(unit), "first": first(unit)}),
    "ragged": lambda unit: [1] * (len(str(first(unit))) % 3),
    "an array": lambda unit: np.arange(len(unit)) * 1.5,
    "a Series or its length": lambda unit: unit if pd.isna(first(unit)) else len(unit),
    "fails on missing": lambda unit: 1 if not pd.isna(first(unit)) else 1 // 0,
    "reversed": lambda unit: unit[::-1],
    "name": lambda unit: getattr(unit, "name", 0),
    "by label": lambda unit: unit["a"],
    "by attribute": lambda unit: unit.a,
    "in, len and iteration": lambda unit: ("a" in unit, len(unit), *unit),
    "types": lambda unit: [type(value).__name__ for value in unit],
    "sum": lambda unit: unit.sum(),
}

WAYS = st.builds(
    Way,
    chunk_size=st.one_of(st.none(), st.integers(1, 10)),
    reach=st.sampled_from([Reach.HOST, Reach.ANYWHERE, Reach.PROCESS]),
    takes_over=st.booleans(),
)


@EXAMPLES
@given(
    df=frames(),
    name=st.sampled_from(sorted(FUNCTIONS)),
    axis=st.sampled_from([0, 1]),
    raw=st.booleans(),
    result_type=st.sampled_from([None, None, "expand", "reduce", "broadcast"]),
    way=WAYS,
)
def test_apply(df: pd.DataFrame, name: str, axis: int, raw: bool, result_type: Any, way: Way) -> None:
    func = FUNCTIONS[name]
    assert_same_on_all(
        df.copy,
        lambda frame: frame.apply(func, axis=axis, raw=raw, result_type=result_type),
        lambda par: par.apply(func, axis=axis, raw=raw, result_type=result_type),
        (way,),
    )


VALUE_FUNCTIONS: dict[str, Any] = {
    "itself": lambda value: value,
    "text": str,
    "type": lambda value: type(value).__name__,
    "missing to None": lambda value: None if pd.isna(value) is True else value,
    "length of its text": lambda value: len(str(value)),
    "a tuple": lambda value: (value, 1),
    "a Series": lambda value: pd.Series({"v": value, "n": 1}),
    "fails on missing": lambda value: 1 // 0 if pd.isna(value) is True else 1,
    "some of each": lambda value: [value] if len(str(value)) % 2 else None,
}


@EXAMPLES
@given(
    data=st.data(),
    n=st.integers(0, 9),
    name=st.sampled_from(sorted(VALUE_FUNCTIONS)),
    verb=st.sampled_from(["map", "map ignore", "apply"]),
    way=WAYS,
)
def test_values(data: st.DataObject, n: int, name: str, verb: str, way: Way) -> None:
    s = data.draw(columns_of(n))
    s.index = data.draw(indexes(n))
    s.name = data.draw(st.sampled_from([None, "s", 3]))
    func = VALUE_FUNCTIONS[name]
    if verb == "apply":
        assert_same_on_all(s.copy, lambda series: series.apply(func), lambda par: par.apply(func), (way,))
    else:
        action = "ignore" if verb.endswith("ignore") else None
        assert_same_on_all(
            s.copy,
            lambda series: series.map(func, na_action=action),
            lambda par: par.map(func, na_action=action),
            (way,),
        )


@EXAMPLES
@given(
    df=frames(),
    sizes=st.integers(1, 10),
    before=st.integers(0, 4),
    after=st.integers(0, 4),
    reach=st.sampled_from(Reach),
)
def test_chunks_put_the_frame_together_again(
    df: pd.DataFrame, sizes: int, before: int, after: int, reach: Reach
) -> None:
    if len(df) == 0:
        return
    ways = (Way(sizes, reach),)
    assert_same_on_all(lambda: df, lambda frame: frame, lambda par: par.apply_chunks(lambda chunk: chunk), ways)
    assert_same_on_all(
        lambda: df,
        lambda frame: frame,
        lambda par: par.apply_chunks(lambda chunk: chunk, overlap=(before, after)),
        ways,
    )


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_the_pool_of_functions_is_of_use(name: str) -> None:
    """Each function gives a result on an ordinary frame, so that no property holds for want of a result."""
    df = pd.DataFrame({"a": [1.0, 2.0], "b": [3.0, 4.0]}, index=[0, 1])
    FUNCTIONS[name](df.iloc[0])
