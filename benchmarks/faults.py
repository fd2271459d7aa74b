"""Faults: what a user of each peer sees when a function goes wrong in a worker: an error, an end, or nothing for ever.

Each fault runs in a process of its own, which is ended when nothing has come after some seconds: that is a hang.  What
pdparallel does about each, on all of its engines, is the table of ``make faults``.

There are two tables: ``faults_short`` says how each ends, after how long, and whether the row is named; ``faults`` has
the errors themselves.
"""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.measure import table, write, write_table
from benchmarks.peers import everybody, side_by_side
from benchmarks.works import FAULTS

#: Seconds after which nothing is to be expected any more: many times what each needs to say that something is wrong.
LIMIT, LIMIT_QUICK = 30.0, 8.0

#: Rows of each fault; one of them, in the middle, goes wrong.
ROWS = 40

#: Characters of an error that the table shows.
MAX_SHOWN = 90


@dataclass(frozen=True)
class Seen:
    """What a user of a peer saw, after how many seconds, and whether it named the row."""

    fault: str
    contender: str
    saw: str
    seconds: float
    named: bool

    def short(self) -> str:
        """In a few words."""
        if self.saw.startswith("hangs"):
            return "hangs"
        if not self.seconds:
            return self.saw
        return f"error in {self.seconds:.1f} s, {'names the row' if self.named else 'no row'}"


def look(python: Path | str, work: Any, name: str, limit: float) -> Seen:
    """One fault with one contender."""
    _, found = side_by_side(python, work.name, ROWS, 1, (name,), limit)
    one = found[name]
    saw = one.problem.removeprefix("fails: ") or "no error: a result"
    if len(saw) > MAX_SHOWN:
        saw = saw[: MAX_SHOWN - 1] + "…"
    return Seen(work.title, name, saw.replace("|", "/"), one.after, one.named)


def main(quick: bool = False) -> list[Seen]:
    pairs = everybody()
    found: list[Seen] = []
    for work in FAULTS[:1] if quick else FAULTS:
        for python, name in pairs[:2] if quick else pairs:
            found.append(look(python, work, name, LIMIT_QUICK if quick else LIMIT))
            print(f"{found[-1].fault}, {name}: {found[-1].saw}", file=sys.stderr, flush=True)
    write("faults", [asdict(one) for one in found], as_markdown(found, lambda one: one.saw), quick)
    write_table("faults_short", as_markdown(found, Seen.short), quick)
    return found


def as_markdown(found: list[Seen], cell: Any) -> str:
    """A line for each contender, a column for each fault."""
    names = dict.fromkeys(one.contender for one in found)
    lines = [(name, *(cell(one) for one in found if one.contender == name)) for name in names]
    titles = list(dict.fromkeys(one.fault for one in found))
    return table("what the user sees | " + " | ".join(titles), "l" * (len(titles) + 1), lines)


if __name__ == "__main__":
    main()
