"""Tries: small programs that show what a package does, each by one package, and the process in which they run.

``python -m benchmarks.tries '{"name": "joblib", "tries": ["lambdas", ...]}'`` runs those tries by that package and says
what was seen, one JSON object a line, as ``benchmarks.contenders`` does: ``yes``, ``no``, or a few words.
What needs a program of its own (how it starts, how it is interrupted, what it leaves) is written to a file and run.

How a package is called stands in ``contenders.py``; the options that some have, and how, stand here.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import json
import logging
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.contenders import CONTENDERS, names_row, part_of, parts, report
from benchmarks.works import BY_NAME, WRONG, InWorkers, Values, Work, goes_wrong, points, shout

ROWS, WORKERS = 40, 2

#: Seconds that a program of its own may take; it starts Python, pandas and workers first.
PROGRAM = 30.0

#: Seconds after which a program that was interrupted or killed is to be gone, with all that it started.
ENDED = 10.0


def call(name: str, func: Callable[[Any], Any], data: Any = None, **more: Any) -> Any:
    """``func`` for each row, in workers."""
    work = InWorkers("try", "", points, ROWS, func, 0, 0, **more)
    return of(name, work, points(ROWS) if data is None else data)


def of(name: str, work: Work, data: Any) -> Any:
    return CONTENDERS[name](work, data, WORKERS)()


def compared(got: Any, expected: Any) -> str:
    from benchmarks.measure import difference

    return "other result" if difference(got, expected) else "yes"


# pandas' exact answer


def returns(first: Any, second: Any) -> Callable[[Any], Any]:
    """A function that returns one thing for the upper half of the rows, and another for the lower one."""
    return partly(_returns, first=first, second=second)


def partly(func: Callable[..., Any], **more: Any) -> Callable[[Any], Any]:
    """A partial function that has a name, which some packages ask for."""
    return functools.update_wrapper(functools.partial(func, **more), func)


def _returns(row: Any, first: Any, second: Any) -> Any:
    return first if row["at"] < ROWS // 2 else second


def itself(row: Any) -> Any:
    return row


def as_text(row: Any) -> str:
    return " ".join(map(str, row.tolist()))


def upper(_: Any) -> str:
    return "UPPER"


RETURNS: dict[str, tuple[Any, Any]] = {
    "an int, then None": (1, None),
    "an int, then a float": (1, 0.5),
    "an int, then a text": (1, "text"),
    "a bool, then None": (True, None),
    "a Timestamp, then NaT": (pd.Timestamp("2026-01-01"), pd.NaT),
    "None": (None, None),
    "a dict": ({"a": 1}, {"b": 2}),
    "lists of one length": ([1, 2], [3, 4]),
    "lists of two lengths": ([1, 2], [3, 4, 5]),
    "Series": (pd.Series({"a": 1, "b": 2}), pd.Series({"a": 3, "b": 4})),
    "Series with other labels": (pd.Series({"a": 1}), pd.Series({"b": 2})),
    "a Series, then a number": (pd.Series({"a": 1}), 2),
}


def _frame(**columns: Any) -> pd.DataFrame:
    return pd.DataFrame({"at": range(ROWS), **columns})


def frames() -> dict[str, pd.DataFrame]:
    """Frames that are unlike the first one of a tutorial; the function makes a text of each row."""
    some = np.random.default_rng(7).integers(0, 9, ROWS)
    twice = pd.DataFrame({"at": range(ROWS), "b": some}).set_axis(["at", "at"], axis=1)
    named = _frame(b=some).rename_axis(index="order", columns="field")
    named.attrs["unit"] = "km"
    return {
        "no rows": _frame(b=some).head(0),
        "one row": _frame(b=some).head(1),
        "no columns": pd.DataFrame(index=range(ROWS)),
        "labels that are there twice": _frame(b=some).set_index(pd.Index([*range(ROWS // 2)] * 2)),
        "labels in no order": _frame(b=some).set_index(np.random.default_rng(8).permutation(ROWS)),
        "an index of several levels": _frame(b=some).set_index([some, pd.RangeIndex(ROWS)]),
        "a column name that is there twice": twice,
        "columns of several levels": pd.DataFrame({("a", "x"): range(ROWS), ("a", "y"): some}),
        "names of axes and attrs": named,
        "a categorical column": _frame(b=pd.Categorical(some)),
        "times with a zone": _frame(b=pd.date_range("2026-01-01", periods=ROWS, tz="Europe/Berlin")),
        "nullable integers": _frame(b=pd.array([None, *some[1:].tolist()], dtype="Int64")),
    }


def one_return(name: str, case: str) -> str:
    func = returns(*RETURNS[case])
    return compared(call(name, func, _frame()), _frame().apply(func, axis=1))


def one_frame(name: str, case: str) -> str:
    data, func = frames()[case], upper if case in ("no rows", "no columns") else as_text
    return compared(call(name, func, data), data.apply(func, axis=1))


# Verbs


def one_work(name: str, work: str, rows: int) -> str:
    data = BY_NAME[work].frame(rows)
    try:
        return compared(of(name, BY_NAME[work], data), BY_NAME[work].pandas(data))
    except NotImplementedError:
        return "no"


def on_pandas_3(name: str) -> str:
    """Rows and values run; which pandas it is, the caller has seen to."""
    if pd.__version__ < "3":
        return "no"
    rows, values = points(ROWS), BY_NAME["map"].frame(ROWS)
    both = Values("try", "", points, ROWS, shout, 0, 0)
    of(name, both, values)
    return compared(call(name, _sum, rows), rows.apply(_sum, axis=1))


def _sum(row: Any) -> float:
    return float(row["lat1"] + row["lat2"])


# Functions


def lambdas(name: str) -> str:
    rate = 2.0
    func = lambda row: rate * row["lat1"]  # noqa: E731 - it is what is tried
    return compared(call(name, func), points(ROWS).apply(func, axis=1))


def called_once(name: str) -> str:
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "calls")
        call(name, partly(_counted, path=path))
        calls = os.path.getsize(path)
    return "yes" if calls == ROWS else f"{calls} calls for {ROWS}"


def _counted(row: Any, path: str) -> float:
    note(path)
    return float(row["lat1"])


def note(path: str) -> None:
    """One byte more; processes that do so at one time lose none."""
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, b".")
    os.close(file)


def random_numbers(name: str) -> str:
    return "yes" if call(name, _drawn).nunique() == ROWS else "no: workers draw the same"


def _drawn(row: Any) -> float:
    time.sleep(0.01)  # so that both workers get rows
    return float(np.random.random())


def logs(name: str) -> str:
    heard: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: heard.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger("work").addHandler(handler)
    call(name, _logged)
    return "yes" if len(heard) >= ROWS else "no"


def _logged(row: Any) -> float:
    logging.getLogger("work").warning("a row")
    return 1.0


# What goes wrong


def row_named(name: str) -> str:
    try:
        call(name, _fails)
    except ValueError as error:
        return "yes" if names_row(error, WRONG) else "no"
    return "no: no error"


def _fails(row: Any) -> float:
    if goes_wrong(row):
        raise ValueError("a bad order")
    return 1.0


# Options of some. Who has none of that kind is not in the table of an option: nothing can be tried.


def errors_kept(_: str) -> str:
    got = points(ROWS).par(engine="process", errors="return").apply_rows(_fails)
    return "yes" if isinstance(got[WRONG], ValueError) and (got.drop(WRONG) == 1.0).all() else "no"


def seeded(_: str) -> str:
    data = points(ROWS)
    one, other = (data.par(engine="process", seed=7, n_workers=n, chunk_size=n).apply_rows(_drawn) for n in (1, 2))
    return "yes" if one.equals(other) else "no"


def resumed(name: str) -> str:
    """A call that fails in one row, then the same call with that mended: what is called again."""
    with tempfile.TemporaryDirectory() as folder:
        path, mended = str(Path(folder) / "calls"), Path(folder) / "mended"
        func = partly(_fails_until, calls=path, mended=str(mended))
        again = _kept(name, func, str(Path(folder) / "kept"))
        with contextlib.suppress(ValueError):
            again()
        mended.touch()
        before = os.path.getsize(path)
        again()
        return "yes" if os.path.getsize(path) - before < ROWS else "no"


def _kept(name: str, func: Callable[[Any], Any], folder: str) -> Callable[[], Any]:
    """A call, row by row, that keeps what is finished."""
    data = points(ROWS)
    if name == "pdparallel":
        return lambda: data.par(engine="process", chunk_size=1, checkpoint=folder).apply_rows(func)
    from joblib import Memory, Parallel, delayed

    work = InWorkers("try", "", points, ROWS, func, 0, 0)
    cached = Memory(folder, verbose=0).cache(part_of)
    return lambda: pd.concat(Parallel(n_jobs=WORKERS)(delayed(cached)(row, work) for row in parts(work, data, ROWS)))


def _fails_until(row: Any, calls: str, mended: str) -> float:
    note(calls)
    return 1.0 if Path(mended).exists() else _fails(row)


def _never(row: Any) -> float:
    if goes_wrong(row):
        time.sleep(PROGRAM)
    return 1.0


def _timed_out(name: str) -> None:
    data = points(ROWS)
    work = InWorkers("try", "", points, ROWS, _never, 0, 0)
    func, pieces = functools.partial(part_of, work=work), parts(work, data, WORKERS)
    if name == "pdparallel":
        data.par(engine="process", timeout=1).apply_rows(_never)
    elif name == "joblib":
        from joblib import Parallel, delayed

        Parallel(n_jobs=WORKERS, timeout=1)(delayed(func)(piece) for piece in pieces)
    elif name == "pathos":
        from pathos.multiprocessing import ProcessPool

        ProcessPool(nodes=WORKERS).amap(func, pieces).get(1)
    else:
        import multiprocessing

        with multiprocessing.Pool(WORKERS) as pool:
            pool.map_async(func, pieces).get(1)


def timeout(name: str) -> str:
    try:
        _timed_out(name)
    except Exception as error:
        return "yes, names the row" if names_row(error, WRONG) else "of all, no row"
    return "no"


def cluster(name: str) -> str:
    """Rows on a worker of a Dask cluster: it says in which process it was."""
    from distributed import Client, LocalCluster

    work = InWorkers("try", "", points, ROWS, _process, 0, 0)
    data = points(ROWS)
    with (
        LocalCluster(n_workers=WORKERS, threads_per_worker=1, dashboard_address=":0") as own,
        Client(own) as client,
    ):
        workers = set(client.run(os.getpid).values())
        if name == "pdparallel":
            got = data.par(engine=client).apply_rows(_process)
        elif name == "joblib":
            from joblib import Parallel, delayed, parallel_config

            with parallel_config("dask"):
                got = pd.concat(Parallel()(delayed(part_of)(piece, work) for piece in parts(work, data, WORKERS)))
        else:
            import dask.dataframe as dd

            meta = pd.Series([1], dtype="int64")
            got = dd.from_pandas(data, npartitions=WORKERS).map_partitions(part_of, work, meta=meta).compute()
        return "yes" if set(got) <= workers else "no"


def _process(row: Any) -> int:
    return os.getpid()


def typed(name: str) -> str:
    if name.startswith("multiprocessing"):
        return "yes"  # by typeshed, which every type checker has
    files = importlib.metadata.files(name) or []
    if any(file.name == "py.typed" for file in files):
        return "yes"
    module = importlib.import_module(name.replace("-", "_"))
    return "yes" if (Path(str(module.__file__)).parent / "py.typed").exists() else "no"


# Programs of their own

SCRIPT = """
import os, sys, time
import multiprocessing, multiprocess
from benchmarks.contenders import CONTENDERS
from benchmarks.works import InWorkers, points

