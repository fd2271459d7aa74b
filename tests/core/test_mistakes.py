"""Mistakes: what a caller types, and the exact text that the terminal shows below the traceback."""

from __future__ import annotations

import copy
import functools
import importlib.util
import inspect
import os
import pickle
import re
import signal
import traceback
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import pdparallel
from pdparallel import InvalidOptionError
from pdparallel.api.accessor import FramePar
from pdparallel.compat import PANDAS_2
from pdparallel.core import mistakes, options, words
from pdparallel.core.options import ENGINE_NAMES, Options
from pdparallel.engines.base import is_crash, why_it_ended
from pdparallel.testing.saboteurs import ends, hangs, kills, when

ROOT = Path(__file__).parents[2]
#: These lists stand in some texts; each has a test of its own.
OPTIONS = ", ".join(Options.__dataclass_fields__)
ENGINES = ", ".join(map(repr, ENGINE_NAMES))
VERBS = ", ".join(name for name in dir(FramePar) if not name.startswith("_"))


def f(row: Any) -> int:
    """Take nothing but the row."""
    return 1


def g(row: Any, **kwargs: Any) -> int:
    """Take any keyword argument."""
    return len(kwargs)


def h(row: Any, timeout: int = 1, columns: Any = None) -> int:
    """Have parameters with names of options."""
    return timeout


NAMES: dict[str, Any] = {
    "pd": pd, "pdparallel": pdparallel, "f": f, "g": g, "h": h, "ThreadPoolExecutor": ThreadPoolExecutor,
}  # fmt: skip

