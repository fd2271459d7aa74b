"""An example of a new verb: ``s.par.combine(other, func)`` does on all cores what ``s.combine(other, func)`` does.

A verb is pandas' own operation without pandas' own loop. The three steps are always the same:

1. Find the values that pandas would pass to the function.
2. Call ``run``. It cuts, sends and collects by position, and does what the options say.
3. Let pandas shape all results at once.

``combine_series`` would stand in ``pdparallel/operations/apply.py`` and ``combine`` in
``SeriesVerbs`` (``pdparallel/api/series.py``). The verb
is then also there in the background (``s.par.background.combine``). It is finished when a table in
``tests/oracle`` compares it with pandas for each dtype, in chunks of 1, 2, 7 and all values: here ``test_combine``.
The types of the verb go to ``tests/typing/api.py``, and wrong calls to ``tests/typing/wrong.py``. Users read about it
in ``docs`` and in ``CHANGELOG.md``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pdparallel.core.call import Call, work_of
from pdparallel.core.options import Options
from pdparallel.core.validation import check_func
from pdparallel.execution import failures
from pdparallel.execution.runner import run
from pdparallel.progress.reporter import ProgressScope
from pdparallel.typing import Func
from tests.oracle.frames import VALUES
from tests.oracle.ways import assert_same_on_all, ways_for

__all__ = ["combine", "combine_series", "test_combine"]


def combine_series(s: Any, other: Any, func: Func, fill_value: Any, options: Options) -> Any:
    """Do ``s.combine(other, func, fill_value)``, in parallel for each pair of values."""
    pairs: list[tuple[Any, Any]] = []

    def look(left: Any, right: Any) -> Any:
        pairs.append((left, right))
        return left

    s.combine(other, look, fill_value)  # pandas knows best which values of two indexes belong together
    if not pairs:
        return s.combine(other, func, fill_value)
    call = Call(
        verb="combine",
        work=work_of(func, (), {}, "star", options),  # func(*pair); Hand in typing.py lists the other ways
        data=pairs,
        n=len(pairs),
        unit="pair",
        label=pairs.__getitem__,
    )
    with ProgressScope():  # the progress bar
        with np.errstate(all="ignore"):  # as pandas does; without it the third function of PAIRS fails
            returns = run(call, options)
        failures.replace_failures(call, returns, failures.in_series("map"))  # fills in what errors= asks for
        values = iter(returns.values())
        return s.combine(other, lambda left, right: next(values), fill_value)


def combine(self: Any, other: Any, func: Func, fill_value: Any = None) -> Any:
    """Call a function with each pair of values: ``s.combine(other, func)`` on all cores.

    Parameters
    ----------
    other : Series or scalar
        Gives the second value of each pair.
    func : callable
        Takes two values.
    fill_value : scalar, optional
        Stands for a value that only one of the two has.

    Returns
    -------
    Series
        Exactly what ``s.combine(other, func, fill_value)`` returns.

    Raises
    ------
    InvalidOptionError
        For arguments that are not allowed, before anything runs.

    Examples
    --------
    >>> import pandas as pd, pdparallel
    >>> pd.Series([1, 5]).par.combine(pd.Series([4, 2]), max).tolist()
    [4, 5]
    """
    check_func(func)
    return combine_series(self._obj, other, func, fill_value, self._options())


PAIRS = {
    "the first": lambda left, right: left,
    "both as text": lambda left, right: f"{left} {right}",
    "pandas' setting for a division by zero": lambda left, right: np.geterr()["divide"],
    "raises": lambda left, right: {}[str(left)],
}


@pytest.mark.parametrize("function", PAIRS)
@pytest.mark.parametrize("dtype", VALUES)
def test_combine(dtype, function):
    func, other = PAIRS[function], VALUES[dtype]().iloc[::-1].iloc[2:]
    assert_same_on_all(
        VALUES[dtype],
        lambda s: s.combine(other, func),
        lambda par: par.combine(other, func),
        ways_for(dtype, function),
    )
