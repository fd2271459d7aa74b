"""Contenders: how the same work is written with each peer, and the process in which they run in turn.

``python -m benchmarks.contenders '{"work": ..., "rows": ..., "rounds": ..., "workers": ..., "names": [...]}'`` measures
those contenders side by side and says what it does as it does it, one JSON object a line: so whoever started it knows
which one hangs.  It runs on every Python that has pandas; a peer that is not installed there fails like any other.
"""

from __future__ import annotations

import functools
import io
import itertools
import json
import os
import re
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from typing import Any

import pandas as pd

from benchmarks.works import BY_NAME, MAIN, WRONG, Columns, Groups, InWorkers, Rows, Values, Windows, Work

Call = Callable[[], Any]


# By hand, as tutorials write it: split by positions, a pool, pd.concat


def part_of(part: Any, work: Work) -> Any:
    """The work upon a part of the data; a function of a module, since plain pickle takes no other."""
    return work.pandas(part)


def parts(work: Work, data: Any, number: int) -> list[Any]:
    """So many parts of about the same size; groups are kept whole."""
    if isinstance(work, Groups):
        group = data.groupby("key").ngroup()
        part = group * number // (group.max() + 1)
        return [data[part == place] for place in range(number)]
    bounds = [len(data) * place // number for place in range(number + 1)]
    return [data.iloc[start:stop] for start, stop in itertools.pairwise(bounds)]


def together(work: Work, data: Any, found: list[Any]) -> Any:
    """The results of the parts as one."""
    return in_order(work, data, pd.concat(found))


def in_order(work: Work, data: Any, result: Any) -> Any:
    """What was transformed group by group, in the order of the data again."""
    return result.reindex(data.index) if isinstance(work, Groups) and work.verb == "transform" else result


def by_pool(work: Work, data: Any, workers: int) -> Call:
    import multiprocessing

    def call() -> Any:
        with multiprocessing.Pool(workers) as pool:
            found = pool.map(functools.partial(part_of, work=work), parts(work, data, workers))
            return together(work, data, found)

    return call


def by_pathos(work: Work, data: Any, workers: int) -> Call:
    from pathos.multiprocessing import ProcessPool

    def call() -> Any:
        pool = ProcessPool(nodes=workers)
        found = together(work, data, pool.map(functools.partial(part_of, work=work), parts(work, data, workers)))
        pool.close()
        pool.join()
        pool.clear()
        return found

    return call


def by_joblib(work: Work, data: Any, workers: int) -> Call:
    from joblib import Parallel, delayed

    return lambda: together(
        work, data, Parallel(n_jobs=workers)(delayed(part_of)(part, work) for part in parts(work, data, workers))
    )


def by_dask(work: Work, data: Any, workers: int) -> Call:
    import dask.dataframe as dd

    if isinstance(work, Windows):
        return lambda: (
            dd.from_pandas(data, npartitions=workers, sort=False)
            .rolling(work.size)
            .apply(work.func, raw=True)
            .compute(scheduler="processes", num_workers=workers)
        )
    meta = work.pandas(data.head(2))  # dask is told what comes, so that it need not guess
    if isinstance(work, Groups):

        def call() -> Any:
            asked = getattr(work.grouped(dd.from_pandas(data, npartitions=workers)), work.verb)(work.func, meta=meta)
            found = asked.compute(scheduler="processes", num_workers=workers)
            return in_order(work, data, found.sort_index())

        return call
    return lambda: (
        dd.from_pandas(data, npartitions=workers, sort=False)
        .map_partitions(part_of, work, meta=meta)
        .compute(scheduler="processes", num_workers=workers)
    )


def by_pdparallel(work: Work, data: Any, workers: int) -> Call:
    import pdparallel

    pdparallel.set_options(n_workers=workers)
    return lambda: work.ours(data)


# By packages that have a method for it


def by_pandarallel(work: Work, data: Any, workers: int) -> Call:
    from pandarallel import pandarallel

    pandarallel.initialize(nb_workers=workers, progress_bar=False, verbose=0)
    if isinstance(work, Values):
        return lambda: data.parallel_map(work.func)
    if isinstance(work, Groups):
        return lambda: work.grouped(data).parallel_apply(work.func) if work.verb == "apply" else _no_such(work)
    if isinstance(work, Windows):
        return lambda: data.rolling(work.size).parallel_apply(work.func, raw=True)
    return lambda: data.parallel_apply(work.func, **_axis(work))


def by_mapply(work: Work, data: Any, workers: int) -> Call:
    import mapply

    if isinstance(work, Windows):
        raise NotImplementedError("it has no windows")
    mapply.init(n_workers=workers, progressbar=False, **({"chunk_size": 1} if isinstance(work, InWorkers) else {}))
    if isinstance(work, Groups):
        return lambda: work.grouped(data).mapply(work.func) if work.verb == "apply" else _no_such(work)
    return lambda: data.mapply(work.func, **_axis(work))


def by_parallel_pandas(work: Work, data: Any, workers: int) -> Call:
    from parallel_pandas import ParallelPandas

    ParallelPandas.initialize(n_cpu=workers, disable_pr_bar=True)
    if isinstance(work, Values):
        return lambda: data.p_map(work.func, executor="processes")
    if isinstance(work, Groups):
        return lambda: getattr(work.grouped(data), f"p_{work.verb}")(work.func)
    if isinstance(work, Windows):
        return lambda: data.rolling(work.size).p_apply(work.func, executor="processes", raw=True)
    return lambda: data.p_apply(work.func, **_axis(work))


def by_swifter(work: Work, data: Any, workers: int) -> Call:
    import swifter  # noqa: F401 - registers the accessor

    if isinstance(work, Groups):
        return lambda: work.grouped(data.swifter).apply(work.func) if work.verb == "apply" else _no_such(work)
    if isinstance(work, Windows):
        accessor = data.swifter.set_npartitions(workers).progress_bar(False)
        return lambda: accessor.rolling(work.size).apply(work.func, raw=True)
    if isinstance(work, InWorkers):
        forced = data.swifter.force_parallel(True).set_npartitions(workers).progress_bar(False)
        return lambda: forced.apply(work.func, **_axis(work))
    return lambda: data.swifter.set_npartitions(workers).progress_bar(False).apply(work.func, **_axis(work))


def _no_such(work: Groups) -> Any:
    raise NotImplementedError(f"it has no {work.verb} of groups")


def _axis(work: Work) -> dict[str, Any]:
    if isinstance(work, Rows):
        return {"axis": 1} | ({"result_type": work.result_type} if work.result_type else {})
    return {"axis": 0} if isinstance(work, Columns) else {}


CONTENDERS: dict[str, Callable[[Work, Any, int], Call]] = {
    "pandas": lambda work, data, workers: lambda: work.pandas(data),
    "pdparallel": by_pdparallel,
    "multiprocessing.Pool": by_pool,
    "pathos": by_pathos,
    "joblib": by_joblib,
    "dask": by_dask,
    "pandarallel": by_pandarallel,
    "mapply": by_mapply,
    "parallel-pandas": by_parallel_pandas,
    "swifter": by_swifter,
}


# Side by side


def run(work: str, rows: int, rounds: int, workers: int, names: Sequence[str], say: Callable[..., None]) -> None:
    """All contenders in turn, so many rounds; who fails once is left out from then on."""
    data = BY_NAME[work].frame(rows)
    expected: Any = None
    calls: dict[str, Call] = {}
    lost: set[str] = set()
    for number in range(rounds):
        for name in names:
            if name in lost:
                continue
            say(begins=name)
            asked = time.perf_counter()
            try:
                if name not in calls:
                    calls[name] = CONTENDERS[name](BY_NAME[work], data, workers)
                began = time.perf_counter()
                got = calls[name]()
                took = time.perf_counter() - began
            except Exception as error:
                lost.add(name)
                after = time.perf_counter() - asked
                said = f"{type(error).__name__}: {error}".splitlines()[0]
                say(fails=name, error=said, seconds=after, named=names_row(error, WRONG))
                continue
            say(ends=name, seconds=took)
            if number == 0:
                if name == "pandas":
                    expected = got
                elif expected is not None:
                    say(differs=name, how=_difference(got, expected))
            del got


def names_row(error: BaseException, label: object) -> bool:
    """Whether what Python shows of an error says in which row it was, by its label."""
    text = "".join(traceback.format_exception(error))
    return re.search(rf"\b(row|index|label|position) {re.escape(repr(label))}(?!\w)", text, re.IGNORECASE) is not None


def report() -> Callable[..., None]:
    """Standard output for lines of JSON alone: what else is printed, by workers too, goes to standard error."""
    stream = io.TextIOWrapper(os.fdopen(os.dup(1), "wb", buffering=0), write_through=True)
    os.dup2(2, 1)
    os.environ[MAIN] = str(os.getpid())

    def say(**what: Any) -> None:
        stream.write(json.dumps(what) + "\n")

    return say


def _difference(got: Any, expected: Any) -> str:
    from benchmarks.measure import difference  # imports pdparallel, which no peer is to pay for

    return difference(got, expected)


def main(asked: str) -> None:
    say = report()
    with redirect_stdout(sys.stderr):
        say(version=pd.__version__)
        run(**json.loads(asked), say=say)
        say(done=True)
    os._exit(0)  # peers' pools that do not end by themselves are ended by whoever reads this


if __name__ == "__main__":
    main(sys.argv[1])
