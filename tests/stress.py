"""Stress: eight threads call, cancel, shut down, alternate workers, start methods and engines, and kill workers.

Run it by hand for ten minutes with ``python -m tests.stress 600``; :mod:`tests.project.test_stress` runs it for 20
seconds. Each call must give pandas' answer.  No error is allowed but those that a call asks for, and nothing may be
left.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import faulthandler
import multiprocessing
import os
import random
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from concurrent.futures import CancelledError
from typing import Any

import numpy as np
import pandas as pd

import pdparallel
from pdparallel.testing import leaves_nothing
from pdparallel.testing.leaks import children
from tests.conftest import temporary_folder_of_its_own

THREADS = 8

#: Seconds after the end until a call counts as hanging; then all threads are shown, and the process ends.
HANGS_AFTER_SECONDS = 90

FRAME = pd.DataFrame({"k": np.arange(300) % 7, "x": np.arange(300.0), "t": [f"text {i}" for i in range(300)]})

TIMES = pd.Series(np.arange(300.0), pd.date_range("2026-01-01", periods=300, freq="7min"))


def _row(row: pd.Series) -> float:
    return row["x"] * 2 + len(row["t"])


def _slow(value: float) -> float:
    time.sleep(0.002)
    return value + 1


def _group(group: pd.DataFrame) -> float:
    return float(group["x"].sum())


def _doubled(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(x=frame["x"] * 2)


def _half(value: float) -> float:
    return value / 2


def _spread(column: pd.Series) -> float:
    return float(column.max() - column.min())


def _away(column: pd.Series) -> pd.Series:
    return column - column.mean()


def _is_large(group: pd.DataFrame) -> bool:
    return bool(group["x"].sum() > 6400)


class _AskedError(Exception):
    pass


def _raising(value: float) -> float:
    if value == 150:
        raise _AskedError(value)
    return value


#: What is called, each verb of them, beside what pandas gives for it.
CALLS: dict[str, tuple[Callable[[Any], Any], Any]] = {
    "rows": (lambda par: par(FRAME).apply_rows(_row), FRAME.apply(_row, axis=1)),
    "map": (lambda par: par(FRAME["x"]).map(_slow), FRAME["x"].map(lambda value: value + 1)),
    "groups": (lambda par: par(FRAME).groupby("k").apply(_group), FRAME.groupby("k").apply(_group)),
    "columns": (lambda par: par(FRAME[["x"]]).apply_cols(np.sum), FRAME[["x"]].apply(np.sum)),
    "chunks": (lambda par: par(FRAME).apply_chunks(_doubled), _doubled(FRAME)),
    "map of a frame": (lambda par: par(FRAME[["x"]]).map(_half), FRAME[["x"]].map(_half)),
    "apply of a Series": (lambda par: par(FRAME["x"]).apply(_half), FRAME["x"].apply(_half)),
    "agg": (lambda par: par(FRAME).groupby("k")["x"].agg(_spread), FRAME.groupby("k")["x"].agg(_spread)),
    "transform": (lambda par: par(FRAME).groupby("k")["x"].transform(_away), FRAME.groupby("k")["x"].transform(_away)),
    "filter": (lambda par: par(FRAME).groupby("k").filter(_is_large), FRAME.groupby("k").filter(_is_large)),
    "rolling": (lambda par: par(FRAME["x"]).rolling(5).apply(_spread), FRAME["x"].rolling(5).apply(_spread)),
    "resample": (lambda par: par(TIMES).resample("1h").apply(_spread), TIMES.resample("1h").apply(_spread)),
}  # fmt: skip


class _Thread(threading.Thread):
    """One of those that do something at random until the time is over."""

    def __init__(self, seed: str, until: float, may_fork: bool) -> None:
        super().__init__(name=f"stress-{seed}")
        self._random = random.Random(seed)
        self._until = until
        methods = ["forkserver"] * 6 + ["spawn"] + ["fork"] * may_fork
        self._methods = [method for method in methods if method in multiprocessing.get_all_start_methods()]
        self.done: collections.Counter[str] = collections.Counter()
        self.problems: list[str] = []

    def run(self) -> None:
        while time.monotonic() < self._until:
            name, act = self._random.choices(self.ACTIONS, self.WEIGHTS)[0]
            try:
                act(self)
            except BaseException:
                self.problems.append(f"{name}:\n{traceback.format_exc()}")
            self.done[name] += 1

    def _options(self) -> dict[str, Any]:
        return {
            "engine": self._random.choice(["process"] * 4 + ["auto", "auto", "pathos", "thread"]),
            "n_workers": self._random.choice([1, 2, 3]),
            "start_method": self._random.choice(self._methods),
            "chunk_size": self._random.choice([None, 10, 50]),
            "retries": 50,  # a kill may strike the same row again and again
        }

    def _call(self) -> None:
        call, want = CALLS[self._random.choice(list(CALLS))]
        options = self._options()
        got = call(lambda data: data.par(**options))
        if not got.equals(want):
            raise AssertionError(f"{options}:\n{got}\ninstead of\n{want}")

    def _fail(self) -> None:
        with contextlib.suppress(_AskedError):
            FRAME["x"].par(**self._options()).map(_raising)
            raise AssertionError("the error of the function is lost")

    def _cancel(self) -> None:
        future = FRAME["x"].par(**self._options()).background.map(_slow)
        time.sleep(self._random.random() * 0.1)
        future.cancel()
        with contextlib.suppress(CancelledError):
            if not future.result(HANGS_AFTER_SECONDS).equals(CALLS["map"][1]):
                raise AssertionError("a wrong answer of a call that was cancelled too late")

    def _shut_down(self) -> None:
        time.sleep(self._random.random() * 0.3)
        pdparallel.shutdown()

    def _kill(self) -> None:
        time.sleep(self._random.random() * 0.3)
        some = children()
        if some:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._random.choice(some).pid, signal.SIGKILL)

    ACTIONS = (
        ("call", _call), ("fail", _fail), ("cancel", _cancel), ("shut down", _shut_down), ("kill", _kill),
    )  # fmt: skip
    WEIGHTS = (60, 10, 10, 5, 5)


def run(seconds: float, seed: int, may_fork: bool) -> int:
    """Do it; returns how many calls went wrong, and prints the first ones."""
    faulthandler.dump_traceback_later(seconds + HANGS_AFTER_SECONDS, exit=True)
    with leaves_nothing(seconds=30):
        until = time.monotonic() + seconds
        threads = [_Thread(f"{seed}-{number}", until, may_fork) for number in range(THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        pdparallel.shutdown()
    faulthandler.cancel_dump_traceback_later()
    problems = [problem for thread in threads for problem in thread.problems]
    for problem in problems[:5]:
        print(problem, file=sys.stderr)
    print(
        f"seed {seed}: {dict(sum((thread.done for thread in threads), collections.Counter()))}, {len(problems)} wrong"
    )
    return len(problems)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("seconds", type=float, nargs="?", default=600.0)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--fork", action="store_true", help="start_method='fork', too, which threads make unsafe")
    given = parser.parse_args()
    temporary_folder_of_its_own("stress-")
    sys.exit(run(given.seconds, given.seed, given.fork) > 0)
