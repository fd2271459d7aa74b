"""Measuring: two things side by side, interleaved, medians and ratios, because machines are noisy."""

from __future__ import annotations

import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pdparallel.core.cpu_count import usable_cores
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


def in_turn(calls: Mapping[str, Callable[[], Any]], times: int) -> tuple[dict[str, list[float]], dict[str, Any]]:
    """Run all of them in turn, so many times; each one's seconds by round, and its result of the first round."""
    took: dict[str, list[float]] = {name: [] for name in calls}
    first: dict[str, Any] = {}
    for number in range(times):
        for name, call in calls.items():
            spent, result = seconds(call)
            took[name].append(spent)
            if number == 0:
                first[name] = result
            del result  # the next one has the memory for itself, and is not charged with freeing this
    return took, first


def paired(theirs: list[float], ours: list[float]) -> float:
    """The median of how many times as long theirs took, round by round."""
    return statistics.median(one / other for one, other in zip(theirs, ours, strict=True))


def difference(got: Any, expected: Any) -> str:
    """What differs, in a line; nothing where they are the same."""
    try:
        assert_same(got, expected)
    except AssertionError as error:
        return str(error).partition("\n")[0] or "differs"
    return ""


def compare(work: str, rows: int, pandas: Callable[[], Any], ours: Callable[[], Any], pairs: int = 3) -> Compared:
    """Run both in turn, ``pairs`` times, and check the results of the first pair against each other."""
    took, first = in_turn({"pandas": pandas, "ours": ours}, pairs)
    differs = difference(first["ours"], first["pandas"])
    if differs:
        print(f"{work}: {differs}", file=sys.stderr)
    return Compared(
        work,
        rows,
        statistics.median(took["pandas"]),
        statistics.median(took["ours"]),
        paired(took["pandas"], took["ours"]),
        not differs,
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


def folder(quick: bool = False) -> Path:
    """Where results go; those of a quick look, from which nothing is to be read, go elsewhere."""
    found = RESULTS / "quick" if quick else RESULTS
    found.mkdir(parents=True, exist_ok=True)
    return found


def table(head: str, align: str, lines: Iterable[Iterable[str]]) -> str:
    """A Markdown table; ``align`` has a letter for each column, l or r."""
    marks = "|".join({"l": "---", "r": "---:"}[letter] for letter in align)
    return "\n".join([f"| {head} |", f"|{marks}|", *(f"| {' | '.join(line)} |" for line in lines)])


def write(name: str, rows: list[Any], table: str, quick: bool = False, **more: list[Any]) -> None:
    """Keep the figures as JSON and the table as Markdown, and print the table.

    Parameters
    ----------
    name : str
        Of the files.
    rows : list of dict or dataclass
        The figures; ``more`` are further such lists, by name.
    table : str
        The same for readers, in Markdown.
    quick : bool
        Whether this was only a look whether all runs.
    """
    found = {
        title: [asdict(row) if is_dataclass(row) else row for row in part]
        for title, part in {"rows": rows, **more}.items()
    }
    (folder(quick) / f"{name}.json").write_text(json.dumps({"machine": machine(), **found}, indent=1) + os.linesep)
    write_table(name, table, quick)


def write_table(name: str, table: str, quick: bool = False) -> None:
    """Keep a table as Markdown, under a line about the machine, and print it."""
    here = machine()
    head = "{cores} cores, Python {python}, pandas {pandas}, {system} {architecture}".format(**here)
    (folder(quick) / f"{name}.md").write_text(f"{head}\n\n{table}\n")
    print(f"{head}\n\n{table}\n", flush=True)
