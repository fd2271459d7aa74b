"""An example of a new fault: the function sends SIGTERM to its own process.

A fault is a row of ``FAULTS`` in ``tests/faults/table.py``. Write the row first, then mend the package. A row says when
the fault happens, what happens, and how the call is made. It says what the user must see (None: the right result),
which words name the place, and which engines the fault fits. The runner adds the time limit, a call afterwards that
must work, and a check that nothing is left behind.

``.venv/bin/python -m pytest tests/faults -k SIGTERM`` runs it on one kind of processes. ``FAULTS=all`` runs it on each.
``make faults`` prints the table for users. ``.venv/bin/python -m tests.faults --runs 20`` runs all faults in random
orders, each on the pool that the one before left. A sabotage that users need in their own tests goes into
``pdparallel/testing/saboteurs.py``. A fault that needs its own program stands in ``tests/execution/test_interrupt.py``
(Ctrl-C, signals, a killed parent) or in ``tests/worker/test_resources.py`` (threads, descriptors, memory, space).
"""

from __future__ import annotations

import signal
from typing import Any

from pdparallel import WorkerDiedError
from tests.faults.table import NEW_WORKERS, PROCESSES, Fault, _at

__all__ = ["FAULT"]


def _asks_to_end() -> Any:
    return signal.raise_signal(signal.SIGTERM)


FAULT = Fault(
    "running",
    "SIGTERM of itself",
    _at(17, _asks_to_end),
    WorkerDiedError,
    "'x17' (position 17)",
    PROCESSES,
    NEW_WORKERS,
)
