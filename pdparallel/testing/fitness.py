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
        Kinds of :class:`Finding` that are not minded, such as ``("input", "state")``.
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
        What it is to work on; a part of yours that shows all kinds of rows. The function gets copies.
    call : str or callable, optional
        Which verb hands out the data: ``"apply_rows"`` (of a frame, the default), ``"apply_cols"``, ``"map"`` (of a
        Series, the default), ``"apply_chunks"``; or a function of the accessor and the function that makes the call:
        ``lambda par, func: par.groupby("key").apply(func)``. An iterable is handed out item by item.
    args, kwargs : optional
        Further arguments of ``func``.
    seed : int, optional
        That of the calls you will make; random numbers are no finding then.
    units : int, default 50
        How many rows (columns, values, groups) are tried, at most: the first ones.
    processes : bool, default True
        Whether to try a worker process, too.

    Returns
    -------
    Fitness
        With a text for ``print``, and what was found as ``findings``.

    Raises
    ------
    InvalidOptionError
        For arguments that are not allowed.
    Exception
        What the call raised before it came to the function, such as a KeyError for a key that there is not.

    Notes
    -----
    The function is called five times for each unit in this process (four where items need no verb), and once in a
    worker; twice more where it draws random numbers without a seed, or returns something else each time; once more
    where it changes variables; with ``"apply_chunks"`` also for each row, each two rows, and the whole. What raises is
    a result like any other.

    The function's global and closure variables, default values and attributes, and those of its helpers, are as before
    when it is done, and so are ``random`` and ``np.random``. What it writes elsewhere, it writes.

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
    order - what it returns depends on other calls: in value 3 (position 1) it is 5 after those before, and 3 alone
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