#: What is typed, and what is seen.
OF_OPTIONS = {
    # The words of other packages
    "df.par(n_jobs=4)": "Unknown option 'n_jobs'. Did you mean 'n_workers'?",
    "df.par(workers=4)": "Unknown option 'workers'. Did you mean 'n_workers'?",
    "df.par(nb_workers=4)": "Unknown option 'nb_workers'. Did you mean 'n_workers'?",
    "df.par(max_workers=4)": "Unknown option 'max_workers'. Did you mean 'n_workers'?",
    "df.par(processes=4)": "Unknown option 'processes'. Did you mean 'n_workers'?",
    "df.par(npartitions=4)": (
        "Unknown option 'npartitions'. Did you mean 'n_workers' or 'chunk_size'? "
        "chunk_size is the number of rows in a chunk."
    ),
    "df.par(n_threads=4)": "Unknown option 'n_threads'. Did you mean 'n_workers' or 'threads_per_worker'?",
    "df.par(progress_bar=True)": "Unknown option 'progress_bar'. Did you mean 'progress'?",
    "df.par(verbose=1)": "Unknown option 'verbose'. Did you mean 'progress'?",
    "df.par(chunksize=100)": "Unknown option 'chunksize'. Did you mean 'chunk_size'?",
    "df.par(backend='loky')": "Unknown option 'backend'. Did you mean 'engine'?",
    "df.par(random_state=1)": "Unknown option 'random_state'. Did you mean 'seed'?",
    "df.par(max_retries=1)": "Unknown option 'max_retries'. Did you mean 'retries'?",
    "pdparallel.set_options(n_jobs=4)": "Unknown option 'n_jobs'. Did you mean 'n_workers'?",
    "pdparallel.engine(n_jobs=4)": "Unknown option 'n_jobs'. Did you mean 'n_workers'?",
    "pdparallel.accelerate(n_jobs=4)": "Unknown option 'n_jobs'. Did you mean 'n_workers'?",
    "pdparallel.map(f, [1], chunksize=10)": "Unknown option 'chunksize'. Did you mean 'chunk_size'?",
    "s.par(n_jobs=4)": "Unknown option 'n_jobs'. Did you mean 'n_workers'?",
    # Misspelt
    "df.par(n_worker=4)": "Unknown option 'n_worker'. Did you mean 'n_workers'?",
    "df.par(N_Workers=4)": "Unknown option 'N_Workers'. Did you mean 'n_workers'?",
    "df.par(time_out=4)": "Unknown option 'time_out'. Did you mean 'timeout'?",
    "df.par(colums=['a'])": "Unknown option 'colums'. Did you mean 'columns'?",
    # Nothing that is known
    "df.par(key=4)": (
        f"Unknown option 'key'. The options are {OPTIONS}, columns. "
        "Give an argument of your function to the method: df.par.apply_rows(func, key=4)."
    ),
    "pdparallel.map(f, [1], key=4)": (
        f"Unknown option 'key'. The options are {OPTIONS}. "
        "Give an argument of your function to functools.partial: map(partial(func, key=4), items)."
    ),
    # Engines
    "df.par(engine='threads')": "Unknown engine 'threads'. Did you mean 'thread'?",
    "df.par(engine='multiprocessing')": "Unknown engine 'multiprocessing'. Did you mean 'process'?",
    "df.par(engine='loky')": "Unknown engine 'loky'. Did you mean 'process'?",
    "df.par(engine='processes')": "Unknown engine 'processes'. Did you mean 'process'?",
    "df.par(engine='Process')": "Unknown engine 'Process'. Did you mean 'process'?",
    "df.par(engine='distributed')": "Unknown engine 'distributed'. Did you mean 'dask'?",
    "df.par(engine='synchronous')": "Unknown engine 'synchronous'. Did you mean 'serial'?",
    **{
        f"df.par(engine={word!r})": f"Unknown engine {word!r}. Did you mean 'numba'?"
        for word in ("jit", "njit", "bodo", "Numba")
    },
    "df.par(check='equal')": (
        "check='equal' is not allowed: give 'exact', or a relative tolerance between 0 and 1, or None for no check"
    ),
    "df.par(tolerance=1e-12)": "Unknown option 'tolerance'. Did you mean 'check'?",
    "df.par.apply_rows(f, engine='numba')": "engine is an option: df.par(engine='numba').apply_rows(f)",
    "df.par(engine='gpu')": (
        f"Unknown engine 'gpu'. Give one of {ENGINES}, an executor or a pool, or the address of a Dask scheduler."
    ),
    "df.par(engine=4)": (
        f"engine=4 is not allowed: give one of {ENGINES}, or an object with submit() (executors), "
        "apply_async() (pools) or apipe() (pathos)"
    ),
    "df.par(engine=ThreadPoolExecutor)": (
        "engine=ThreadPoolExecutor is a class. Give an object of it: engine=ThreadPoolExecutor(...)."
    ),
    # Values
    "df.par(errors='ignore')": (
        "errors='ignore' is not allowed. Did you mean 'coerce'? It leaves a missing value for each failed call."
    ),
    "df.par(errors='collect')": (
        "errors='collect' is not allowed. Did you mean 'return'? It leaves the exception of each failed call."
    ),
    "df.par(errors='rais')": "errors='rais' is not allowed. Did you mean 'raise'?",
    "df.par(errors=None)": "errors=None is not allowed: give one of 'raise', 'coerce', 'return'",
    "df.par(n_workers=-1)": (
        "n_workers=-1 is not allowed: give a whole number of at least 1, or None for all cores"
    ),
    "df.par(n_workers=0)": "n_workers=0 is not allowed: give a whole number of at least 1, or None for all cores",
    "df.par(n_workers='4')": "n_workers='4' is not allowed: give a whole number of at least 1, or None for all cores",
    "df.par(chunk_size=0)": (
        "chunk_size=0 is not allowed: give a whole number of at least 1, or None to let pdparallel choose"
    ),
    "df.par(timeout='10s')": "timeout='10s' is not allowed: give a number of seconds above 0, or None for no limit",
    "df.par(retries=None)": "retries=None is not allowed: give a whole number of at least 0",
    "df.par(serializer='pickle')": "serializer='pickle' is not allowed. Did you mean 'dill'?",
    "df.par(start_method='spwan')": "start_method='spwan' is not allowed. Did you mean 'spawn'?",
    "df.par(checkpoint=True)": "checkpoint=True is not allowed: give the path of a folder, or None",
    "df.par(initializer=4)": "initializer=4 is not allowed: give a function, or None. Each worker calls it once.",
    "df.par(initargs=4)": (
        "initargs=4 is not allowed: give a tuple or list of arguments. For one argument: initargs=(4,)."
    ),
    "df.par(initargs=(4,)).apply_rows(f)": "initargs=(4,) needs initializer=, the function that takes them.",
    "df.par(columns='a')": (
        "columns='a' is not allowed: give a list of column labels. Put a single label into a list: columns=['a']."
    ),
    "df.par(columns=['kms'])": (
        "columns=['kms'] is not allowed: give labels of the frame's columns. The frame has no 'kms' (nearest: 'km')."
    ),
    "pdparallel.set_options(columns=['a'])": (
        "columns=['a'] is not allowed: give columns= to the accessor of a frame: "
        "df.par(columns=['a', 'b']).apply_rows(func). It belongs to one call on one frame."
    ),
    "pdparallel.accelerate(checkpoint='night')": (
        "checkpoint='night' is not allowed: give None to accelerate. A folder keeps one call, and here are many calls."
    ),
    "pdparallel.imap(f, [1], checkpoint='night')": (
        "checkpoint='night' is not allowed: give None to imap and iter_chunks. "
        "pdparallel.map and apply_chunks(..., combine='list') can keep results in a folder."
    ),
    "df.par(engine='thread', timeout=1).apply_rows(f)": (
        "timeout=1.0 is not allowed: give None with engine='thread'. "
        "A thread cannot be ended. Give engine='process', or make it a coroutine function (async def), whose calls can "
        "be cancelled."
    ),
    # Without a name
    "df.par(4)": "df.par takes options by name. Did you mean df.par(n_workers=4)?",
    "s.par(4)": "s.par takes options by name. Did you mean s.par(n_workers=4)?",
    "df.par('threads')": "df.par takes options by name. Did you mean df.par(engine='thread')?",
    "df.par.background(4)": "df.par.background takes options by name. Did you mean df.par.background(n_workers=4)?",
    "s.par.background(f)": "s.par.background takes options by name. Did you mean s.par.background.map(f)?",
    "df.par(['a'])": "df.par takes options by name. Did you mean df.par(columns=['a'])?",
    "df.par(f)": "df.par takes options by name. Did you mean df.par.apply_rows(f)?",
    "s.par(f)": "s.par takes options by name. Did you mean s.par.map(f)?",
    "df.par(2.5)": "df.par takes options by name, as in df.par(n_workers=4).",
    "pdparallel.set_options('n_workers', 4)": (
        "pdparallel.set_options takes options by name. Did you mean pdparallel.set_options(n_workers=4)?"
    ),
    "pdparallel.option_context('seed', 1)": (
        "pdparallel.option_context takes options by name. Did you mean pdparallel.option_context(seed=1)?"
    ),
    "pdparallel.engine(4)": "pdparallel.engine takes options by name. Did you mean pdparallel.engine(n_workers=4)?",
    "pdparallel.map(f, [1, 2], 4)": (
        "pdparallel.map takes options by name. Did you mean pdparallel.map(f, items, n_workers=4)?"
    ),
    # Given to the verb
    "df.par.apply_rows(f, progress=True)": "progress is an option: df.par(progress=True).apply_rows(f)",
    "df.par.apply_rows(lambda row: 1, n_workers=4)": "n_workers is an option: df.par(n_workers=4).apply_rows(func)",
    "df.par.apply_cols(f, engine='thread')": "engine is an option: df.par(engine='thread').apply_cols(f)",
    "df.par.apply(f, axis=1, n_workers=4)": "n_workers is an option: df.par(n_workers=4).apply(f, axis=1)",
    "df.par.apply(f, axis=1, engine='process')": "engine is an option: df.par(engine='process').apply(f, axis=1)",
    "df.par.apply_chunks(f, chunk_size=10)": "chunk_size is an option: df.par(chunk_size=10).apply_chunks(f)",
    "df.par.iter_chunks(f, chunk_size=10)": "chunk_size is an option: df.par(chunk_size=10).iter_chunks(f)",
    "df.par.apply_rows(f, columns=['a'])": "columns is an option: df.par(columns=['a']).apply_rows(f)",
    "df.par.map(f, seed=1)": "seed is an option: df.par(seed=1).map(f)",
    "s.par.map(f, seed=1)": "seed is an option: s.par(seed=1).map(f)",
    "s.par.apply(f, errors='coerce')": "errors is an option: s.par(errors='coerce').apply(f)",
    "df.par.apply_rows(g, timeout=9)": (
        "timeout is an option: df.par(timeout=9).apply_rows(g). "
        "If it is for the function: df.par.apply_rows(functools.partial(g, timeout=9))"
    ),
    "df.par.apply_rows(f, n_jobs=4)": (
        "f takes no argument 'n_jobs'. Did you mean the option df.par(n_workers=4).apply_rows(f)?"
    ),
    "df.par.groupby('a').apply(f, n_workers=4)": (
        "n_workers is an option: df.par(n_workers=4).groupby(...).apply(f)"
    ),
    "df.par.groupby('a')['km'].agg(f, engine='loky')": (
        "engine is an option: df.par(engine='process').groupby(...).agg(f)"
    ),
    "df.par.groupby('a', n_workers=4)": "n_workers is an option: df.par(n_workers=4).groupby(...)",
    "df.par.groupby('a').rolling(2, seed=1)": "seed is an option: df.par(seed=1).groupby(...).rolling(...)",
    "s.par.rolling(2, n_workers=4)": "n_workers is an option: s.par(n_workers=4).rolling(...)",
    "s.par.rolling(2).apply(f, n_workers=4)": "n_workers is an option: s.par(n_workers=4).rolling(...).apply(f)",
    "days.par.resample('D').apply(f, n_workers=4)": "n_workers is an option: s.par(n_workers=4).resample(...).apply(f)",
    "df.par.background.apply_rows(f, progress=True)": "progress is an option: df.par(progress=True).apply_rows(f)",
    # Arguments of a verb
    "df.par.apply_rows(f, axis=1)": (
        "apply_rows has no axis=. It calls the function with each row. df.par.apply(func, axis=1) is the same."
    ),
    "df.par.apply_cols(f, axis=1)": (
        "apply_cols has no axis=. It calls the function with each column. For rows: df.par.apply_rows(func)."
    ),
    "df.par.apply_rows(f(1))": (
        "func=1 is not allowed: give a function, which is called with each row, column, chunk or value. "
        "Give the function itself: f, not f(...)."
    ),
    "df.par.apply_rows('sum')": (
        "func='sum' is not allowed: give a function, which is called with each row, column, chunk or value. "
        "pandas takes the name of a method: df.apply('sum')."
    ),
    "df.par.apply_rows(f, args=5)": (
        "args=5 is not allowed: give a tuple of arguments for the function. For one argument: args=(5,)."
    ),
    "df.par.apply_rows(f, result_type='expanded')": "result_type='expanded' is not allowed. Did you mean 'expand'?",
    "df.par.apply_rows(f, result_type=1)": (
        "result_type=1 is not allowed: give one of 'expand', 'reduce', 'broadcast', or None"
    ),
    "s.par.map(f, na_action='skip')": "na_action='skip' is not allowed. Did you mean 'ignore'?",
    "df.par.apply_chunks(f, combine='join')": "combine='join' is not allowed. Did you mean 'concat'?",
    "df.par.apply_chunks(f, combine='sum')": (
        "combine='sum' is not allowed: give one of 'auto', 'concat', 'list', or a function of the list of results"
    ),
    "df.par.apply_rows(f, rows='list')": "rows='list' is not allowed. Did you mean 'tuple'?",
    "df.par.apply_rows(f, rows='named_tuple')": "rows='named_tuple' is not allowed. Did you mean 'namedtuple'?",
    "df.par.apply_rows(f, rows='tuple', raw=True)": (
        "rows='tuple' is not allowed: give 'series' with raw=True. raw=True gives arrays already."
    ),
    "df.par.apply_chunks(f, by='a', overlap=1)": (
        "overlap=1 is not allowed: give None with by=. Groups have no neighbours."
    ),
    "pdparallel.map([1], f)": "The function comes first: pdparallel.map(f, items).",
    "pdparallel.map(f)": "There are no items. Give them after the function: pdparallel.map(f, items).",
    "pdparallel.imap(f, 5)": "items=5 is not allowed: give something to iterate over, such as a list",
    "pdparallel.par([1])": "obj=[1] is not allowed: give a DataFrame or a Series",
}  # fmt: skip

