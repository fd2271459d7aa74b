"""Runs the fault table; ``make faults`` runs all of it and prints it."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass

import pytest

import pdparallel
from pdparallel.engines.registry import let_pools_go
from pdparallel.testing.leaks import left_files
from tests.conftest import wait_until, workers
from tests.faults.table import ENGINES, FAULTS, Fault, func_for

#: The whole table takes minutes; tests run what differs most, and ``FAULTS=all`` all.
SOME = ("process, forkserver", "serial", "asyncio", "numba")
ALL = os.environ.get("FAULTS") == "all"

CASES = [(fault, engine) for fault in FAULTS for engine in fault.engines if ALL or engine in SOME]


@dataclass
class Seen:
    """What came of a fault."""

    error: BaseException | None
    seconds: float
    left: list[str]

    @property
    def words(self) -> str:
        """The error as a user reads it, in a line."""
        if self.error is None:
            return "the right result"
        try:
            text = str(self.error).partition("\n")[0]
        except Exception:
            text = "(no text)"
        return f"{type(self.error).__name__}: {text}"

    @property
    def all_words(self) -> str:
        return "\n".join([self.words, *getattr(self.error, "__notes__", [])])


def run(fault: Fault, engine: str, let_go: bool = True) -> Seen:
    """Make the sabotaged call and one after it, and look what is left when the pool is let go, if it is."""
    before = left_files() if let_go else set()
    began, error = time.monotonic(), None
    try:
        fault.call(ENGINES[engine])
    except BaseException as raised:
        if isinstance(raised, KeyboardInterrupt) and fault.sees is not KeyboardInterrupt:
            raise
        error = raised
    seconds = time.monotonic() - began
    again = pdparallel.map(func_for(ENGINES[engine], abs), [-1, -2, -3], **ENGINES[engine], n_workers=2)
    assert again == [1, 2, 3], "the next call"
    return Seen(error, seconds, what_is_left(before) if let_go else [])


def what_is_left(before: set[str]) -> list[str]:
    """Processes, and files that there were not before, when all pools are let go."""
    let_pools_go()
    wait_until(lambda: not workers() and left_files() <= before)
    return [f"process {process.pid}" for process in workers()] + sorted(left_files() - before)


@pytest.mark.part(2)
@pytest.mark.timeout(180)
@pytest.mark.parametrize(
    ("fault", "engine"),
    CASES,
    ids=[f"{fault.stage}: {fault.sabotage} - {engine}" for fault, engine in CASES],
)
def test_a_fault(fault: Fault, engine: str, alone: None) -> None:
    seen = run(fault, engine)
    if fault.sees is None:
        assert seen.error is None, seen.all_words
    else:
        assert isinstance(seen.error, fault.sees), seen.words
        assert fault.says in seen.all_words
    assert seen.seconds < fault.limit
    assert seen.left == []
