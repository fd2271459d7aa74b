"""What type checkers are to see of the public names: each line is typed as it says, by mypy and by pyright.

Nothing here runs: ``tests/api/test_typing.py`` has both look at it.
"""

from __future__ import annotations

import concurrent.futures
import datetime
from collections.abc import Iterator
from typing import Any, assert_type

import numpy as np
import pandas as pd

import pdparallel
from pdparallel import testing
from pdparallel.api.accessor import FramePar, SeriesPar
from pdparallel.api.background import Running
from pdparallel.api.imap import Results

df = pd.DataFrame({"key": ["a", "b"], "x": [1.0, 2.0]})
s = df["x"]


def number(row: Any) -> float:
    return float(row["x"])


def maybe(row: Any) -> int | None:
    return int(row["x"]) or None


def when(row: Any) -> datetime.datetime:
    return pd.Timestamp(row["x"])


def pair(row: Any) -> list[float]:
    return [row["x"], 0.0]


def fields(row: Any) -> dict[str, float]:
    return {"x": row["x"]}


def series(row: Any) -> pd.Series:
    return pd.Series([row["x"]])


def frame(chunk: pd.DataFrame) -> pd.DataFrame:
    return chunk * 2


def array(chunk: pd.DataFrame) -> np.ndarray:
    return chunk.to_numpy()


def doubled(column: pd.Series) -> pd.Series:
    return column * 2


def scaled(value: float, by: float) -> float:
    return value * by


# The accessor

fp = pdparallel.par(df)
sp = pdparallel.par(s)
assert_type(fp, FramePar)
assert_type(sp, SeriesPar)
assert_type(fp(n_workers=2, engine="process", errors="coerce", columns=["x"]), FramePar)
assert_type(sp(chunk_size=10, progress="text", seed=1, timeout=datetime.timedelta(seconds=3)), SeriesPar)
fp(engine="dask")
fp(engine="tcp://scheduler:8786")
fp(engine=concurrent.futures.ProcessPoolExecutor(2), initializer=print, initargs=("up",))

# Rows

assert_type(fp.apply_rows(number), pd.Series)
assert_type(fp.apply_rows(maybe), pd.Series)
assert_type(fp.apply_rows(when, rows="dict"), pd.Series)
assert_type(fp.apply_rows(pair), pd.Series)
assert_type(fp.apply_rows(fields), pd.Series)
assert_type(fp.apply_rows(pair, result_type="expand"), pd.DataFrame)
assert_type(fp.apply_rows(fields, result_type="expand"), pd.DataFrame)
assert_type(fp.apply_rows(number, result_type="expand"), pd.Series)
assert_type(fp.apply_rows(series), pd.DataFrame)
assert_type(fp.apply_rows(number, result_type="broadcast"), pd.DataFrame)
assert_type(fp.apply_rows(number, (1, 2), True, None, key=3), pd.Series)
assert_type(fp.apply_rows(len, rows="tuple"), pd.Series)
assert_type(fp.apply_rows(lambda row: row["x"] + 1), Any)
assert_type(fp.apply_rows(lambda row: len(row)), pd.Series)
assert_type(fp.apply_rows(lambda row: row * 2), Any)

# Columns, values

assert_type(fp.apply_cols(number), pd.Series)
assert_type(fp.apply_cols(doubled), pd.DataFrame)
assert_type(fp.apply_cols(pair, result_type="expand"), pd.DataFrame)
assert_type(fp.apply_cols(pair), pd.DataFrame)
assert_type(fp.apply_cols(number, result_type="broadcast"), pd.DataFrame)
assert_type(fp.apply(number, axis=1), pd.Series)
assert_type(fp.apply(number, axis="columns", result_type="broadcast"), pd.DataFrame)
assert_type(fp.apply("sum"), Any)
assert_type(fp.map(str), pd.DataFrame)
assert_type(fp.map(scaled, na_action="ignore", by=2.0), pd.DataFrame)
assert_type(sp.map(str, na_action="ignore"), pd.Series)
assert_type(sp.map({1.0: "one"}), pd.Series)
assert_type(sp.map(s), pd.Series)
assert_type(sp.apply(scaled, (2.0,)), pd.Series)
assert_type(sp.apply(series), pd.DataFrame)
assert_type(sp.apply("sum"), Any)

# Chunks

assert_type(fp.apply_chunks(frame), pd.DataFrame)
assert_type(fp.apply_chunks(series, by="key"), pd.Series)
assert_type(fp.apply_chunks(array, overlap=1), np.ndarray)
assert_type(fp.apply_chunks(number), list[float])
assert_type(fp.apply_chunks(frame, combine="list"), list[pd.DataFrame])
assert_type(fp.apply_chunks(number, combine=len), int)
assert_type(sp.apply_chunks(doubled), pd.Series)
assert_type(fp.iter_chunks(frame), Results[pd.DataFrame])

for chunk in fp.iter_chunks(frame, ordered=False):
    assert_type(chunk, pd.DataFrame)
with fp.iter_chunks(number) as numbers:
    assert_type(next(numbers), float)

