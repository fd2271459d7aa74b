"""Output: what a function prints, logs and warns of in workers is shown here, as when pandas calls it here."""

from __future__ import annotations

import contextlib
import io
import logging
import multiprocessing
import os
import re
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import pytest

import pdparallel
from pdparallel import CallTimeoutError, WorkerDiedError
from pdparallel.core.chunking import Chunk
from pdparallel.progress.replay_output import CapturedOutput
from pdparallel.transport.shared_classes import SharedTable
from pdparallel.worker import captured_output
from pdparallel.worker.captured_output import Kind, OutputCapture

DF = pd.DataFrame({"a": range(12)})


class Unknown:
    """An executor of a kind that nobody knows, so that each task carries its bytes."""

    def __init__(self, inner: ProcessPoolExecutor) -> None:
        self._inner = inner

    def submit(self, func: Callable[[bytes], bytes], task: bytes) -> Future[bytes]:
        return self._inner.submit(func, task)


def _pool(method: str, workers: int) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context(method))


@contextlib.contextmanager
def options_of(kind: str, workers: int = 1) -> Iterator[dict[str, Any]]:
    """Options for workers of a kind; a single one says everything in order."""
    if kind in ("forkserver", "spawn", "fork"):
        yield {"engine": "process", "start_method": kind, "n_workers": workers}
    elif kind.startswith("executor"):
        with _pool(kind.split()[1], workers) as executor:
            yield {"engine": executor}
    elif kind == "unknown":
        with _pool("fork", workers) as executor:
            yield {"engine": Unknown(executor), "n_workers": workers}
    else:
        yield {"engine": kind, "n_workers": workers}


NOT_HANDLED = ["forkserver", "spawn", "fork", "pathos", "executor fork", "executor spawn", "unknown"]
HERE = ["serial", "thread"]
SOME = ["forkserver", "fork", "unknown"]


class Told(NamedTuple):
    """What was said during a call, and what came of it."""

    out: str
    err: str
    warned: list[tuple[type, str, str, int]]
    logged: list[tuple[str, int, str, int]]
    result: Any


