"""First call: what a call takes in a process that has made none, where the pool must start first.

Each measurement has a process of its own: ``python -m benchmarks.first_call WORK ROWS pandas|ours CALLS`` imports,
makes the frame, and prints the seconds of so many calls, one after the other.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from benchmarks.works import BY_NAME

ROOT = Path(__file__).parent.parent

#: Seconds after which a measurement is given up.
LIMIT = 300


def in_new_process(work: str, rows: int, way: str, calls: int = 1) -> list[float]:
    """Seconds of the first calls in a new process; ``way`` is ``"pandas"`` or ``"ours"``."""
    command = [sys.executable, "-m", "benchmarks.first_call", work, str(rows), way, str(calls)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=LIMIT, check=False)
    if ended.returncode != 0:
        raise RuntimeError(f"{work}, {way}, ended with {ended.returncode}:\n{ended.stderr}")
    return [float(number) for number in json.loads(ended.stdout)]


def main(name: str, rows: str, way: str, calls: str) -> None:
    from benchmarks.measure import seconds  # imports pdparallel, so that data.par is there

    work = BY_NAME[name]
    data = work.frame(int(rows))
    call = work.pandas if way == "pandas" else work.ours
    print(json.dumps([seconds(lambda: call(data))[0] for _ in range(int(calls))]))


if __name__ == "__main__":
    main(*sys.argv[1:])
