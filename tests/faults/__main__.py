"""Prints the fault table as Markdown: ``python -m tests.faults``; ends with 1 where a row is not as it is to be."""

from __future__ import annotations

import sys

import pdparallel
from tests.faults.table import FAULTS
from tests.faults.test_table import run


def main() -> int:
    """Run each fault on each of its engines."""
    bad = 0
    print("| stage | fault | engine | what the user saw | seconds | left behind | as it is to be |")
    print("|---|---|---|---|---:|---|---|")
    for fault in FAULTS:
        for engine in fault.engines:
            pdparallel.shutdown()
            seen = run(fault, engine)
            right = isinstance(seen.error, fault.sees) if fault.sees else seen.error is None
            right = right and fault.says in seen.all_words and seen.seconds < fault.limit and not seen.left
            bad += not right
            words = seen.words.replace("|", "\\|")
            left = ", ".join(seen.left) or "nothing"
            print(
                f"| {fault.stage} | {fault.sabotage} | {engine} | {words} | {seen.seconds:.1f} | {left} "
                f"| {'yes' if right else 'NO'} |",
                flush=True,
            )
    print(f"\n{bad} rows are not as they are to be" if bad else "\nall rows are as they are to be", file=sys.stderr)
    return bool(bad)


if __name__ == "__main__":
    sys.exit(main())