class Keep(logging.Handler):
    """Keeps the records that it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


def told(call: Callable[[], Any], action: str = "default") -> Told:
    """What is said during a call, with a filter for warnings."""
    out, err, keep = io.StringIO(), io.StringIO(), Keep()
    logging.root.addHandler(keep)
    warnings.onceregistry.clear()
    try:
        with (
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
            warnings.catch_warnings(record=True) as seen,
        ):
            warnings.simplefilter(action, UserWarning)
            try:
                result = call()
            except Exception as error:
                result = type(error)
    finally:
        logging.root.removeHandler(keep)
    return Told(
        out.getvalue(),
        err.getvalue(),
        [(one.category, str(one.message), one.filename, one.lineno) for one in seen],
        [(one.name, one.levelno, one.getMessage(), one.lineno) for one in keep.records],
        result.tolist() if isinstance(result, pd.Series) else result,
    )


def speaks(row: Any) -> Any:
    print("row", row["a"], end=";")
    print("to the other stream", row["a"], file=sys.stderr)
    warnings.warn(f"odd: {row['a'] % 2}", UserWarning, stacklevel=1)
    logging.getLogger("some.where").warning("row %d of %s", row["a"], "all")
    logging.getLogger("some.where").info("nobody wants to know")
    warnings.warn("again", FutureWarning, stacklevel=1)
    return row["a"] + 1


@pytest.mark.parametrize("kind", [*NOT_HANDLED, "serial"])
def test_as_pandas_says_it(kind: str) -> None:
    with options_of(kind) as options:
        par = DF.par(**options, chunk_size=5)
        par.apply_rows(abs)  # a fork of a process with threads is warned of
        for action in ("default", "always", "once", "module", "ignore", "error"):
            expected = told(lambda: DF.apply(speaks, axis=1), action)
            assert told(lambda: par.apply_rows(speaks), action) == expected, action
            assert expected.out
            assert expected.logged or action == "error"
        assert expected.result is UserWarning


@pytest.mark.parametrize("kind", ["forkserver", "pathos", "thread"])
def test_two_workers_say_each_chunk_as_a_whole(kind: str) -> None:
    def func(value: int) -> int:
        print("begin", value)
        warnings.warn("the same for all", UserWarning, stacklevel=1)
        print("end", value)
        return value

    with options_of(kind, 2) as options:
        s = pd.Series(range(40))
        found = told(lambda: s.par(**options, chunk_size=4).map(func))
    assert found.result == list(range(40))
    assert len(found.warned) == 1
    lines = found.out.splitlines()
    assert sorted(lines) == sorted(f"{word} {value}" for word in ("begin", "end") for value in range(40))
    if kind == "thread":
        return
    chunks = [lines[at : at + 8] for at in range(0, 80, 8)]
    firsts = [int(chunk[0].split()[1]) for chunk in chunks]
    assert sorted(firsts) == list(range(0, 40, 4))
    for first, chunk in zip(firsts, chunks, strict=True):
        assert chunk == [f"{word} {value}" for value in range(first, first + 4) for word in ("begin", "end")]


VERBS: dict[str, Callable[[Any, Any], Any]] = {
    "apply_cols": lambda par, func: par.apply_cols(func),
    "apply_chunks": lambda par, func: par.apply_chunks(func, combine="list"),
    "map": lambda par, func: par.map(func),
    "apply": lambda par, func: par.apply(func, axis=1),
    "groupby": lambda par, func: par.groupby("a")[["a"]].apply(func),
    "rolling": lambda par, func: par.rolling(2).apply(lambda window: func(window) and 1.0, raw=True),
    "iter_chunks": lambda par, func: list(par.iter_chunks(func)),
    "background": lambda par, func: par.background.apply_rows(func).result(),
}


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb(verb: str) -> None:
    def func(unit: Any) -> int:
        print("called")
        return 1

    expected = told(lambda: VERBS[verb](DF.par(engine="serial", chunk_size=3), func)).out
    assert expected.count("called\n") * len("called\n") == len(expected) > 0
    assert told(lambda: VERBS[verb](DF.par(engine="process", n_workers=2, chunk_size=3), func)).out == expected


@pytest.mark.parametrize(
    "option", [{"errors": "coerce"}, {"retries": 0}, {"timeout": 60.0}, {"progress": print}, {"seed": 3}]
)
def test_with_other_options(option: dict[str, Any]) -> None:
    def func(value: int) -> int:
        print("value", value)
        return value

    for engine in ("auto", "process"):
        par = pd.Series(range(6)).par(engine=engine, n_workers=1, chunk_size=2, **option)
        lines = told(lambda par=par: par.map(func)).out.splitlines()
        assert [line for line in lines if line.startswith("value")] == [f"value {value}" for value in range(6)]


def test_a_call_from_a_function_says_it_once() -> None:
    def func(value: int) -> int:
        return pd.Series([value, value + 1]).par.map(lambda inner: print("inner", inner) or inner).sum()

    s = pd.Series([1, 5])
    found = told(lambda: s.par(engine="process", n_workers=1, chunk_size=1).map(func))
    assert found.out == "inner 1\ninner 2\ninner 5\ninner 6\n"


# Prints


def by_write(value: int) -> None:
    sys.stdout.write(f"one {value}\n")
    sys.stdout.writelines(["two\n", "three\n"])
    print("four", flush=True)


def by_bytes(value: int) -> None:
    print("before")
    sys.stdout.flush()
    sys.stdout.buffer.write(b"bytes \xc3\xa4\n")
    sys.stdout.buffer.flush()
    print("after")


def by_thread(value: int) -> None:
    thread = threading.Thread(target=print, args=("from a thread", value))
    thread.start()
    thread.join()
    print("then")


def by_a_stream_around(value: int) -> None:
    sys.stdout = io.TextIOWrapper(sys.stdout.detach(), encoding="utf-8")
    print("through a stream around", value)


def redirects(value: int) -> None:
    with contextlib.redirect_stdout(io.StringIO()) as stream:
        print("inside")
    print(stream.getvalue().upper())


def unusual_text(value: int) -> None:
    print("ä€😀\r\ttab\x00\x1b[31mred\x1b[0m")
    print("")
    print(end="")
    print("no end of the line", end="")


@pytest.mark.parametrize("kind", SOME)
@pytest.mark.parametrize("func", [by_write, by_thread, redirects, unusual_text])
def test_ways_to_print(kind: str, func: Callable[[int], None]) -> None:
    s = pd.Series([0, 1, 2])
    with options_of(kind) as options:
        found = told(lambda: s.par(**options, chunk_size=2).map(func))
    assert found[:2] == told(lambda: s.map(func))[:2]


@pytest.mark.parametrize("kind", SOME)
def test_bytes_and_a_stream_around_ours(kind: str, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    with options_of(kind) as options:
        par = pd.Series([0]).par(**options)
        with contextlib.redirect_stdout(io.TextIOWrapper(io.BytesIO(), encoding="utf-8", newline="")) as stream:
            par.map(by_bytes)
            par.map(by_a_stream_around)
            par.map(by_write)
            stream.flush()
            written = stream.buffer.getvalue()
        text = told(lambda: par.map(by_bytes)).out  # a stream that knows no bytes
    assert written.decode() == ("before\nbytes ä\nafter\nthrough a stream around 0\none 0\ntwo\nthree\nfour\n")
    assert text == "before\nbytes ä\nafter\n"
    assert capfdbinary.readouterr().out == b""


@pytest.mark.parametrize("kind", SOME)
def test_a_stream_that_is_replaced_or_closed_is_back_for_the_next_task(kind: str) -> None:
    kept = io.StringIO()

    def func(value: int) -> Any:
        print("begin", value)
        if value == 0:
            sys.stdout = kept
        elif value == 1:
            sys.stdout.close()
            with contextlib.suppress(ValueError):
                print("to a closed one")
                return "printed"
            return None
        elif value == 2:
            sys.stdout = None
        print("end", value)
        return None

    with options_of(kind) as options:
        found = told(lambda: pd.Series(range(4)).par(**options, chunk_size=1).map(func))
    assert found.result == [None, None, None, None]
    assert found.out == "begin 0\nbegin 1\nbegin 2\nbegin 3\nend 3\n"


def test_what_a_closed_stream_says_is_what_it_says_here() -> None:
    def func(value: int) -> None:
        sys.stdout.close()
        print(value)

    with pytest.raises(ValueError, match="closed file") as ours:
        pd.Series([1]).par(engine="process", n_workers=1).map(func)
    with pytest.raises(ValueError, match="closed file") as pandas, contextlib.redirect_stdout(io.StringIO()):
        pd.Series([1]).map(func)
    assert str(ours.value).rstrip(".") == str(pandas.value).rstrip(".")


def test_what_is_printed_before_an_exception() -> None:
    def func(value: int) -> int:
        print("value", value)
        return 1 // (value - 5)

    for options in ({}, {"errors": "return"}):
        s = pd.Series(range(8))
        found = told(lambda options=options: s.par(engine="process", n_workers=1, chunk_size=4, **options).map(func))
        last = 7 if options else 5
        assert found.out == "".join(f"value {value}\n" for value in range(last + 1))
    assert told(lambda: s.par(engine="process", n_workers=1, chunk_size=4).map(func)).result is ZeroDivisionError


def test_streams_of_this_process_that_cannot_take_it() -> None:
    def func(value: int) -> int:
        print("value ä", value)
        return value

    class Raises(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError("nobody reads")

    par = pd.Series([1, 2]).par(engine="process", n_workers=1, chunk_size=1)
    closed = io.StringIO()
    closed.close()
    for stream, words in ((closed, "closed file"), (Raises(), "nobody reads")):
        with contextlib.redirect_stdout(stream), pytest.warns(RuntimeWarning, match=words) as seen:
            assert par.map(func).tolist() == [1, 2]
        assert {one.filename for one in seen} == {__file__}
    with contextlib.redirect_stdout(None):
        assert par.map(func).tolist() == [1, 2]
    narrow = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    with contextlib.redirect_stdout(narrow):
        par.map(func)
    narrow.flush()
    assert narrow.buffer.getvalue().split() == [b"value", b"\\xe4", b"1", b"value", b"\\xe4", b"2"]


def test_a_kept_stream_prints_for_the_task_that_runs() -> None:
    kept: dict[str, Any] = {}

    def func(value: int) -> bool:
        stream = kept.setdefault("stream", sys.stdout)
        print("value", value, file=stream)
        return stream is sys.stdout

    par = pd.Series([1, 2]).par(engine="process", n_workers=1, chunk_size=1)
    for _ in range(2):
        found = told(lambda: par.map(func))
        assert (found.out, found.result) == ("value 1\nvalue 2\n", [True, True])


def test_a_stream_that_is_returned_is_the_one_here() -> None:
    found = pdparallel.map(lambda item: sys.stderr, [0], engine="process", n_workers=1)
    assert found == [sys.stderr]


def test_off_is_off(capfd: pytest.CaptureFixture[str]) -> None:
    def func(value: int) -> str:
        print("unheard")
        return type(sys.stdout).__module__

    par = pd.Series([1]).par(engine="process", n_workers=1)
    found = told(lambda: par(capture_output=False).map(func))
    assert found.out == ""
    assert not found.result[0].startswith("pdparallel")
    assert told(lambda: par(capture_output=True).map(func)).out == "unheard\n"
    with pdparallel.option_context(capture_output=False):
        assert told(lambda: par.map(func)).out == ""
    with pdparallel.option_context(capture_output=False):
        assert told(lambda: par(capture_output=None).map(func)).out == "unheard\n"
    capfd.readouterr()


# How much


def test_of_very_much_the_beginning_and_the_end_are_shown() -> None:
    def func(value: int) -> None:
        for at in range(30):
            print("x" * 1_000_000, at)
        print("the end")

    text = told(lambda: pd.Series([1]).par(engine="process", n_workers=1).map(func)).out
    assert text.startswith("x" * 1_000_000 + " 0\nx")
    assert text.endswith(" 29\nthe end\n")
    assert len(text) < captured_output.MAX_BYTES + captured_output.LAST_BYTES + 1_000
    left = int(re.search(r"\[pdparallel: ([\d,]+) bytes are left out here", text)[1].replace(",", ""))
    whole = sum(len(f"{'x' * 1_000_000} {at}\n") for at in range(30)) + len("the end\n")
    note = re.search(r"\n\[pdparallel: .*?\]\n", text)[0]
    assert len(text) - len(note) + left == whole


@pytest.mark.parametrize(
    "sizes", [[3] * 100, [1] * 1_000, [0] * 1_000, [500, 1], [1, 5_000, 1], [1, 190, 1], [1, 250, 1], [90, 90, 90, 90]]
)
def test_what_is_kept_of_frames(monkeypatch: pytest.MonkeyPatch, sizes: list[int]) -> None:
    monkeypatch.setattr(captured_output, "MAX_BYTES", 200)
    monkeypatch.setattr(captured_output, "LAST_BYTES", 100)
    heard = OutputCapture("")
    whole = ""
    for at, size in enumerate(sizes):
        text = chr(97 + at % 26) * size
        assert heard.add(Kind.OUT, text.encode())
        whole += text
    kept = heard.end()
    assert not heard.add(Kind.OUT, b"too late")
    assert heard.end() == b""
    assert len(kept) < 700
    with contextlib.redirect_stdout(io.StringIO()) as stream:
        CapturedOutput(kept, SharedTable()).show()
    first, note, last = re.fullmatch(r"(.*?)(\n\[.*\]\n)?(\w*)", stream.getvalue(), re.DOTALL).groups()
    left = 0 if note is None else int(re.search(r"([\d,]+) bytes", note)[1].replace(",", ""))
    assert whole.startswith(first)
    assert whole.endswith(last)
    assert len(first) + left + len(last) == len(whole)


# Workers that end


@pytest.mark.parametrize("kind", ["forkserver", "fork", "pathos"])
@pytest.mark.parametrize("retries", [0, 2])
def test_what_a_killed_worker_has_said_is_shown_once(kind: str, retries: int) -> None:
    def func(value: int) -> int:
        print("value", value)
        if value == 7:
            logging.getLogger("some.where").error("about to go")
            os.kill(os.getpid(), signal.SIGKILL)
        return value

    with options_of(kind, 2) as options:
        par = pd.Series(range(20)).par(**options, chunk_size=10, retries=retries)
        found = told(lambda: par.map(func))
        assert found.result is WorkerDiedError
        assert sorted(found.out.splitlines()) == sorted(f"value {value}" for value in range(20))
        assert [one[2] for one in found.logged] == ["about to go"]
        found = told(lambda: par(errors="coerce").map(func))
        assert sorted(found.out.splitlines()) == sorted(f"value {value}" for value in range(20))


def test_what_a_call_that_takes_too_long_has_said() -> None:
    def func(value: int) -> int:
        print("value", value)
        if value == 3:
            threading.Event().wait(60)
        return value

    found = told(lambda: pd.Series(range(6)).par(engine="process", n_workers=1, timeout=0.5).map(func))
    assert found.result is CallTimeoutError
    assert sorted(found.out.splitlines()) == ["value 0", "value 1", "value 2", "value 3"]


def test_what_a_worker_of_an_executor_has_said_before_it_was_killed() -> None:
    def func(value: int) -> int:
        print("value", value)
        if value == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return value

    with options_of("executor fork") as options:
        found = told(lambda: pd.Series(range(6)).par(**options, chunk_size=6).map(func))
    assert found.result is WorkerDiedError
    assert found.out.splitlines() == ["value 0", "value 1", "value 2", "value 3"]


def test_what_is_said_while_the_function_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "speaking_module.py").write_text(
        "import os, warnings\n"
        "print('imported')\n"
        "warnings.warn('as every import')\n"
        "if os.environ.get('FAILS_WHEN_IMPORTED') not in (None, str(os.getpid())):\n"
        "    raise RuntimeError('no import')\n"
        "def func(value):\n"
        "    print('called', value)\n"
        "    return value\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        module = __import__("speaking_module")
    par = pd.Series([1]).par(engine="process", n_workers=1)
    pdparallel.shutdown()
    found = told(lambda: par.map(module.func), "error")
    assert (found.out, found.warned, found.result) == ("imported\ncalled 1\n", [], [1])
    pdparallel.shutdown()
    monkeypatch.setenv("FAILS_WHEN_IMPORTED", str(os.getpid()))
    found = told(lambda: par.map(module.func))
    # A module that cannot be imported is tried twice: to compare its code, and to load the function.
    assert (found.out, found.result) == ("imported\n" * 2, RuntimeError)


# Log records


class OfTwo:
    """An argument that cannot travel."""

    def __init__(self) -> None:
        self.lock = threading.Lock()

    def __str__(self) -> str:
        return "one of two"


def logs(value: int) -> tuple[bool, int]:
    logger = logging.getLogger("some.where.below")
    logger.error("value %s: %s", value, OfTwo())
    logger.warning("more", extra={"place": "here", "lock": (item for item in ()), "numbers": [1, 2]})
    try:
        raise KeyError(value)
    except KeyError:
        logger.exception("it failed")
    logger.debug("not made")
    logging.getLogger("quiet").warning("below its level")
    logging.getLogger().warning("of the root")
    return logger.isEnabledFor(logging.DEBUG), logging.getLogger("quiet").getEffectiveLevel()


@pytest.mark.parametrize("kind", NOT_HANDLED)
def test_records_come_to_the_loggers_here(kind: str) -> None:
    keep = Keep()
    formatter = logging.Formatter("%(name)s %(levelname)s %(message)s")
    logging.root.addHandler(keep)
    logging.getLogger("quiet").setLevel(logging.ERROR)
    try:
        with options_of(kind) as options, contextlib.redirect_stderr(io.StringIO()):
            par = pd.Series([4]).par(**options)
            expected = pd.Series([4]).map(logs)
            here, keep.records = keep.records, []
            assert par.map(logs).tolist() == expected.tolist()
            there, keep.records = keep.records, []
            logging.getLogger("some.where").setLevel(logging.DEBUG)
            assert par.map(logs).tolist() == [(True, logging.ERROR)]
            assert "not made" in [record.getMessage() for record in keep.records]
            logging.getLogger("some.where").setLevel(logging.NOTSET)
            assert par.map(logs).tolist() == expected.tolist()
    finally:
        logging.root.removeHandler(keep)
        for name in ("quiet", "some.where"):
            logging.getLogger(name).setLevel(logging.NOTSET)
    assert [formatter.format(record) for record in there] == [formatter.format(record) for record in here]
    assert "KeyError: 4" in formatter.format(there[2])
    more = there[1]
    assert (more.place, more.numbers) == ("here", [1, 2])
    assert "generator" in more.lock
    assert more.process != os.getpid()
    assert (more.lineno, more.funcName, more.pathname) == (here[1].lineno, "logs", here[1].pathname)


def test_a_record_whose_text_cannot_be_made(monkeypatch: pytest.MonkeyPatch) -> None:
    def func(value: int) -> int:
        logging.getLogger("some").error("%d", "no number")
        return value

    monkeypatch.setattr(logging.root, "handlers", [logging.NullHandler()])  # those of pytest raise
    found = told(lambda: pd.Series([1]).par(engine="process", n_workers=1).map(func))
    assert "--- Logging error ---" in found.err
    assert "%d format: a real number is required" in found.err
    assert (found.logged, found.result) == ([], [1])


@pytest.mark.parametrize("kind", ["fork", "executor fork", "forkserver"])
def test_a_handler_here_writes_each_record_once(kind: str, tmp_path: Path) -> None:
    handler = logging.FileHandler(tmp_path / "log")
    logging.root.addHandler(handler)
    try:
        pdparallel.shutdown()  # the workers are forks of a process with this handler
        with options_of(kind, 2) as options:
            pd.Series(range(6)).par(**options, chunk_size=2).map(logging.getLogger("some").warning)
    finally:
        logging.root.removeHandler(handler)
        handler.close()
    assert sorted((tmp_path / "log").read_text().split()) == list("012345")


def to_a_file(path: Path) -> None:
    handler = logging.FileHandler(path)
    handler.set_name("of the worker")
    logging.getLogger("some").addHandler(handler)


@pytest.mark.parametrize("kind", ["forkserver", "fork", "pathos"])
def test_a_handler_of_the_worker_takes_its_records(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "log"
    with options_of(kind) as options:
        par = pd.Series(range(3)).par(**options, initializer=to_a_file, initargs=(path,))
        found = told(lambda: par.map(logging.getLogger("some").warning))
    assert found.logged == []
    assert path.read_text().split() == list("012")
    pdparallel.shutdown()


def test_a_handler_that_raises_raises_as_in_pandas() -> None:
    class Raises(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise LookupError("no place for it")

    handler = Raises()
    logger = logging.getLogger("some.raising")
    logger.addHandler(handler)
    try:
        with pytest.raises(LookupError):
            pd.Series([1]).par(engine="process", n_workers=1).map(logger.warning)
    finally:
        logger.removeHandler(handler)


# Warnings


class OfTwoWarning(UserWarning):
    def __init__(self, one: str, two: str) -> None:
        super().__init__(f"{one} and {two}")


class LockedWarning(RuntimeWarning):
    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.lock = threading.Lock()


@pytest.mark.parametrize("kind", ["forkserver", "spawn", "fork", "unknown"])
def test_categories(kind: str) -> None:
    class OwnWarning(DeprecationWarning):
        pass

    class OwnOfTwoWarning(FutureWarning):
        def __init__(self, one: str, two: str) -> None:
            super().__init__(f"{one} and {two}")
            self.lock = threading.Lock()

    def func(value: int) -> None:
        warnings.warn("of the main script", OwnWarning, stacklevel=1)
        warnings.warn(OfTwoWarning("a", "b"), stacklevel=1)
        warnings.warn(LockedWarning("locked"), stacklevel=1)
        warnings.warn(OwnOfTwoWarning("c", "d"), stacklevel=1)
        warnings.warn_explicit("elsewhere", ImportWarning, "some.txt", 7)
        pd.Series([1.0]).to_numpy() / 0
        print("done")

    with options_of(kind) as options:
        for filtered in ((), (OwnWarning,)):

            def call(map: Any, filtered: Any = filtered) -> Any:
                for category in filtered:
                    warnings.simplefilter("error", category)
                return map(func)

            s = pd.Series([1, 2])
            expected = told(lambda call=call: call(s.map), "always")
            found = told(lambda call=call: call(s.par(**options, chunk_size=1).map), "always")
            # What can be rebuilt neither from its state nor from its text is a warning of the nearest kind.
            nearest = {OfTwoWarning: UserWarning, OwnOfTwoWarning: FutureWarning}
            fallen = [(nearest.get(category, category), *rest) for category, *rest in expected.warned]
            assert [(nearest.get(category, category), *rest) for category, *rest in found.warned] == fallen
            assert found.out == expected.out
            assert found.result == expected.result
        assert found.result is OwnWarning


@pytest.mark.parametrize("kind", SOME)
def test_filters_of_the_function_itself(kind: str) -> None:
    def func(value: int) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.warn("in any case", UserWarning, stacklevel=1)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.warn("in no case", UserWarning, stacklevel=1)
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            warnings.warn("for itself", UserWarning, stacklevel=1)
        print(len(seen))

    s = pd.Series([1, 2, 3])
    with options_of(kind) as options:
        for action in ("default", "ignore", "error"):
            expected = told(lambda: s.map(func), action)
            assert told(lambda: s.par(**options, chunk_size=2).map(func), action) == expected
    assert len(expected.warned) == 3


def test_a_filter_for_the_module_and_the_message() -> None:
    def func(value: int) -> None:
        warnings.warn(f"message {value}", UserWarning, stacklevel=1)

    def filtered(call: Callable[[], Any]) -> Any:
        warnings.filterwarnings("ignore", module="no.such.module")
        warnings.filterwarnings("ignore", message="MESSAGE 1", module=re.escape(__name__))
        warnings.filterwarnings("error", message="message 2", category=UserWarning)
        return call()

    s = pd.Series([0, 1, 3])
    par = s.par(engine="process", n_workers=1, chunk_size=1)
    expected = told(lambda: filtered(lambda: s.map(func)))
    assert told(lambda: filtered(lambda: par.map(func))) == expected
    assert [one[1] for one in expected.warned] == ["message 0", "message 3"]
    assert told(lambda: filtered(lambda: (s - 1).par(engine="process").map(func))).result is UserWarning


def test_a_warning_at_who_calls_the_function_is_at_the_line_of_the_call() -> None:
    def func(value: int) -> None:
        warnings.warn("look who calls", UserWarning, stacklevel=2)

    par = pd.Series(range(4)).par(engine="process", n_workers=2, chunk_size=1)
    line = sys._getframe().f_lineno + 2
    with pytest.warns(UserWarning, match="look who calls") as seen:
        par.map(func)
    assert {(one.filename, one.lineno) for one in seen} == {(__file__, line)}


def test_warnings_that_are_logged() -> None:
    logging.captureWarnings(True)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("default")
            keep = Keep()
            logging.getLogger("py.warnings").addHandler(keep)
            pd.Series([1, 2]).par(engine="process", n_workers=2, chunk_size=1).map(
                lambda value: warnings.warn("into the log", UserWarning, stacklevel=1)
            )
    finally:
        logging.captureWarnings(False)
        logging.getLogger("py.warnings").removeHandler(keep)
    assert ["UserWarning: into the log" in record.getMessage() for record in keep.records] == [True]


def test_once_a_line_over_several_calls() -> None:
    def func(value: int) -> None:
        warnings.warn("as often as in pandas", UserWarning, stacklevel=1)

    s = pd.Series(range(4))

    def twice(map: Any) -> None:
        map(func)
        map(func)

    par = s.par(engine="process", n_workers=2, chunk_size=1)
    assert told(lambda: twice(par.map)).warned == told(lambda: twice(s.map)).warned


# What is left


def hooks(_: Any = None) -> tuple[Any, ...]:
    streams = [type(stream).__module__ for stream in (sys.stdout, sys.stderr)]
    return (*streams, logging.Logger.callHandlers.__module__, warnings.showwarning.__module__, list(warnings.filters))


def does_much_harm(value: int) -> None:
    sys.stdout, sys.stderr = io.StringIO(), None
    logging.Logger.callHandlers = lambda self, record: None
    warnings.showwarning = lambda *args, **kwargs: None
    warnings.simplefilter("always")


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_worker_of_others_is_as_before(method: str) -> None:
    with _pool(method, 1) as executor:
        before = executor.submit(hooks).result()
        par = pd.Series([1, 2]).par(engine=executor, chunk_size=1)
        inside = par.map(hooks)[0]
        assert inside[0].startswith("pdparallel.worker")
        assert executor.submit(hooks).result() == before
        par.map(does_much_harm)
        assert executor.submit(hooks).result() == before
        assert par.map(hooks)[0] == inside


def test_this_process_is_as_before() -> None:
    before = hooks(), sys.stdout, sys.stderr, logging.root.handlers[:]
    told(lambda: DF.par(engine="process", n_workers=2, chunk_size=3).apply_rows(speaks))
    told(lambda: DF.par(engine="thread", n_workers=2, chunk_size=3).apply_rows(speaks))
    assert (hooks(), sys.stdout, sys.stderr, logging.root.handlers[:]) == before


def test_a_thread_of_others_in_a_worker_of_others_is_not_heard(tmp_path: Path) -> None:
    path = tmp_path / "prints"
    path.touch()
    with _pool("fork", 1) as executor:
        executor.submit(begin_to_print, path).result()
        found = told(lambda: pd.Series([0]).par(engine=executor).map(waits_for_prints))
    assert found.out == "mine\n"


_printing = threading.Event()
_printed = threading.Event()


def begin_to_print(path: Path) -> None:
    sys.stdout = open(path, "w")  # noqa: SIM115 - for the life of the worker

    def run() -> None:
        _printing.wait(60)
        print("not of the function")
        _printed.set()

    threading.Thread(target=run, daemon=True).start()


def waits_for_prints(value: int) -> None:
    _printing.set()
    assert _printed.wait(60)
    print("mine")


def test_a_child_of_a_worker_says_nothing_here() -> None:
    def func(value: int) -> int:
        print("before")
        pid = os.fork()
        if pid == 0:
            sys.stdout.write("of the child")
            os._exit(0)
        os.waitpid(pid, 0)
        print("after")
        return value

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        found = told(lambda: pd.Series([1]).par(engine="process", n_workers=1).map(func))
    assert found.out == "before\nafter\n"


def test_frames_of_some_units() -> None:
    data = b"".join(captured_output._HEAD.pack(Kind.OUT, unit, 2) + f"{unit}\n".encode() for unit in (1, 1, 2, 3))
    with contextlib.redirect_stdout(io.StringIO()) as stream:
        CapturedOutput(data, SharedTable()).show(Chunk(1, 3))
    assert stream.getvalue() == "1\n1\n2\n"


# Above a bar, and in a notebook


class _Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_lines_stand_above_the_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    screen = _Screen()
    with contextlib.redirect_stderr(screen), contextlib.redirect_stdout(screen):
        par = pd.Series(range(6)).par(engine="process", n_workers=1, chunk_size=1, progress="text")
        par.map(lambda value: print("line", value))
    assert "6/6" in screen.getvalue()
    for value in range(1, 6):
        # The bar was wiped out, and the line begins where it began.
        assert re.search(rf"[\r\n]line {value}\n", screen.getvalue()), screen.getvalue()


def _logs(value: int) -> None:
    logging.getLogger("above").warning("line %d", value)


def _warns(value: int) -> None:
    warnings.warn(f"line {value}", UserWarning, stacklevel=1)


@pytest.mark.parametrize("tells", [_logs, _warns])
def test_records_and_warnings_stand_above_the_bar(
    tells: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    screen = _Screen()
    with contextlib.redirect_stderr(screen), warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = lambda message, *_args, **_kwargs: print(message, file=sys.stderr)
        handler = logging.StreamHandler(screen)
        logging.getLogger("above").addHandler(handler)
        try:
            pd.Series(range(6)).par(engine="process", n_workers=1, chunk_size=1, progress="text").map(tells)
        finally:
            logging.getLogger("above").removeHandler(handler)
    assert "6/6" in screen.getvalue()
    for value in range(6):
        assert re.search(rf"[\r\n]line {value}\n", screen.getvalue()), screen.getvalue()


NOTEBOOK = """
import logging, sys, time, warnings
import pandas as pd, pdparallel
logging.basicConfig(format="%(name)s: %(message)s", stream=sys.stdout)

