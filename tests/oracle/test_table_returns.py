"""Whatever a function returns, for rows and columns: each kind of return, and kinds that change from chunk to chunk."""

from __future__ import annotations

import pytest

from tests.oracle.frames import NUMBERED
from tests.oracle.functions import MODES, RETURNS, ByNumber, arguments
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
