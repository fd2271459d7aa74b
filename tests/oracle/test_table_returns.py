"""Whatever a function returns, for rows and columns: each kind of return, and kinds that change from chunk to chunk."""

from __future__ import annotations

import pytest

from tests.oracle.frames import NUMBERED
from tests.oracle.functions import MODES, RETURNS, ByNumber, arguments
from tests.oracle.ways import assert_same_on_all


@pytest.mark.parametrize("labels", NUMBERED)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("returns", RETURNS)
def test_returns(returns, mode, labels):
    func, how = ByNumber(returns), MODES[mode]
    assert_same_on_all(
        lambda: NUMBERED[labels](how["axis"]),
        lambda df: df.apply(func, **how),
        lambda par: (par.apply_rows if how["axis"] else par.apply_cols)(func, **arguments(how)),
    )
