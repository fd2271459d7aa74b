"""The test kit, for functions of users and for this project.

::

    assert_fit(func, df)                   no hidden state, everything serializable, the same results in any process
    assert_same_as_pandas(call, obj=df)    pandas' exact result, for several chunk sizes
    serial()                               every call runs in this process, but serializes as for a worker
    leaves_nothing()                       no process, thread or file is left
    saboteurs                              functions, exceptions and objects that fail in many ways
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