OF_NAMES = {
    "df.par.applyrows": "df.par has no 'applyrows'. Did you mean df.par.apply_rows(func)?",
    "df.par.apply_row": "df.par has no 'apply_row'. Did you mean df.par.apply_rows(func)?",
    "df.par.appply_cols": "df.par has no 'appply_cols'. Did you mean df.par.apply_cols(func)?",
    "df.par.parallel_apply": "df.par has no 'parallel_apply'. Did you mean df.par.apply(func, axis=1)?",
    "df.par.p_apply": "df.par has no 'p_apply'. Did you mean df.par.apply(func, axis=1)?",
    "df.par.progress_apply": "df.par has no 'progress_apply'. Did you mean df.par.apply(func, axis=1)?",
    "df.par.mapply": "df.par has no 'mapply'. Did you mean df.par.apply(func, axis=1)?",
    "df.par.map_partitions": "df.par has no 'map_partitions'. Did you mean df.par.apply_chunks(func)?",
    "df.par.applymap": "df.par has no 'applymap'. Did you mean df.par.map(func)?",
    "df.par.parallel_applymap": "df.par has no 'parallel_applymap'. Did you mean df.par.map(func)?",
    "df.par.iterrows": "df.par has no 'iterrows'. Did you mean df.par.apply_rows(func)?",
    "df.par.group_by": "df.par has no 'group_by'. Did you mean df.par.groupby(by)?",
    "df.par.roling": "df.par has no 'roling'. Did you mean df.par.rolling(window)?",
    "df.par.background.applyrows": (
        "df.par.background has no 'applyrows'. Did you mean df.par.background.apply_rows(func)?"
    ),
    "df.par.sum": "df.par has no 'sum'. It is a method of pandas: df.sum(...).",
    "df.par.p_mean": "df.par has no 'p_mean'. It is a method of pandas: df.mean(...).",
    "df.par.km": "df.par has no 'km'. Select the column first: df['km'].par.map(func).",
    "df.par.n_workers": (
        "df.par has no 'n_workers'. Give the option before the method: df.par(n_workers=...).apply_rows(func)."
    ),
    "df.par.progress_bar": (
        "df.par has no 'progress_bar'. Give the option before the method: df.par(progress=...).apply_rows(func)."
    ),
    "df.par.xyz": f"df.par has no 'xyz'. It has {VERBS}.",
    "s.par.parallel_apply": "s.par has no 'parallel_apply'. Did you mean s.par.apply(func)?",
    "s.par.progress_map": "s.par has no 'progress_map'. Did you mean s.par.map(func)?",
    "s.par.apply_rows": "s.par has no 'apply_rows'. Did you mean s.par.map(func)?",
    "s.par.str": "s.par has no 'str'. pandas has it: s.str",
    "df.par.groupby('a').parallel_apply": (
        "df.par.groupby(...) has no 'parallel_apply'. Did you mean df.par.groupby(...).apply(func)?"
    ),
    "df.par.groupby('a')['km'].progress_apply": (
        "df.par.groupby(...) has no 'progress_apply'. Did you mean df.par.groupby(...).apply(func)?"
    ),
    "s.par.groupby(s).p_apply": "s.par.groupby(...) has no 'p_apply'. Did you mean s.par.groupby(...).apply(func)?",
    "s.par.rolling(2).parallel_apply": (
        "s.par.rolling(...) has no 'parallel_apply'. Did you mean s.par.rolling(...).apply(func)?"
    ),
    "df.par.groupby('a').rolling(2).parallel_apply": (
        "df.par.groupby(...).rolling(...) has no 'parallel_apply'. "
        "Did you mean df.par.groupby(...).rolling(...).apply(func)?"
    ),
    "days.par.resample('D').parallel_apply": (
        "s.par.resample(...) has no 'parallel_apply'. Did you mean s.par.resample(...).apply(func)?"
    ),
    "df.par.background.iter_chunks": (
        "df.par.background has no 'iter_chunks', which works while you iterate. Use df.par.iter_chunks(func)."
    ),
    # The package
    **{
        f"pdparallel.{word}": (
            f"pdparallel has no {word!r}. There is nothing to initialize. Call df.par.apply_rows(func). "
            "For options: pdparallel.set_options(n_workers=4)."
        )
        for word in ("initialize", "init", "pandarallel", "ParallelPandas")
    },
    **{
        f"pdparallel.{word}": (
            f"pdparallel has no {word!r}. Workers start by themselves. "
            "Call df.par.apply_rows(func) or pdparallel.map(func, items)."
        )
        for word in ("Pool", "Parallel")
    },
    "pdparallel.apply": "pdparallel has no 'apply'. Did you mean df.par.apply(func, axis=1)?",
    "pdparallel.parallel_apply": "pdparallel has no 'parallel_apply'. Did you mean df.par.apply(func, axis=1)?",
    "pdparallel.progress_apply": "pdparallel has no 'progress_apply'. Did you mean df.par.apply(func, axis=1)?",
    "pdparallel.swifter": "pdparallel has no 'swifter'. Did you mean df.par.apply(func, axis=1)?",
    "pdparallel.apply_rows(df, f)": "pdparallel has no 'apply_rows'. Did you mean df.par.apply_rows(func)?",
    "pdparallel.map_partitions": "pdparallel has no 'map_partitions'. Did you mean df.par.apply_chunks(func)?",
    "pdparallel.rolling": "pdparallel has no 'rolling'. Did you mean df.par.rolling(window)?",
    "pdparallel.starmap": "pdparallel has no 'starmap'. Did you mean pdparallel.map(func, firsts, seconds)?",
    "pdparallel.p_map": "pdparallel has no 'p_map'. Did you mean pdparallel.map?",
    "pdparallel.imap_unordered": (
        "pdparallel has no 'imap_unordered'. Did you mean pdparallel.imap(func, items, ordered=False)?"
    ),
    "pdparallel.option": "pdparallel has no 'option'. Did you mean pdparallel.set_options(n_workers=4)?",
    "pdparallel.set_npartitions": (
        "pdparallel has no 'set_npartitions'. Did you mean pdparallel.set_options(n_workers=4)?"
    ),
    "pdparallel.set_option": "pdparallel has no 'set_option'. Did you mean pdparallel.set_options?",
    "pdparallel.get_option": "pdparallel has no 'get_option'. Did you mean pdparallel.get_options?",
    "pdparallel.accellerate": "pdparallel has no 'accellerate'. Did you mean pdparallel.accelerate?",
    "pdparallel.profle": "pdparallel has no 'profle'. Did you mean pdparallel.profile?",
    "pdparallel.n_jobs": (
        "pdparallel has no 'n_jobs'. Give the option before the method: df.par(n_workers=...).apply_rows(func)."
    ),
    "pdparallel.xyz": f"pdparallel has no 'xyz'. It has {', '.join(dir(pdparallel))}.",
    "pdparallel.__wrapped__": "module 'pdparallel' has no attribute '__wrapped__'",
}

