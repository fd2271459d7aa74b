"""Whatever a function returns, for rows and columns: each kind of return, and kinds that change from chunk to chunk."""

from __future__ import annotations

import itertools

import pytest

from tests.oracle.frames import NUMBERED
from tests.oracle.functions import CONTAINERS, MODES, PLACES, RETURNS, ByNumber, OfPlaces, arguments
from tests.oracle.ways import assert_same_on_all, drawn, ways_for


def _cases():
    for returns in RETURNS:
        for labels in NUMBERED:
            for mode in MODES:
                plain = mode in ("rows", "cols")
                one_of = (1 if plain else 3) if labels == "plain" else (2 if plain else 24)
                if drawn(one_of, returns, mode, labels):
                    yield pytest.param(returns, mode, labels, id=f"{returns}-{mode}-{labels}")


@pytest.mark.parametrize(("returns", "mode", "labels"), list(_cases()))
def test_returns(returns, mode, labels):
    func, how = ByNumber(returns), MODES[mode]
    assert_same_on_all(
        lambda: NUMBERED[labels](how["axis"]),
        lambda df: df.apply(func, **how),
        lambda par: (par.apply_rows if how["axis"] else par.apply_cols)(func, **arguments(how)),
        ways_for(returns, mode, labels),
    )


def _pairs():
    for first, second, container in itertools.product(PLACES, PLACES, CONTAINERS):
        if drawn(6, first, second, container):
            yield pytest.param(first, second, container, id=f"{first}-{second}-{container}")


@pytest.mark.parametrize(("first", "second", "container"), list(_pairs()))
def test_expanded(first, second, container):
    func = OfPlaces((first, second), container)
    assert_same_on_all(
        lambda: NUMBERED["plain"](1),
        lambda df: df.apply(func, axis=1, result_type="expand"),
        lambda par: par.apply_rows(func, result_type="expand"),
        ways_for(first, second, container)[:1],
    )


#: What a row is known to be objects by, and what is then found in the columns.
MANY = [
    ("str", "int", "None or float", "NaT"),
    ("str", "Timestamp", "None or str", "int or str"),
    ("str", "float or nan", "NaT", "None"),
    ("str", "str", "None or str", "nan"),
    ("Timestamp", "int", "nan", "Timedelta"),
    ("Timestamp", "float or nan", "nan", "Timedelta"),
    ("Timestamp", "Timestamp", "Timestamp", "NaT"),
    ("bool", "int", "float", "float or nan"),
]


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("places", [(), *((place,) for place in PLACES), *MANY])
def test_containers(places, container):
    func = OfPlaces(places, container)
    for how in (None, "expand", "reduce"):
        assert_same_on_all(
            lambda: NUMBERED["plain"](1),
            lambda df, how=how: df.apply(func, axis=1, result_type=how),
            lambda par, how=how: par.apply_rows(func, result_type=how),
            ways_for(places, container, how),
        )
