"""What type checkers are to refuse: each of these lines is an error, by mypy and by pyright.

Nothing here runs: ``tests/api/test_typing.py`` has both look at it.
"""

from __future__ import annotations

from typing import Any

import pandas as pd

import pdparallel


def number(row: Any) -> float:
    return float(row["x"])


def length(text: str) -> int:
    return len(text)


df = pd.DataFrame({"x": [1.0, 2.0]})
fp = pdparallel.par(df)
sp = pdparallel.par(df["x"])

# Options: a name, and values
fp(n_worker=2)  # error
fp(engine=3)  # error
fp(errors="ignore")  # error
fp(desc=3)  # error
pdparallel.profile(pandas_seconds="1")  # error
sp(columns=["x"])  # error
sp(n_workers="two")  # error
fp.background(chunksize=2)  # error
pdparallel.set_options(engin="thread")  # error
pdparallel.option_context(progres=True)  # error
pdparallel.accelerate(worker=2)  # error
pdparallel.engine(n_worker=2)  # error
pdparallel.map(length, ["a"], n_worker=2)  # error
pdparallel.imap(length, ["a"], start_method="spoon")  # error

# Arguments
fp.apply_rows(number, rows="tuples")  # error
fp.apply_rows(number, result_type="widen")  # error
fp.apply_rows(3)  # error
fp.apply_cols("sum")  # error
fp.map(length, na_action="drop")  # error
sp.map(3)  # error
fp.apply_chunks(number, combine="sum")  # error
fp.iter_chunks("sum")  # error
pdparallel.map(length, [1, 2])  # error
pdparallel.imap(length, [1, 2])  # error
pdparallel.par([1, 2])  # error

# Results
text: str = pdparallel.map(length, ["a"])  # error
series: pd.Series = fp.map(str)  # error
frame: pd.DataFrame = fp.apply_rows(number)  # error
frame = fp.background.map(str)  # error