{begin}

def func(row):
{body}

{guard}
    work = InWorkers("try", "", points, {rows}, func, 0, 0)
    result = CONTENDERS[{name!r}](work, points({rows}), {workers})()
    print("result", result.sum(), flush=True)
"""

# What a shell begins in the background, and what that begins, ignores Ctrl-C.
FIRST = """import os, signal
os.environ.setdefault("FIRST", str(os.getpid()))
if os.environ["FIRST"] == str(os.getpid()):
    signal.signal(signal.SIGINT, signal.default_int_handler)
"""

BEGIN_SPAWN = """
open(os.environ["FOLDER"] + "/starts", "a").write(".")
if os.environ["FIRST"] == str(os.getpid()):
    sys.of_the_first_process = True
multiprocessing.set_start_method("spawn", force=True)
multiprocess.set_start_method("spawn", force=True)
"""

BODY_SPAWN = """
    if os.getpid() != int(os.environ["FIRST"]) and hasattr(sys, "of_the_first_process"):
        open(os.environ["FOLDER"] + "/forked", "w").close()
    return 1.0
"""

BODY_LONG = """
    open(os.environ["FOLDER"] + "/begun", "w").close()
    time.sleep({seconds})
    return 1.0
"""


@dataclass
class Program:
    """A program in a folder of its own; all that it starts is of its session."""

    running: subprocess.Popen[str]
    folder: Path
    said: list[str]
    reader: threading.Thread
    before: frozenset[str]
    mine: set[str] = field(default_factory=set)

    def wait(self, seconds: float) -> bool:
        """Whether it ended."""
        try:
            self.running.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        self.reader.join(2)
        return True

    def left(self) -> str:
        """What is there of it, some seconds after it ended: processes, and files where it puts temporary ones."""
        ends = time.monotonic() + ENDED
        while (what := self._there()) and time.monotonic() < ends:
            time.sleep(0.1)
        return ", ".join(what)

    def _there(self) -> list[str]:
        processes = sum(session_of(pid) == self.running.pid for pid in pids())
        files = len(list((self.folder / "tmp").iterdir())) + len(self.mine & shared())
        shown = (("process" if processes == 1 else "processes", processes), ("file" if files == 1 else "files", files))
        return [f"{number} {what}" for what, number in shown if number]

    def look(self) -> None:
        """Remember what its processes have in shared memory: they map it, or its name has one of their numbers."""
        own = [pid for pid in pids() if session_of(pid) == self.running.pid]
        for pid in own:
            with contextlib.suppress(OSError):
                self.mine |= set(re.findall(r" /dev/shm/([^/\s]+)", Path(f"/proc/{pid}/maps").read_text()))
        for name in shared() - self.before:
            if name.startswith("pandarallel") or {int(number) for number in re.findall(r"\d+", name)} & set(own):
                self.mine.add(name)


def pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def session_of(pid: int) -> int:
    try:
        state, _, _, session = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:4]
    except OSError:  # it has ended
        return 0
    return 0 if state == "Z" else int(session)


def shared() -> frozenset[str]:
    """What has a name in shared memory."""
    return frozenset(os.listdir("/dev/shm"))


@contextlib.contextmanager
def program(name: str, begin: str, body: str, stdin: bool = False) -> Any:
    """Begin a program that calls ``func`` for each row; whatever is left of it is ended at the end."""
    guard = "if True:" if begin else 'if __name__ == "__main__":'
    text = SCRIPT.format(begin=begin, body=body, guard=guard, rows=ROWS, workers=WORKERS, name=name)
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        (folder / "tmp").mkdir()
        script = folder / "script.py"
        script.write_text(FIRST + text)
        root = str(Path(__file__).parent.parent)
        environment = {**os.environ, "FOLDER": made, "TMPDIR": str(folder / "tmp")}
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH", "")]))
        environment["PDPARALLEL_START_METHOD"] = "spawn" if begin else "forkserver"
        before = shared()
        with script.open() as source:
            running = subprocess.Popen(
                [sys.executable, "-" if stdin else str(script)],
                cwd=made, env=environment, start_new_session=True, text=True,
                stdin=source if stdin else subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            )  # fmt: skip
        said: list[str] = []
        reader = threading.Thread(target=lambda: said.extend(running.stdout or ()), daemon=True)
        reader.start()
        found = Program(running, folder, said, reader, before)
        try:
            yield found
        finally:
            for pid in pids():
                if session_of(pid) == running.pid:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
            running.wait()
            reader.join(5)


def spawned(name: str, stdin: bool) -> str:
    with program(name, BEGIN_SPAWN, BODY_SPAWN, stdin) as begun:
        ended = begun.wait(PROGRAM)
        if (begun.folder / "forked").exists():
            return "only forks"
        starts = (begun.folder / "starts").stat().st_size if (begun.folder / "starts").exists() else 0
        results = sum(line.startswith(f"result {float(ROWS)}") for line in begun.said)
        if results and ended:
            return "yes" if starts == 1 else f"runs the script {starts} times"
        if not ended:
            return "hangs"
        kinds = [found[1] for line in begun.said if (found := re.match(r"(?:\w+\.)*(\w+(?:Error|Pool))\b", line))]
        return f"no: {kinds[-1]}" if kinds else "no"


def interrupted(name: str) -> str:
    with program(name, "", BODY_LONG.format(seconds=2)) as begun:
        if not _working(begun):
            return "no: it did not begin"
        os.killpg(begun.running.pid, signal.SIGINT)
        return "yes" if begun.wait(ENDED) else f"no: runs on after {ENDED:.0f} s"


def left_by_end(name: str) -> str:
    with program(name, "", BODY_LONG.format(seconds=0.05)) as begun:
        if _working(begun):
            begun.look()
        if not begun.wait(PROGRAM) or begun.running.returncode:
            return "no: it fails"
        return begun.left() or "nothing"


def left_by_kill(name: str) -> str:
    with program(name, "", BODY_LONG.format(seconds=1)) as begun:
        if not _working(begun):
            return "no: it did not begin"
        begun.look()
        begun.running.kill()
        begun.running.wait()
        return begun.left() or "nothing"


def _working(begun: Program) -> bool:
    ends = time.monotonic() + PROGRAM
    while not (begun.folder / "begun").exists():
        if time.monotonic() > ends:
            return False
        time.sleep(0.05)
    return True


# Bars

BARS = {
    "pdparallel": "import pdparallel\nslow = df.par(progress=True, engine='process', n_workers=2).apply_rows",
    "joblib": "from joblib import Parallel, delayed\n"
    "slow = lambda func: Parallel(n_jobs=2, verbose=10)(\n"
    "    delayed(df.iloc[at:at + 20].apply)(func, axis=1) for at in (0, 20))",
    "dask": "import dask.dataframe as dd\nfrom dask.diagnostics import ProgressBar\nProgressBar().register()\n"
    "slow = lambda func: dd.from_pandas(df, npartitions=2).map_partitions(lambda part: part.apply(func, axis=1), "
    "meta=pd.Series(dtype=float)).compute(scheduler='processes', num_workers=2)",
    "pandarallel": "from pandarallel import pandarallel\npandarallel.initialize(nb_workers=2, progress_bar=True)\n"
    "slow = lambda func: df.parallel_apply(func, axis=1)",
    "mapply": "import mapply\nmapply.init(n_workers=2, chunk_size=1)\nslow = lambda func: df.mapply(func, axis=1)",
    "parallel-pandas": "from parallel_pandas import ParallelPandas\nParallelPandas.initialize(n_cpu=2)\n"
    "slow = lambda func: df.p_apply(func, axis=1)",
    "swifter": "import swifter\nforced = df.swifter.force_parallel(True).set_npartitions(2)\n"
    "slow = lambda func: forced.apply(func, axis=1)",
}

BAR = """
import time
import pandas as pd
from benchmarks.works import points

