"""The check whether a function can run in parallel, by calls in other orders and processes.

A worker has some of the units (rows, columns, values, groups), and copies of the variables of the function.  So a
function is fit if its result for a unit depends only on that unit, and can be serialized::

    run            each unit                             a difference shows
    alone          with the function as at first         (the reference)
    alone again    the same, from the last to the first  random numbers, time, or state of files and libraries
    in order       after the units before it             state that the function keeps between calls
    backwards      after the units behind it             the same
    in a worker    in another process                    state that only this process has
"""

from __future__ import annotations

import contextlib
import dataclasses
import random
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from pdparallel.core.validation import check_func
from pdparallel.errors import InvalidOptionError
from pdparallel.testing.findings import Fitness, Kind
from pdparallel.testing.handed import Verb
from pdparallel.testing.trial import FitnessRun
from pdparallel.testing.variables import Variables
from pdparallel.typing import Func

__all__ = ["assert_fit", "check"]


def assert_fit(
    func: Func,
    data: Any,
    call: Verb | None = None,
    *,
    allow: Collection[Kind] = (),
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    seed: int | None = None,
    units: int = 50,
    processes: bool = True,
) -> None:
    """Assert that a function is fit to run in parallel: :func:`check` finds nothing.

    Parameters
    ----------
    func, data, call : object
        As for :func:`check`.
    allow : collection of str, default ()
        Kinds of :class:`Finding` that are no error, such as ``("input", "state")``.
    args, kwargs, seed, units, processes : object
        As for :func:`check`.

    Raises
    ------
    AssertionError
        Names each finding, the first row with it, and the advice.

    Examples
    --------
    >>> import pandas as pd, pdparallel
    >>> from pdparallel.testing import assert_fit
    >>> df = pd.DataFrame({"km": [5, 12, 9], "minutes": [10, 8, 18]})
    >>> assert_fit(lambda row: 60 * row["km"] / row["minutes"], df)
    """
    __tracebackhide__ = True  # pytest then shows the line of the test
    fitness = check(func, data, call, args=args, kwargs=kwargs, seed=seed, units=units, processes=processes)
    minded = tuple(finding for finding in fitness.findings if finding.kind not in allow)
    if minded:
        raise AssertionError(str(dataclasses.replace(fitness, findings=minded)))


def check(
    func: Func,
    data: Any,
    call: Verb | None = None,
    *,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    seed: int | None = None,
    units: int = 50,
    processes: bool = True,
) -> Fitness:
    """Find what keeps a function from running in parallel.

    Parameters
    ----------
    func : callable
        The function.
    data : DataFrame, Series or iterable
        A part of your data that shows all kinds of rows. The function gets copies.
    call : str or callable, optional
        The method of the call: ``"apply_rows"`` (the default for a frame), ``"apply_cols"``, ``"map"`` (the default for
        a Series) or ``"apply_chunks"``. A callable makes the call itself:
        ``lambda par, func: par.groupby("key").apply(func)``. For an iterable, leave it out: the function gets each
        item.
    args, kwargs : optional
        Further arguments of ``func``.
    seed : int, optional
        The seed of your later calls. Then random numbers are no finding.
    units : int, default 50
        The largest number of rows (columns, values, groups) to try, from the first on.
    processes : bool, default True
        True also tries a worker process.

    Returns
    -------
    Fitness
        A text for ``print``, and the attribute ``findings``.

    Raises
    ------
    InvalidOptionError
        For arguments that are not allowed.
    Exception
        An exception of the call before it reaches the function, such as a KeyError for a missing key.

    Notes
    -----
    The function runs five times for each unit in this process, and once in a worker. For items of an iterable, it runs
    four times in this process. It runs twice more if it draws random numbers without a seed, or if its result changes
    from call to call. It runs once more if it changes variables. With ``"apply_chunks"`` it also runs for each row, for
    each two rows, and for all rows. An exception counts as a result.

    ``check`` restores the global and closure variables, default values and attributes of the function and its helpers.
    It also restores ``random`` and ``np.random``. It does not restore files or databases.

    Examples
    --------
    >>> import pandas as pd, pdparallel
    >>> from pdparallel.testing import check
    >>> total = 0
    >>> def running_total(value):
    ...     global total
    ...     total += value
    ...     return total
    ...
    >>> fitness = check(running_total, pd.Series([2, 3, 4], index=["x", "y", "z"]), processes=False)
    >>> for finding in fitness.findings:
    ...     print(finding.kind, "-", finding.message)
    ...
    state - it changes global variable 'total', first in value 2 (position 0)
    order - its result depends on other calls: in value 3 (position 1) it is 5 after the earlier values, and 3 alone
    >>> total
    0
    """
    check_func(func)
    for name, number in (("units", units), ("seed", 0 if seed is None else seed)):
        if isinstance(number, bool) or not isinstance(number, int) or number < (name == "units"):
            raise InvalidOptionError(name, number, "a whole number" + (" above 0" if name == "units" else ""))
    with _random_states_kept(), Variables(func) as variables:
        trial = FitnessRun(variables, tuple(args), dict(kwargs or {}), seed)
        trial.take(data, call, units)
        trial.run(processes)
        if call == "apply_chunks":
            trial.cut(data)
        in_a_worker = trial.calls_in_a_worker
        return Fitness(_name(func), trial.word, len(trial.units), trial.calls, in_a_worker, tuple(trial.findings))


def _name(func: Any) -> str:
    name = getattr(func, "__qualname__", getattr(func, "__name__", None))
    return f"function {name!r}" if isinstance(name, str) else f"{type(func).__name__} object"


@contextlib.contextmanager
def _random_states_kept() -> Iterator[None]:
    plain, numpys = random.getstate(), np.random.get_state()
    try:
        yield
    finally:
        random.setstate(plain)
        np.random.set_state(numpys)
