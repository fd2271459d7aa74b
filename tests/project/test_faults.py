"""First faults, through the verbs and on every engine: an error that says what and where, soon, and nothing is left."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from typing import Any

import pandas as pd
import pathos.pools
import pytest

import pdparallel
from pdparallel import WorkerDiedError

DF = pd.DataFrame({"a": range(40), "b": 1.5}, index=[f"x{i}" for i in range(40)])

ENGINES = ["process", "process spawn", "process fork", "pathos", "ProcessPoolExecutor", "Pool", "pathos ProcessPool"]

#: A dead worker may cost two seconds (``python -m benchmarks.death`` prints what it does cost); a machine under load
#: gets more here, but nothing like the five minutes that the function would take.
SOON = 30.0


@pytest.fixture
def options(request: pytest.FixtureRequest, alone: None) -> Iterator[dict[str, Any]]:
    """The options for an engine by its name in ENGINES."""
    fork = multiprocessing.get_context("fork")
    with ExitStack() as stack:
        name, _, method = request.param.partition(" ")
        if request.param == "ProcessPoolExecutor":
            found = {"engine": stack.enter_context(ProcessPoolExecutor(2, mp_context=fork))}
        elif request.param == "Pool":
            found = {"engine": stack.enter_context(fork.Pool(2))}
        elif request.param == "pathos ProcessPool":
            pool = pathos.pools.ProcessPool(nodes=2, id="faults")
            stack.callback(pool.clear)
            stack.callback(pool.join)
            stack.callback(pool.terminate)
            found = {"engine": pool}
        else:
            found = {"engine": name, **({"start_method": method} if method else {})}
        yield {**found, "n_workers": 2, "chunk_size": 4}


every_engine = pytest.mark.parametrize("options", ENGINES, indirect=True)


def _dies(row: Any) -> float:
    if row["a"] == 17:
        os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(300)
    return float(row["b"])


@every_engine
def test_a_killed_worker_is_an_error_soon_that_names_the_rows(options: dict[str, Any]) -> None:
    began = time.monotonic()
    with pytest.raises(WorkerDiedError, match=r"(?i)worker") as caught:
        DF.par(**options).apply_rows(_dies)
    assert time.monotonic() - began < SOON
    if isinstance(options["engine"], str):
        assert not hasattr(caught.value, "__notes__")
        assert caught.value.exitcode == -signal.SIGKILL
        assert "Row 'x17' (position 17) ended its worker (SIGKILL) in all 3 attempts." in str(caught.value)
        assert "memory" in str(caught.value)
        # and the next call is all right
        assert DF.par(**options).apply_rows(lambda row: row["b"]).tolist() == [1.5] * 40
    else:  # a pool of the user's, which is not ours to begin anew
        (note,) = caught.value.__notes__
        assert note.startswith("pdparallel: apply_rows, in the chunk of rows ")
        assert ". Not finished: rows at positions " in note
        assert "16 to 19" in note


@every_engine
def test_an_exception_arrives_as_itself_and_the_engine_lives(options: dict[str, Any]) -> None:
    class OddError(Exception):
        def __init__(self, one: int, two: int) -> None:
            super().__init__(f"{one} and {two}")
            self.one = one

    def odd(row: Any) -> float:
        if row["a"] >= 17:
            raise OddError(int(row["a"]), 2)
        return 1.0

    for _ in range(2):
        with pytest.raises(OddError, match="17 and 2") as caught:
            DF.par(**options).apply_rows(odd)
        assert caught.value.one == 17
        assert caught.value.__notes__ == ["pdparallel: apply_rows, in row 'x17' (position 17)"]
        assert "raise OddError" in str(caught.value.__cause__)
    assert DF.par(**options).apply_rows(lambda row: row["b"]).tolist() == [1.5] * 40


def test_a_killed_worker_under_auto(alone: None) -> None:
    def dies(x: int) -> int:
        time.sleep(0.01)
        if x == 390:  # far behind: in a worker, long after the pool is up
            assert multiprocessing.parent_process() is not None
            os.kill(os.getpid(), signal.SIGKILL)
        return x

    pdparallel.map(abs, range(4), engine="process", n_workers=2)
    with pytest.raises(WorkerDiedError, match="SIGKILL"):
        pdparallel.map(dies, range(400), n_workers=2)


def test_an_error_of_combine_keeps_the_results_of_the_chunks() -> None:
    def broken(pieces: list[int]) -> int:
        raise LookupError("no way to combine")

    with pytest.raises(LookupError) as caught:
        DF.par(chunk_size=10).apply_chunks(lambda chunk: int(chunk["a"].sum()), combine=broken)
    assert caught.value.pieces == [45, 145, 245, 345]  # type: ignore[attr-defined]
    assert "4 chunks" in caught.value.__notes__[0]