def func(row):
    time.sleep(0.1)
    return 1.0

if __name__ == "__main__":
    df = points({rows})
{recipe}
    slow(func)
"""


def bars(name: str) -> str:
    """What moves in a terminal: bars that count rows, or something else."""
    import pty
    import termios

    recipe = "".join(f"    {line}\n" for line in BARS[name].splitlines())
    screen, end = pty.openpty()
    termios.tcsetwinsize(end, (40, 110))
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "script.py"
        script.write_text(BAR.format(rows=ROWS, recipe=recipe))
        root = os.pathsep.join(filter(None, [str(Path(__file__).parent.parent), os.environ.get("PYTHONPATH", "")]))
        running = subprocess.Popen(
            [sys.executable, str(script)],
            stdin=subprocess.DEVNULL, stdout=end, stderr=end, env={**os.environ, "PYTHONPATH": root, "TERM": "xterm"},
        )  # fmt: skip
        os.close(end)
        said = b""
        with contextlib.suppress(OSError):  # it has ended, and nobody has the other side
            while part := os.read(screen, 1 << 16):
                said += part
        os.close(screen)
        running.wait()
    return counted(said.decode(errors="replace"))


def counted(said: str) -> str:
    """Which bars were shown, by the totals that they count to: ``7/40``, ``7 / 20``, ``1 out of 2``."""
    totals = {int(total) for _, total in re.findall(r"(\d+)\s*(?:/|out of)\s*(\d+)\b(?!\.)", said)}
    if ROWS in totals:
        return "yes"
    if ROWS // WORKERS in totals:
        return "one a worker"
    return "counts chunks" if totals else "counts chunks" if "%" in said else "no"


# All


Try = Callable[[str], str]

TRIES: dict[str, Try] = {
    "pandas 3": on_pandas_3,
    **{f"returns: {case}": functools.partial(one_return, case=case) for case in RETURNS},
    **{f"frames: {case}": functools.partial(one_frame, case=case) for case in frames()},
    "map": functools.partial(one_work, work="map", rows=400),
    "apply": functools.partial(one_work, work="groups-50", rows=400),
    "transform": functools.partial(one_work, work="transform", rows=400),
    "rolling": functools.partial(one_work, work="rolling", rows=400),
    "once": called_once,
    "lambdas": lambdas,
    "script": functools.partial(spawned, stdin=False),
    "stdin": functools.partial(spawned, stdin=True),
    "random": random_numbers,
    "seed": seeded,
    "logs": logs,
    "named": row_named,
    "errors": errors_kept,
    "timeout": timeout,
    "checkpoint": resumed,
    "bar": bars,
    "interrupt": interrupted,
    "end": left_by_end,
    "kill": left_by_kill,
    "cluster": cluster,
    "types": typed,
}


def main(asked: str) -> None:
    say = report()
    with contextlib.redirect_stdout(sys.stderr):
        name, tries = (json.loads(asked)[key] for key in ("name", "tries"))
        if name == "pdparallel":
            import pdparallel  # noqa: F401 - registers the accessor, which no other package is to pay for
        say(version=pd.__version__)
        for one in tries:
            say(begins=one)
            try:
                saw = TRIES[one](name)
            except Exception as error:
                saw = f"no: {type(error).__name__}"
            say(ends=one, saw=saw)
        say(done=True)
    os._exit(0)  # pools of peers that do not end by themselves are ended by whoever reads this


if __name__ == "__main__":
    from benchmarks import tries  # so that its functions are those of a module, as of users who have one

    tries.main(sys.argv[1])