class DataWarning(UserWarning):
    pass

def func(value):
    print("value", value)
    print("other", value, file=sys.stderr)
    logging.getLogger("cell").warning("logged %d", value)
    if value == 2:
        warnings.warn("an odd value", DataWarning)
    return value

par = pd.Series(range(4)).par(engine="process", n_workers=1, chunk_size=2)
"""


def test_in_the_cell_of_a_notebook(tmp_path: Path) -> None:
    jupyter_client = pytest.importorskip("jupyter_client", reason="jupyter_client is not installed")
    pytest.importorskip("ipykernel", reason="ipykernel is not installed")
    manager = jupyter_client.KernelManager(kernel_name="python3")
    root = str(Path(pdparallel.__file__).parents[1])
    env = {key: value for key, value in os.environ.items() if not key.startswith("PDPARALLEL_")}
    env |= {"PYTHONPATH": root, "JUPYTER_RUNTIME_DIR": str(tmp_path), "IPYTHONDIR": str(tmp_path / "ipython")}
    manager.start_kernel(env=env, cwd=str(tmp_path))
    client = manager.client()
    client.start_channels()
    shown: dict[str, str] = {}

    def run(code: str) -> dict[str, str]:
        shown.clear()

        def keep(message: dict[str, Any]) -> None:
            content = message["content"]
            if message["msg_type"] == "stream":
                shown[content["name"]] = shown.get(content["name"], "") + content["text"]
            elif message["msg_type"] == "error":
                shown["error"] = content["ename"]

        client.execute_interactive(code, output_hook=keep, timeout=100)
        return shown.copy()

    try:
        client.wait_for_ready(timeout=60)
        assert run(NOTEBOOK) == {}
        found = run("result = par.map(func)")
        assert found["stdout"] == "".join(f"value {value}\ncell: logged {value}\n" for value in range(4))
        others, warned = found["stderr"].split("other 2\n")
        assert others == "other 0\nother 1\n"
        assert "DataWarning: an odd value" in warned
        assert 'warnings.warn("an odd value", DataWarning)' in warned
        assert warned.rstrip().endswith("other 3")
        assert run('warnings.simplefilter("error", DataWarning)\nresult = par.map(func)')["error"] == "DataWarning"
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    deadline = time.monotonic() + 10
    while manager.is_alive() and time.monotonic() < deadline:
        time.sleep(0.05)