OF_TYPES = {
    "df.par['a']": "Select the columns before .par: df['a'].par.map(func).",
    "df.par[['a', 'km']]": "Select the columns before .par: df[['a', 'km']].par.apply_rows(func).",
    "s.par[1:]": "Select the values before .par: s[...].par.map(func).",
    "df.par[1:]": "Select the rows before .par: df[...].par.apply_rows(func).",
    "s.par.rolling(2).apply(f, key=4)": (
        "rolling(...).apply takes no argument 'key'. Give it to the function: rolling(...).apply(f, kwargs={'key': 4})."
    ),
    "df.par.apply_rows(lambda row: row['a'], rows='namedtuple')": (
        "tuple indices must be integers or slices, not str\n"
        "pdparallel: apply_rows, in row 0 (position 0)\n"
        "pdparallel: rows='namedtuple' gives named tuples. Write row.a, not row['a']."
    ),
    "df.par.apply_rows(lambda row: row['a'], rows='tuple')": (
        "tuple indices must be integers or slices, not str\n"
        "pdparallel: apply_rows, in row 0 (position 0)\n"
        "pdparallel: rows='tuple' gives tuples. Write row[0], or give rows='namedtuple' and write row.a."
    ),
}

CALLS = [
    *((typed, InvalidOptionError, seen) for typed, seen in OF_OPTIONS.items()),
    *((typed, AttributeError, seen) for typed, seen in OF_NAMES.items()),
    *((typed, TypeError, seen) for typed, seen in OF_TYPES.items()),
    (
        "df.par.apply_rows(lambda row: row.a, rows='dict')",
        AttributeError,
        "'dict' object has no attribute 'a'\n"
        "pdparallel: apply_rows, in row 0 (position 0)\n"
        "pdparallel: rows='dict' gives dicts. Write row['a'], not row.a.",
    ),
]


