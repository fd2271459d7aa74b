"""Measuring: two things side by side, interleaved, medians and ratios, because machines are noisy."""

from __future__ import annotations

import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pdparallel.cores import usable_cores
from pdparallel.testing import assert_same

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Compared:
    """Medians in seconds of two ways to the same result, the median of their paired ratios, and whether they agree."""

    work: str
    rows: int
    pandas: float
    ours: float
    ratio: float
    same: bool
    pairs: int


def seconds(call: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds that a call takes, and its result."""
    began = time.perf_counter()
    result = call()
    return time.perf_counter() - began, result


def compare(work: str, rows: int, pandas: Callable[[], Any], ours: Callable[[], Any], pairs: int = 3) -> Compared:
    """Run both in turn, ``pairs`` times, and check the results of the first pair against each other."""
    times: list[tuple[float, float]] = []
    same = True
    for number in range(pairs):
        theirs_took, expected = seconds(pandas)
        ours_took, got = seconds(ours)
        times.append((theirs_took, ours_took))
        if number == 0:
            try:
                assert_same(got, expected)
            except AssertionError as difference:
                print(f"{work}: {difference}", file=sys.stderr)
                same = False
    return Compared(
        work,
        rows,
        statistics.median(one for one, _ in times),
        statistics.median(other for _, other in times),
        statistics.median(one / other for one, other in times),
        same,
        pairs,
    )


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    cores = usable_cores()
    return {
        "cores": cores.number,
        "why": cores.why,
        "python": platform.python_version(),
        "pandas": pd.__version__,
        "numpy": np.__version__,
        "system": platform.system(),
        "architecture": platform.machine(),
    }


def write(name: str, rows: list[Any], table: str) -> None:
    """Keep the figures as JSON and the table as Markdown, and print the table."""
    RESULTS.mkdir(exist_ok=True)
    found = [asdict(row) if hasattr(row, "__dataclass_fields__") else row for row in rows]
    (RESULTS / f"{name}.json").write_text(json.dumps({"machine": machine(), "rows": found}, indent=1) + os.linesep)
    here = machine()
    head = "{cores} cores, Python {python}, pandas {pandas}, {system} {architecture}".format(**here)
    (RESULTS / f"{name}.md").write_text(f"{head}\n\n{table}\n")
    print(f"{head}\n\n{table}\n", flush=True)
