"""Fitness: what keeps a function from running in parallel, found by calling it in other orders and surroundings.

A worker has some of the units (rows, columns, values, groups), and a copy of all that the function reads.  So a
function is fit where what it returns for a unit depends on that unit alone, and can travel::

    run            each unit                                            what differs is
    alone          with the function as it was at first                 (the measure)
    alone again    the same once more, from the last unit to the first  random numbers; time, or state kept elsewhere
    in order       after those before it                                what the function keeps from call to call
    backwards      after those behind it                                the same
    in a worker    in another process                                   what only this process has
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
        As of :func:`check`.
    allow : collection of str, default ()
        Kinds of :class:`Finding` that are no error, such as ``("input", "state")``.
    args, kwargs, seed, units, processes : object
        As of :func:`check`.

    Raises
    ------
    AssertionError
        Names all that was found, where it shows first, and what to do.

    Examples
    --------
    >>> import pandas as pd, pdparallel
    >>> from pdparallel.testing import assert_fit
    >>> df = pd.DataFrame({"km": [5, 12, 9], "minutes": [10, 8, 18]})
    >>> assert_fit(lambda row: 60 * row["km"] / row["minutes"], df)
    """
    __tracebackhide__ = True  # for pytest
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
        ``lambda par, func: par.groupby("key").apply(func)``. For an iterable, the function gets one item after the
        other.
    args, kwargs : optional
        Further arguments of ``func``.
    seed : int, optional
        The seed of your later calls. Then random numbers are no finding.
    units : int, default 50
        At most so many rows (columns, values, groups) are tried, from the first on.
    processes : bool, default True
        True tries a worker process, too.

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
    The function runs five times for each unit in this process (four times for items of an iterable), and once in a
    worker. It runs twice more if it draws random numbers without a seed, or if its result changes from call to call. It
    runs once more if it changes variables. With ``"apply_chunks"`` it also runs for each row, for each two rows, and
    for all rows. An exception counts as a result.

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
    >>> fitness = check(running_total, pd.Series([2, 3, 4], index=["x", "y", "z"]), processes=False)
    >>> for finding in fitness.findings:
    ...     print(finding.kind, "-", finding.message)
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