def names() -> dict[str, Any]:
    """Provide what stands in the calls of the tables."""
    df = pd.DataFrame({"a": [1, 2, 1, 2], "km": [4.0, 5.0, 6.0, 7.0]})
    days = pd.Series(range(4), index=pd.date_range("2026-01-01", periods=4, freq="12h"))
    return {**NAMES, "df": df, "s": df["a"], "days": days}


def seen_of(error: BaseException) -> str:
    """What the terminal shows below the traceback, without the module of the class."""
    return "".join(traceback.format_exception_only(type(error), error)).strip().removeprefix("pdparallel.errors.")


@pytest.mark.parametrize(("typed", "kind", "seen"), CALLS, ids=[typed for typed, *_ in CALLS])
def test_a_mistake_gets_the_fix(typed: str, kind: type[Exception], seen: str) -> None:
    before = pdparallel.get_options()
    with pytest.raises(kind) as caught:
        eval(typed, names())
    assert seen_of(caught.value) == f"{kind.__name__}: {seen}"
    assert pdparallel.get_options() == before


def test_the_table_is_long_and_its_sentences_are_short() -> None:
    assert len(CALLS) >= 60
    for typed, _, seen in CALLS:
        for sentence in re.split(r"[.?:] |\n", seen):
            assert len(sentence.split()) <= 20 or ", " in sentence, f"{typed}: {sentence}"