assert_type(fp.apply_chunks(lambda chunk: chunk["x"]), Any)
assert_type(fp.apply_cols(lambda column: column * 2), Any)
assert_type(sp.apply(lambda value: value * 2), Any)
assert_type(fp.groupby("key").apply(lambda group: group["x"]), Any)

# Groups, windows, spans of time

groups = fp.groupby("key")
assert_type(groups.apply(number), pd.Series)
assert_type(groups.apply(frame), pd.DataFrame)
assert_type(groups.apply(series), Any)
assert_type(groups.agg(number), pd.DataFrame)
assert_type(groups.agg(["sum", "max"]), Any)
assert_type(groups.transform(doubled), pd.DataFrame)
assert_type(groups.filter(lambda group: len(group) > 1), pd.DataFrame)
assert_type(groups["x"].agg(number), pd.Series)
assert_type(groups["x"].transform(doubled), pd.Series)
assert_type(groups[["x"]].transform(doubled), pd.DataFrame)
assert_type(groups["x"].filter(lambda group: len(group) > 1), pd.Series)
assert_type(groups["x"].rolling(2).apply(number), pd.Series)
assert_type(groups.expanding().apply(number), pd.DataFrame)
assert_type(fp.groupby("key", as_index=False).apply(number), Any)
assert_type(fp.groupby("key", as_index=False)["x"].agg(number), Any)
assert_type(sp.groupby(level=0).transform(doubled), pd.Series)
assert_type(fp.rolling(2).apply(number, raw=True), pd.DataFrame)
assert_type(fp.rolling("2D", on="day")["x"].apply(number), pd.Series)
assert_type(fp.rolling(2)[["x"]].apply(number), pd.DataFrame)
assert_type(sp.expanding().apply(number), pd.Series)
assert_type(sp.resample("D").transform(doubled), pd.Series)
assert_type(fp.resample("D")["x"].transform(doubled), pd.Series)
assert_type(fp.resample("D").apply(number), Any)

# In the background

assert_type(fp.background.apply_rows(number), Running[pd.Series])
assert_type(fp.background.apply_rows(number).result(), pd.Series)
assert_type(fp.background(n_workers=2).apply_rows(series), Running[pd.DataFrame])
assert_type(fp(n_workers=2).background.map(str).result(), pd.DataFrame)
assert_type(fp.background.apply_chunks(number, combine="list").result(), list[float])
assert_type(fp.background.apply_chunks(frame).result(), pd.DataFrame)
assert_type(fp.background.groupby("key")["x"].agg(number).result(), pd.Series)
assert_type(sp.background.map(str), Running[pd.Series])
assert_type(sp.background.rolling(2).apply(number).result(), pd.Series)


async def awaited() -> None:
    assert_type(await fp.background.apply_rows(number), pd.Series)


waiting: concurrent.futures.Future[pd.Series] = sp.background.map(str)

# Items

assert_type(pdparallel.map(str, [1, 2]), list[str])
assert_type(pdparallel.map(scaled, [1.0, 2.0], (3.0, 4.0)), list[float])
assert_type(pdparallel.map(lambda x: x * x, [1, 2], n_workers=2), list[int])
assert_type(pdparallel.map(scaled, [1.0], [2.0], errors="coerce"), list[float | None])
assert_type(pdparallel.map(str, [1], errors="return"), list[str | Exception])
assert_type(pdparallel.map(number, df.itertuples()), list[float])
assert_type(pdparallel.imap(str, range(3), ordered=False), Results[str])
assert_type(next(pdparallel.imap(scaled, [1.0], [2.0])), float)
iterator: Iterator[str] = pdparallel.imap(str, [1, 2])

# Options

pdparallel.set_options(n_workers=4, serializer="cloudpickle", progress=True, desc="prices")
with pdparallel.option_context(engine="thread", retries=0, checkpoint="night"):
    pass
with pdparallel.option_context(retry_on=OSError, retry_wait=0.5, rate_limit="600/min", max_concurrency=100):
    pass
pdparallel.set_options(retry_on=(OSError, KeyError), rate_limit=10)
pdparallel.set_options(retry_on=lambda error: "429" in str(error), retry_wait=datetime.timedelta(seconds=1))
pdparallel.set_options(retry_on=(), rate_limit=None)
with pdparallel.accelerate(n_workers=2):
    pass
df.apply(number, axis=1, engine=pdparallel.engine(n_workers=2))
assert_type(pdparallel.get_options(), dict[str, Any])

# Looking

with pdparallel.profile(pandas_seconds=1.5) as profiled:
    pass
assert_type(profiled.speed_up, float)
assert_type(pdparallel.FailedCallsWarning("text").failures, pd.DataFrame)

# Testing

assert_type(testing.check(number, df), testing.Fitness)
testing.assert_fit(number, df, "apply_rows", allow=["random"], seed=None)
testing.assert_fit(doubled, df, lambda par, func: par.groupby("key")["x"].transform(func))
testing.assert_same_as_pandas(lambda frame: frame.map(str), obj=df, chunk_sizes=(1, None))
with testing.serial(), testing.leaves_nothing():
    pass
assert_type(testing.saboteurs.when(3, testing.saboteurs.kills(), abs)(2), Any)
