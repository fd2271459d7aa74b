"""Doors: the same work through the accessor, through pandas' own hook, and through existing code that is accelerated.

What stands between a door and the verb is to cost next to nothing: each is measured beside the accessor in turn, in an
order that changes with the round, because who comes after whom matters where a call takes less than a millisecond.
"""

from __future__ import annotations

import contextlib
import statistics
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

import pdparallel
from benchmarks.measure import difference, paired, seconds, table, write
from benchmarks.speed import yes
from benchmarks.works import BY_NAME, Values, Work, quick_rows

#: How much of the accessor's speed each other door is to have.
TO_REACH = 0.98

#: Works, rows and rounds: what a door costs by itself shows on ten rows, what it would copy or look through on many.
SIZES: tuple[tuple[str, int, int], ...] = (
    ("light", 10, 1_001),
    ("light", 1_000, 201),
    ("light", 200_000, 31),
    ("map", 10, 1_001),
    ("map", 500_000, 31),
)


#: Calls before the one that is measured, of so many rows at most: to open a door changes classes of pandas, and CPython
#: 3.11 finds out 53 times that what it knew of their methods has changed before it learns them anew. Who opens a door
#: makes more than one call.
BEFORE, FEW = 100, 1_000


@dataclass(frozen=True)
class Door:
    """Medians in seconds of a work by the accessor and by another door, and how quick that is beside it."""

    door: str
    work: str
    rows: int
    accessor: float
    seconds: float
    ratio: float
    to_reach: float
    reached: bool
    same: bool
    pairs: int


def doors(work: Work, data: Any) -> dict[str, tuple[Callable[[], Any], Callable[[], Any]]]:
    """For each door its call, and what is entered around it, which is not measured."""
    verb, axis = ("map", {}) if isinstance(work, Values) else ("apply", {"axis": 1})

    def accessor() -> Any:
        return getattr(data.par, verb)(work.func, **axis)

    # Each written out: what one of these needs more than another would be told of its door.
    def hook() -> Any:
        return getattr(data, verb)(work.func, **axis, engine=pdparallel)

    def plain() -> Any:
        return getattr(data, verb)(work.func, **axis)

    found: dict[str, Any] = {"accessor": (accessor, contextlib.nullcontext)}
    if hasattr(pd.api, "executors"):
        found["engine=pdparallel"] = (hook, contextlib.nullcontext)
    if hasattr(pdparallel, "accelerate"):
        found["accelerate()"] = (plain, pdparallel.accelerate)
    return found


def measure(work: Work, rows: int, rounds: int) -> list[Door]:
    """All doors in turn."""
    data = work.frame(rows)
    ways = doors(work, data)
    took: dict[str, list[float]] = {name: [] for name in ways}
    first: dict[str, Any] = {}
    names = list(ways)
    for number in range(rounds + 1):
        for name in names[number % len(names) :] + names[: number % len(names)]:
            call, around = ways[name]
            with around():
                if rows <= FEW:
                    for _ in range(BEFORE):
                        call()
                spent, result = seconds(call)
            if number:  # before that all are warmed up
                took[name].append(spent)
            else:
                first[name] = result
            del result
    return [_beside_accessor(work, rows, name, took, first) for name in names if name != "accessor"]


def _beside_accessor(
    work: Work, rows: int, name: str, took: Mapping[str, list[float]], first: Mapping[str, Any]
) -> Door:
    differs = difference(first[name], first["accessor"])
    if differs:
        print(f"{work.title}, {name}: {differs}", file=sys.stderr)
    ratio = paired(took["accessor"], took[name])
    return Door(
        door=name,
        work=work.title,
        rows=rows,
        accessor=statistics.median(took["accessor"]),
        seconds=statistics.median(took[name]),
        ratio=ratio,
        to_reach=TO_REACH,
        reached=ratio >= TO_REACH and not differs,
        same=not differs,
        pairs=len(took[name]),
    )


def main(quick: bool = False) -> list[Door]:
    pdparallel.map(abs, range(4), engine="process")  # the pool is warm, as from the second call on
    found: list[Door] = []
    for name, rows, rounds in SIZES:
        work = BY_NAME[name]
        new = measure(work, min(rows, quick_rows(work)) if quick else rows, 3 if quick else rounds)
        for row in new:
            print(f"{row.work} ({row.rows:,}), {row.door}: {row.ratio:.3f}", file=sys.stderr, flush=True)
        found += new
    write("doors", found, as_markdown(found), quick)
    return found


def as_markdown(found: list[Door]) -> str:
    return table(
        "work | rows | door | accessor, s | by this door, s | speed beside the accessor | to reach | reached",
        "lrlrrrrl",
        (
            (
                row.work,
                f"{row.rows:,}",
                row.door,
                f"{row.accessor:.3g}",
                f"{row.seconds:.3g}",
                f"{row.ratio:.3f}",
                f"{row.to_reach:g}",
                yes(row.reached),
            )
            for row in found
        ),
    )


if __name__ == "__main__":
    main()