@pytest.mark.parametrize("typed", ["df.par(4)", "df.par(n_jobs=4)", "df.par.apply_rows(f, progress=True)"])
def test_the_error_travels_with_its_text(typed: str) -> None:
    with pytest.raises(InvalidOptionError) as caught:
        eval(typed, names())
    again = pickle.loads(pickle.dumps(caught.value))
    assert (str(again), again.option) == (str(caught.value), caught.value.option)


@pytest.mark.parametrize(
    ("engine", "module", "extra"),
    [("dask", "distributed", "dask"), ("ray", "ray", "ray"), ("tcp://scheduler:8786", "distributed", "dask"),
     ("numba", "numba", "numba")],
)  # fmt: skip
def test_an_engine_that_is_not_installed(engine: str, module: str, extra: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InvalidOptionError) as caught:
        names()["df"].par(engine=engine)
    assert str(caught.value) == (
        f"engine={engine!r} needs {module}, which is not installed: pip install 'pdparallel[{extra}]'"
    )


@pytest.mark.skipif(PANDAS_2, reason="engine= of pandas 2 takes names only")
def test_an_option_beside_pandas_own_engine() -> None:
    df = names()["df"]
    with pytest.raises(InvalidOptionError) as caught:
        df.apply(f, axis=1, engine=pdparallel, n_workers=4)
    assert str(caught.value) == "n_workers is an option: engine=pdparallel.engine(n_workers=4)"
    # In pandas' own words the arguments of a function with **kwargs are its own.
    assert df.apply(g, axis=1, engine=pdparallel, n_workers=4).tolist() == [1] * 4


# What is no mistake


def test_an_argument_that_the_function_has_is_its_own() -> None:
    df = names()["df"]
    assert df.par.apply_rows(h, timeout=7, columns=3).tolist() == [7] * 4
    assert df.par.apply_rows(functools.partial(g, timeout=7)).tolist() == [1] * 4
    assert df.par.apply_rows(g, key=7, n_jobs=2).tolist() == [2] * 4
    assert df["a"].par.map(h, timeout=7).tolist() == [7] * 4
    assert df.par.groupby("a")["km"].agg(h, timeout=7).tolist() == [7, 7]
    assert df.astype(str).par.apply_cols(pd.to_numeric, errors="coerce").equals(df)


def test_names_of_aggregations_are_no_options() -> None:
    df = names()["df"]
    got = df.par.groupby("a").agg(timeout=("km", "max"), seed=("km", "min"))
    assert list(got.columns) == ["timeout", "seed"]


def test_old_code_keeps_the_arguments_of_its_functions() -> None:
    df = names()["df"]
    with pdparallel.accelerate():
        assert df.apply(g, axis=1, timeout=7).tolist() == [1] * 4
        assert df["a"].apply(g, timeout=7).tolist() == [1] * 4
        assert df.groupby("a")["km"].agg(g, timeout=7).tolist() == [1, 1]


