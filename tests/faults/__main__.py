"""Prints the fault table as Markdown: ``python -m tests.faults``; ends with 1 where a row is not as it is to be.

``--runs 20`` goes through it so often, in another order each time, one fault upon the pool that the one before left,
and prints the rows that are not as they are to be.
"""

from __future__ import annotations

import argparse
import random
import sys
import time

import pdparallel
from pdparallel.testing.leaks import left_files
from tests.conftest import temporary_folder_of_its_own
from tests.faults.table import FAULTS, Fault
from tests.faults.test_table import run, what_is_left

ROWS = [(fault, engine) for fault in FAULTS for engine in fault.engines]


def row(fault: Fault, engine: str, let_go: bool = True) -> tuple[str, bool]:
    """A line of the table, and whether it is as it is to be."""
    seen = run(fault, engine, let_go)
    right = isinstance(seen.error, fault.sees) if fault.sees else seen.error is None
    right = right and fault.says in seen.all_words and seen.seconds < fault.limit and not seen.left
    words = seen.words.replace("|", "\\|")
    left = ", ".join(seen.left) or "nothing"
    line = f"| {fault.stage} | {fault.sabotage} | {engine} | {words} | {seen.seconds:.1f} | {left} "
    return f"{line}| {'yes' if right else 'NO'} |", right


def table() -> int:
    """Print each row; returns how many are not as they are to be."""
    bad = 0
    print("| stage | fault | engine | what the user saw | seconds | left behind | as it is to be |")
    print("|---|---|---|---|---:|---|---|")
    pdparallel.shutdown()
    for fault, engine in ROWS:
        line, right = row(fault, engine)
        print(line, flush=True)
        bad += not right
    return bad


def runs(times: int, seed: int) -> int:
    """Go through the table in other orders; returns how many rows were not as they are to be."""
    bad = 0
    for number in range(seed, seed + times):
        order = random.Random(number).sample(ROWS, len(ROWS))
        began, before = time.monotonic(), left_files()
        wrong = [line for line, right in (row(*one, let_go=False) for one in order) if not right]
        left = what_is_left(before)
        wrong += [f"left behind: {', '.join(left)}"] if left else []
        seconds = time.monotonic() - began
        print(f"order {number}: {len(order)} rows, {seconds:.0f} s, {len(wrong)} wrong", *wrong, sep="\n", flush=True)
        bad += len(wrong)
    return bad


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description="Run the fault table.")
    parser.add_argument("--runs", type=int, default=0, metavar="N", help="go through it N times in random orders")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the first order (default: 0)")
    asked = parser.parse_args()
    # What is left is looked for in a folder of its own, so that several of these may run at once.
    temporary_folder_of_its_own("faults-")
    bad = runs(asked.runs, asked.seed) if asked.runs else table()
    print(f"\n{bad} rows are not as they are to be" if bad else "\nall rows are as they are to be", file=sys.stderr)
    return bool(bad)


if __name__ == "__main__":
    sys.exit(main())
