"""Subclasses of pandas' classes whose ``_metadata`` lists what they add, with the name of a Series or without."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest

import pdparallel
from pdparallel.testing import assert_same_as_pandas


class Trail(pd.DataFrame):
    """Columns are legs."""

    _metadata = ["grid"]

    @property
    def _constructor(self) -> Any:
        return Trail

    @property
    def _constructor_sliced(self) -> Any:
        return Leg


class Leg(pd.Series):
    """Leaves the name out of its metadata."""

    _metadata = ["grid"]

    @property
    def _constructor(self) -> Any:
        return Leg

    @property
    def _constructor_expanddim(self) -> Any:
        return Trail


class Bare(pd.Series):
    """Has no metadata at all."""

    _metadata: list[str] = []

    @property
    def _constructor(self) -> Any:
        return Bare


class Named(pd.Series):
    """Lists the name, as pandas' own does."""

    _metadata = ["_name", "grid"]

    @property
    def _constructor(self) -> Any:
        return Named


class Told(pd.Series):
    """Says itself how it is pickled."""

    _metadata = ["grid"]

    @property
    def _constructor(self) -> Any:
        return Told

    def __reduce__(self) -> Any:
        return _told, (self.tolist(), self.name)

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.__reduce__()


def _told(values: list[Any], name: Any) -> Told:
    return Told(values, name=name)


def _trail() -> Trail:
    trail = Trail({"k": list("aabbccdd"), "x": range(8), "y": [1.5, 2, 3, 4, 5, 6, 7, 8]})
    trail.grid = "P21"
    trail.attrs["source"] = {"a": [1]}
    return trail


def _seen(unit: Any) -> Any:
    name = unit.name if isinstance(unit, pd.Series) else None
    return type(unit).__name__, name, getattr(unit, "grid", None), dict(unit.attrs)


FUNCS: dict[str, Callable[[Any], Any]] = {
    "seen": _seen,
    "itself": lambda unit: unit,
    "a part": lambda unit: unit.head(1),
    "column": lambda unit: unit.get("x", unit),
    "in a list": lambda unit: [_seen(unit), unit.copy()],
    "sum": lambda unit: unit[["x", "y"]].sum() if "x" in unit else unit.sum(),
    "renamed": lambda unit: unit.rename("other") if isinstance(unit, pd.Series) else unit.rename(columns=str.upper),
}

#: Takes the frame, or its accessor; for the verbs of pandas both have one name.
VERBS: dict[str, tuple[Callable[[Any, Any], Any], Callable[[Any, Any], Any]]] = {
    "rows": (lambda par, f: par.apply_rows(f), lambda df, f: df.apply(f, axis=1)),
    "columns": (lambda par, f: par.apply_cols(f), lambda df, f: df.apply(f)),
    "groups": (
        lambda par, f: par.groupby("k")[["x", "y"]].apply(f),
        lambda df, f: df.groupby("k")[["x", "y"]].apply(f),
    ),
    "groups of a column": (lambda par, f: par.groupby("k")["x"].apply(f), lambda df, f: df.groupby("k")["x"].apply(f)),
    "agg": (
        lambda par, f: par.groupby("k")["x"].agg(lambda leg: str(f(leg))),
        lambda df, f: df.groupby("k")["x"].agg(lambda leg: str(f(leg))),
    ),
    "transform": (
        lambda par, f: par.groupby("k")[["x", "y"]].transform(lambda leg: leg - len(str(_seen(leg)))),
        lambda df, f: df.groupby("k")[["x", "y"]].transform(lambda leg: leg - len(str(_seen(leg)))),
    ),
}
ENGINES: list[dict[str, Any]] = [
    {"engine": "serial"},
    {"engine": "thread", "n_workers": 2},
    {"engine": "process", "n_workers": 2},
    {"engine": "process", "n_workers": 2, "chunk_size": 1},
]


@pytest.mark.parametrize("options", ENGINES, ids=str)
@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.filterwarnings("ignore")
def test_legs_of_a_trail(verb: str, options: dict[str, Any]) -> None:
    ours, pandas = VERBS[verb]
    for func in FUNCS.values():
        if verb == "columns" and func is FUNCS["sum"]:
            continue
        assert_same_as_pandas(
            lambda func=func: ours(_trail().par(**options), func), lambda func=func: pandas(_trail(), func)
        )


@pytest.mark.parametrize("options", ENGINES, ids=str)
@pytest.mark.parametrize("kind", [Leg, Bare, Named, Told])
@pytest.mark.parametrize("name", ["x", None, ("a", 1), 0])
def test_a_series_of_a_subclass_travels(kind: Any, name: Any, options: dict[str, Any]) -> None:
    one = kind([1.0, 2.0, 3.0], name=name)

    def seen(item: Any, other: Any = one) -> Any:
        return type(item).__name__, item.name, type(other).__name__, other.name, one.name, item.tolist()

    expected = [(kind.__name__, name, kind.__name__, name, name, [1.0, 2.0, 3.0])] * 3
    assert pdparallel.map(seen, [one] * 3, **options) == expected
    for back in pdparallel.map(lambda item: {"made": [item]}, [one] * 3, **options):
        (made,) = back["made"]
        assert type(made) is kind
        assert made.name == name
        assert made.tolist() == [1.0, 2.0, 3.0]
    # As an argument, and as the data itself.
    frame = pd.DataFrame({"a": [1, 2, 3]})
    got = frame.par(**options).apply_rows(lambda row, other: (type(other).__name__, other.name), args=(one,))
    assert got.tolist() == [(kind.__name__, name)] * 3
    if kind is not Told:
        assert_same_as_pandas(lambda: one.par(**options).map(str), lambda: one.map(str))