def test_a_function_is_looked_at_only_if_an_argument_is_called_like_an_option(monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[Any] = []
    signature = inspect.signature
    monkeypatch.setattr(inspect, "signature", lambda func, **how: looked.append(func) or signature(func, **how))
    df = names()["df"]
    df.par.apply_rows(g, key=1)
    df["a"].par.map(g, key=1)
    assert looked == []
    df.par.apply_rows(h, timeout=1)
    assert looked == [h]


@pytest.mark.parametrize("make", [lambda: names()["df"].par, lambda: names()["s"].par(n_workers=2)])
def test_an_accessor_is_asked_for_what_it_has_not_as_any_object(make: Any) -> None:
    par = make()
    assert not hasattr(par, "_repr_html_")
    assert not hasattr(par, "xyz")
    assert getattr(par, "xyz", 3) == 3
    assert copy.copy(par).map(str).equals(par.map(str))
    with pytest.raises(TypeError):
        iter(par)


def test_the_package_is_asked_for_what_it_has_not_as_any_module(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not hasattr(pdparallel, "initialize")
    assert getattr(pdparallel, "initialize", 3) == 3
    monkeypatch.delattr(pdparallel, "cli", raising=False)
    from pdparallel import cli

    assert cli.__name__ == "pdparallel.cli"
    with pytest.raises(ImportError, match="cannot import name 'initialize' from 'pdparallel'"):
        exec("from pdparallel import initialize")


# Environment variables

#: The variable, and what is seen.
OF_VARIABLES = {
    "PDPARALLEL_NWORKERS": "PDPARALLEL_NWORKERS has no effect. Did you mean PDPARALLEL_N_WORKERS?",
    "PDPARALLEL_N_WORKER": "PDPARALLEL_N_WORKER has no effect. Did you mean PDPARALLEL_N_WORKERS?",
    "PDPARALLEL_N_JOBS": "PDPARALLEL_N_JOBS has no effect. Did you mean PDPARALLEL_N_WORKERS?",
    "PDPARALLEL_BACKEND": "PDPARALLEL_BACKEND has no effect. Did you mean PDPARALLEL_ENGINE?",
    "PDPARALLEL_NPARTITIONS": (
        "PDPARALLEL_NPARTITIONS has no effect. Did you mean PDPARALLEL_N_WORKERS or PDPARALLEL_CHUNK_SIZE?"
    ),
    "PDPARALLEL_FULL_TRACEBACK": "PDPARALLEL_FULL_TRACEBACK has no effect. Did you mean PDPARALLEL_FULL_TRACEBACKS?",
    **(
        {"pdparallel_engine": "pdparallel_engine has no effect. Did you mean PDPARALLEL_ENGINE?"}
        if os.name == "posix"  # on Windows it is the same variable
        else {}
    ),
}


@pytest.fixture
def unchecked(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let the names of variables be checked again, as in a new process."""
    monkeypatch.setattr(options, "n_checked", 0)
    mistakes.warn_of_variable.cache_clear()
    yield
    mistakes.warn_of_variable.cache_clear()


@pytest.mark.parametrize("variable", OF_VARIABLES)
def test_a_misspelt_variable_gets_one_warning(variable: str, unchecked: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, "4")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for number in range(3):
            names()["df"].par.apply_rows(f)
            monkeypatch.setenv(f"OTHER_{number}", "1")
    assert [(str(one.message), one.filename) for one in caught] == [(OF_VARIABLES[variable], "<environment>")]


def test_a_variable_that_is_set_after_the_first_call(unchecked: None, monkeypatch: pytest.MonkeyPatch) -> None:
    names()["df"].par.apply_rows(f)
    monkeypatch.setenv("PDPARALLEL_NWORKERS", "4")
    with pytest.warns(UserWarning, match="^PDPARALLEL_NWORKERS has no effect"):
        pdparallel.get_options()


@pytest.mark.parametrize(
    "name", ["BENCHMARK_MAIN", "FULL_TRACEBACKS", "HOME", "INIT", "N_WORKERS", "TEST_MARK", "TEST_SEED", "VERSION"]
)
def test_a_variable_of_another_program_gets_no_warning(
    name: str, unchecked: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"PDPARALLEL_{name}", "4")
    pdparallel.get_options()


def test_workers_do_not_repeat_the_warning(unchecked: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def inner(value: int) -> tuple[str | None, int]:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            pd.Series([value]).par.map(str)
        return os.environ.get("PDPARALLEL_NWORKERS"), len(caught)

    monkeypatch.setenv("PDPARALLEL_NWORKERS", "4")
    with pytest.warns(UserWarning, match="^PDPARALLEL_NWORKERS has no effect") as caught:
        got = names()["s"].par(engine="process", n_workers=2, chunk_size=1).map(inner)
    assert got.tolist() == [("4", 0)] * 4
    assert len(caught) == 1


# The tables of words


def test_each_word_stands_for_one_option_that_exists() -> None:
    known = {*Options.__dataclass_fields__, "columns"}
    assert set(words.OPTION_WORDS) <= known
    listed = [word for many in words.OPTION_WORDS.values() for word in many]
    assert len(listed) == len(set(listed))
    assert not known & set(listed)


def test_each_word_stands_for_an_engine_that_exists() -> None:
    assert set(words.ENGINE_WORDS) <= set(ENGINE_NAMES) == set(words.ENGINE_NAMES)
    listed = [word for many in words.ENGINE_WORDS.values() for word in many]
    assert len(listed) == len(set(listed))
    assert not set(ENGINE_NAMES) & set(listed)


@pytest.mark.parametrize("word", [word for many in words.OPTION_WORDS.values() for word in many])
def test_each_word_for_an_option_gets_it(word: str) -> None:
    (meant,) = [option for option, many in words.OPTION_WORDS.items() if word in many]
    with pytest.raises(InvalidOptionError, match=rf"^Unknown option '{word}'\. Did you mean '{meant}'\?"):
        names()["df"].par(**{word: 1})


# Faults while a call runs


PROCESS = {"engine": "process", "n_workers": 2, "chunk_size": 2}


def _error_of(func: Any, data: Any = None, **options: Any) -> BaseException:
    data = names()["df"].set_axis(["w", "x", "y", "z"]) if data is None else data
    with pytest.raises(pdparallel.PdParallelError) as caught:
        data.par(**PROCESS, **options).apply_rows(func)
    return caught.value


@pytest.mark.skipif(os.name == "nt", reason="Windows has no signals")
class TestDeaths:
    def test_exit(self) -> None:
        error = _error_of(lambda row: os._exit(1) if row["km"] == 6 else 1)
        assert seen_of(error) == (
            "WorkerDiedError: Row 'y' (position 2) crashed its worker (exit code 1) in all 3 attempts. "
            "The function, or a library that it calls, ended the process. "
            "errors='coerce' keeps the results of all other rows."
        )

    def test_a_label_that_is_the_position_stands_once(self) -> None:
        error = _error_of(lambda row: os._exit(1) if row["km"] == 7 else 1, names()["df"], retries=0)
        assert str(error).startswith("Row 3 crashed its worker (exit code 1). The function, ")

    def test_kill(self) -> None:
        kill = kills(signal.SIGKILL)
        error = _error_of(lambda row: kill() if row["km"] == 6 else 1, retries=1)
        assert seen_of(error) == (
            "WorkerDiedError: Row 'y' (position 2) ended its worker (SIGKILL) in both attempts. "
            "Running out of memory is the usual cause. Give fewer workers (n_workers=) or a smaller chunk_size=. "
            "errors='coerce' keeps the results of all other rows."
        )

    def test_timeout(self) -> None:
        hang = hangs()
        error = _error_of(lambda row: hang(row) if row["km"] == 6 else 1, timeout=0.5)
        assert seen_of(error) == (
            "CallTimeoutError: Row 'y' (position 2) took longer than timeout=0.5 seconds, so its worker was ended. "
            "Give a longer timeout=, or errors='coerce' to keep the results of all other rows."
        )

    def test_the_exceptions_that_are_kept_name_their_rows_once(self) -> None:
        s = pd.Series(["a", "b"])
        got = s.par(engine="process", retries=0, errors="return").map(when("b", ends(code=3)))
        assert seen_of(got[1]).count("Value 1") == 1
        assert "position" not in seen_of(got[1])
        assert "coerce" not in seen_of(got[1])  # the other results are kept already


@pytest.mark.skipif(os.name == "nt", reason="Windows has no signals")
@pytest.mark.parametrize("exitcode", [None, 0, 1, 3, -6, -9, -11, -15, -200])
def test_memory_is_named_only_after_sigkill(exitcode: int | None) -> None:
    assert ("memory" in why_it_ended(exitcode)) == (exitcode == -9)
    assert is_crash(exitcode) == (exitcode in (1, 3, -6, -11))


def test_a_result_that_a_checkpoint_cannot_keep_is_one_sentence(tmp_path: Path) -> None:
    class OwnError(Exception):
        def __init__(self) -> None:
            self.generator = (number for number in ())

    def func(value: int) -> int:
        if value == 2:
            raise OwnError
        return value

    s, night = names()["s"], str(tmp_path / "night")
    with pytest.warns(UserWarning, match="cannot be kept") as caught:
        got = s.par(engine="serial", chunk_size=1, errors="return", checkpoint=night).map(func)
    assert [type(one) for one in got] == [int, OwnError, int, OwnError]
    (warning,) = caught
    assert re.fullmatch(
        rf"Some results cannot be kept in the checkpoint folder {night!r} "
        r"\(TypeError: cannot pickle 'generator' object\)\. The call goes on; so far \d of 4 values are safe\.",
        str(warning.message),
    )


# The package itself


def raised_texts() -> list[tuple[str, str]]:
    """The first letters of the texts of errors, by file."""
    text = r"raise (?:PdParallel|Worker\w*|CallTimeout|\w*NotSerializable)Error\(\s*f?\"(\w)"
    files = sorted((ROOT / "pdparallel").rglob("*.py"))
    return [(path.name, match.group(1)) for path in files for match in re.finditer(text, path.read_text())]


def test_the_texts_of_errors_are_sentences() -> None:
    texts = raised_texts()
    assert len(texts) > 5
    assert [path for path, first in texts if first.islower()] == []
