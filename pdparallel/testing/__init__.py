"""Testing: what users test their own functions with for being fit to run in parallel, and this project itself by.

::

    assert_fit(func, df)                   no hidden state, nothing that cannot travel, the same answer anywhere
    assert_same_as_pandas(call, obj=df)    pandas' exact answer, on several cuts
    serial()                               every call runs in this process, and all the same takes the way of workers
    leaves_nothing()                       no process, thread or file is left
    saboteurs                              functions, exceptions and objects that go wrong in each way there is
"""

from __future__ import annotations

from pdparallel.testing import saboteurs
from pdparallel.testing.against_pandas import assert_same_as_pandas, serial
from pdparallel.testing.equality import assert_same
from pdparallel.testing.findings import Finding, Fitness
from pdparallel.testing.fitness import assert_fit, check
from pdparallel.testing.leaks import leaves_nothing

__all__ = [
    "Finding",
    "Fitness",
    "assert_fit",
    "assert_same",
    "assert_same_as_pandas",
    "check",
    "leaves_nothing",
    "saboteurs",
    "serial",
]
