"""Faults: what a user of each peer sees when a function goes wrong in a worker: an error, an end, or nothing for ever.

Each fault runs in a process of its own, which is ended when nothing has come after some seconds: that is a hang.  What
pdparallel does about each, on all of its engines, is the table of ``make faults``.
"""

from __future__ import annotations

import sys
import time
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.measure import table, write
from benchmarks.peers import NEW, OLD, OLD_PYTHON, side_by_side
from benchmarks.works import FAULTS

#: Seconds after which nothing is to be expected any more: many times what each needs to say that something is wrong.
LIMIT, LIMIT_QUICK = 20.0, 8.0

#: Rows of each fault; one of them, in the middle, goes wrong.
ROWS = 40

#: Characters of an error that the table shows.
MOST_SHOWN = 90


@dataclass(frozen=True)
class Seen:
    """What a user of a peer saw, and after how many seconds."""

    fault: str
    contender: str
    saw: str
    seconds: float


def look(python: str, work: Any, name: str, limit: float) -> Seen:
    """One fault with one contender."""
    began = time.perf_counter()
    _, found = side_by_side(python, work.name, ROWS, 1, (name,), limit)
    one = found[name]
    saw = one.problem.removeprefix("fails: ") or "no error: a result"
    if len(saw) > MOST_SHOWN:
        saw = saw[: MOST_SHOWN - 1] + "…"
    return Seen(work.title, name, saw.replace("|", "/"), time.perf_counter() - began)


def main(quick: bool = False) -> list[Seen]:
    pairs = [(sys.executable, name) for name in NEW[1:]]
    if OLD_PYTHON.exists():
        pairs += [(str(OLD_PYTHON), name) for name in OLD[2:]]
    found: list[Seen] = []
    for work in FAULTS[:1] if quick else FAULTS:
        for python, name in pairs[:2] if quick else pairs:
            found.append(look(python, work, name, LIMIT_QUICK if quick else LIMIT))
            print(f"{found[-1].fault}, {name}: {found[-1].saw}", file=sys.stderr, flush=True)
    names = list(dict.fromkeys(name for _, name in pairs))
    lines = (
        (name, *(one.saw for one in found if one.contender == name))
        for name in names
        if any(one.contender == name for one in found)
    )
    titles = list(dict.fromkeys(one.fault for one in found))
    head = "what the user sees | " + " | ".join(titles)
    write("faults", [asdict(one) for one in found], table(head, "l" * (len(titles) + 1), lines), quick)
    return found
