"""Tracebacks: no frame of the package stands between the user's line and the message, on any engine."""

from __future__ import annotations

import asyncio
import inspect
import subprocess
import sys
import threading
import traceback
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import pdparallel
from pdparallel import InvalidOptionError, WorkerDiedError
from pdparallel.core.tracebacks import trim_tracebacks, users_part
from pdparallel.operations import apply
from pdparallel.testing import saboteurs

N = 30
DF = pd.DataFrame({"a": range(N), "k": [at % 3 for at in range(N)]}, index=[f"r{at}" for at in range(N)])
OWN = str(Path(pdparallel.__file__).parent)

#: A worker has no frames of this process: in a stall, too, "auto" is to stay here.
pytestmark = pytest.mark.usefixtures("no_rest_is_worth_it")

engines = pytest.mark.parametrize("engine", ["serial", "thread", "process", "auto"])


def frames(error: BaseException) -> list[traceback.FrameSummary]:
    return list(traceback.extract_tb(error.__traceback__))


def own(error: BaseException) -> list[str]:
    return [
        f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames(error) if frame.filename.startswith(OWN)
    ]


def files(error: BaseException) -> list[str]:
    """The file of each frame, once for frames that follow each other."""
    found = [frame.filename for frame in frames(error)]
    return [file for at, file in enumerate(found) if not at or file != found[at - 1]]


def raised(call: Callable[[], Any]) -> BaseException:
    with pytest.raises(BaseException) as caught:  # noqa: PT011 - each kind is looked at
        call()
    return caught.value


def ratio(value: int) -> float:
    return 1 / (int(value) - 20)


def of_row(row: Any) -> float:
    return ratio(row["a"])


def of_group(group: Any) -> float:
    return ratio(20 if group.iloc[0] else 1)


def chunk_fails(chunk: Any) -> Any:
    return ratio(20)


#: A call for each way into the package, with a function that raises.
WAYS: dict[str, Callable[[Any], Any]] = {
    "apply_rows": lambda par: par.apply_rows(of_row),
    "apply_rows, tuples": lambda par: par.apply_rows(lambda row: ratio(row[0]), rows="tuple"),
    "apply": lambda par: par.apply(of_row, axis=1),
    "apply_cols": lambda par: par.apply_cols(lambda column: ratio(20)),
    "apply_chunks": lambda par: par.apply_chunks(chunk_fails),
    "iter_chunks": lambda par: list(par.iter_chunks(chunk_fails)),
    "map": lambda par: par.map(ratio),
    "groupby.apply": lambda par: par.groupby("k")["a"].apply(of_group),
    "groupby.agg": lambda par: par.groupby("k")["a"].agg(of_group),
    "groupby.filter": lambda par: par.groupby("k").filter(lambda group: ratio(20)),
    "rolling.apply": lambda par: par.rolling(2).apply(lambda window: ratio(20)),
    "background": lambda par: par.background.apply_rows(of_row).result(),
}


@engines
@pytest.mark.parametrize("way", WAYS)
def test_no_frame_of_ours_is_shown(way: str, engine: str) -> None:
    error = raised(lambda: WAYS[way](DF.par(engine=engine, n_workers=2)))
    assert type(error) is ZeroDivisionError
    assert own(error) == []
    assert frames(error)[0].filename == __file__
    # The lines of the function are there: as frames, or in the text of the worker's traceback.
    shown = "".join(traceback.format_exception(error))
    assert "return 1 / (int(value) - 20)" in shown


@engines
def test_the_lines_from_the_call_to_the_message(engine: str) -> None:
    """Between the user's call and the message stand the user's lines, and nothing else."""
    error = raised(lambda: DF.par(engine=engine, n_workers=2).apply_rows(of_row))
    assert files(error) == [__file__]
    names = [frame.name for frame in frames(error)]
    below = [] if engine == "process" else ["of_row", "ratio"]
    assert names == ["raised", "<lambda>", *below]
    assert error.__notes__ == ["pdparallel: apply_rows, in row 'r20' (position 20)"]


@engines
def test_a_function_of_c_has_no_lines(engine: str) -> None:
    error = raised(lambda: pd.Series(["1", "x"]).par(engine=engine, n_workers=2).map(int))
    assert files(error) == [__file__]


@engines
def test_frames_of_pandas_stay_where_pandas_raises(engine: str) -> None:
    error = raised(lambda: DF.par(engine=engine, n_workers=2).apply_rows(lambda row: row["b"]))
    assert type(error) is KeyError
    assert own(error) == []
    shown = "".join(traceback.format_exception(error))
    assert "get_loc" in shown


def test_pandas_refuses_what_it_is_given() -> None:
    error = raised(lambda: DF.par.groupby("nothing"))
    assert type(error) is KeyError
    assert own(error) == []
    assert any("pandas" in file for file in files(error))


@pytest.mark.parametrize(
    "call",
    [
        lambda: DF.par(chunk_size=0),
        lambda: DF.par.apply_rows(3),
        lambda: DF.par.apply_rows(of_row, rows="none"),
        lambda: pdparallel.map(3, [1]),
        lambda: pdparallel.imap(3, [1]),
        lambda: pdparallel.set_options(chunk_size=0),
        lambda: pdparallel.option_context(chunk_size=0),
        lambda: pdparallel.engine(chunk_size=0),
        lambda: pdparallel.accelerate(chunk_size=0),
        lambda: pdparallel.par(3),
        lambda: DF.par.background.apply_rows(3),
        lambda: DF.par.background(chunk_size=0),
    ],
)
def test_a_mistake_shows_the_users_line_only(call: Callable[[], Any]) -> None:
    error = raised(call)
    assert isinstance(error, InvalidOptionError)
    assert files(error) == [__file__]


@pytest.mark.parametrize(
    ("call", "kind"),
    [
        (lambda: DF.par.applyrows, AttributeError),
        (lambda: DF["a"].par.mapp, AttributeError),
        (lambda: DF.par.background.applyrows, AttributeError),
        (lambda: DF.par.groupby("k").aply, AttributeError),
        (lambda: DF.par.rolling(2).aply, AttributeError),
        (lambda: DF.par["a"], TypeError),
        (lambda: DF.par.groupby("k")["b"], KeyError),
    ],
)
def test_a_wrong_name_shows_the_users_line_only(call: Callable[[], Any], kind: type[Exception]) -> None:
    error = raised(call)
    assert type(error) is kind
    assert own(error) == []


def test_missing_arguments() -> None:
    error = raised(lambda: DF.par.apply_rows())
    assert type(error) is TypeError
    assert files(error) == [__file__]


def test_a_worker_that_dies() -> None:
    error = raised(lambda: DF["a"].par(engine="process", n_workers=2, retries=0).map(saboteurs.ends(code=3)))
    assert isinstance(error, WorkerDiedError)
    assert files(error) == [__file__]


def test_an_interrupt_shows_no_line_that_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*args: Any) -> None:
        raise KeyboardInterrupt

    of_python = types.FunctionType(interrupted.__code__.replace(co_filename=threading.__file__), {})
    error = raised(lambda: DF["a"].par(engine="serial").map(of_python))
    assert files(error) == [__file__, threading.__file__]  # the user's function
    monkeypatch.setattr(apply, "goes_to_pandas", of_python)
    error = raised(lambda: DF.par.apply_rows(of_row))
    assert type(error) is KeyboardInterrupt
    assert files(error) == [__file__]


def test_old_code_with_accelerate() -> None:
    with pdparallel.accelerate():
        error = raised(lambda: DF.apply(of_row, axis=1))
        assert files(error) == [__file__]
        error = raised(lambda: DF.apply("nothing"))  # pandas' own, which comes by here
    assert own(error) == []


@pytest.mark.skipif(not hasattr(pd.api, "executors"), reason="pandas 2 has no engine= of others")
def test_the_engine_of_pandas() -> None:
    error = raised(lambda: DF.apply(of_row, axis=1, engine=pdparallel.engine(n_workers=1)))
    assert own(error) == []


def test_a_future_shows_the_same_lines_each_time() -> None:
    future = DF.par.background.apply_rows(of_row)
    first, second = raised(future.result), raised(future.result)
    assert second is first
    assert [frame.name for frame in frames(second)] == ["raised", "of_row", "ratio"]


def test_awaited() -> None:
    async def main() -> None:
        await DF.par.background.apply_rows(of_row)

    error = raised(lambda: asyncio.run(main()))
    assert own(error) == []
    assert "ratio" in [frame.name for frame in frames(error)]


def test_a_function_of_an_odd_module() -> None:
    odd = types.FunctionType(ratio.__code__, {"__name__": 7, "__builtins__": __builtins__})
    assert type(raised(lambda: DF["a"].par.map(odd))) is ZeroDivisionError


def test_errors_in_a_circle() -> None:
    first, second = ValueError("first"), ValueError("second")
    first.__cause__, second.__cause__ = second, first

    def circle(value: object) -> None:
        raise first

    assert own(raised(lambda: DF["a"].par(engine="thread").map(circle))) == []


def test_very_deep_recursion() -> None:
    def deeper(value: int) -> int:
        return deeper(value + 1)

    error = raised(lambda: DF["a"].par(engine="serial").map(deeper))
    assert type(error) is RecursionError
    assert own(error) == []


# Where ours are needed


def test_a_fault_of_ours_shows_all_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: Any) -> None:
        raise ZeroDivisionError("a mistake of ours")

    in_our_module = types.FunctionType(broken.__code__, {**vars(apply)})
    monkeypatch.setattr(apply, "goes_to_pandas", in_our_module)
    error = raised(lambda: DF.par.apply_rows(of_row))
    assert any("apply.py" in line for line in own(error))


def test_what_python_raises_in_our_lines_is_a_fault_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apply, "goes_to_pandas", int.__add__)
    error = raised(lambda: DF.par.apply_rows(of_row))
    assert type(error) is TypeError
    assert any("apply.py" in line for line in own(error))


@pytest.mark.parametrize(("value", "is_full"), [("1", True), ("true", True), ("0", False), ("", False)])
def test_the_variable_that_shows_all(value: str, is_full: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PDPARALLEL_FULL_TRACEBACKS", value)
    for call in (lambda: DF.par(chunk_size=0), lambda: DF.par(engine="thread").apply_rows(of_row)):
        assert bool(own(raised(call))) is is_full
    future = DF.par.background.apply_rows(of_row)
    assert bool(own(raised(future.result))) is is_full


def test_causes_are_trimmed_too() -> None:
    numbers = (number for number in [1])
    error = raised(lambda: DF["a"].par(engine="process").map(lambda value, numbers: value, numbers=numbers))
    assert isinstance(error, pdparallel.FunctionNotSerializableError)
    cause: BaseException | None = error
    while cause is not None:
        assert own(cause) == []
        cause = cause.__cause__


# How


def test_a_bare_raise_puts_no_frame_back() -> None:
    """What the whole file rests upon, of each Python that runs it."""

    def inner() -> None:
        try:
            raise LookupError
        except LookupError as error:
            error.__traceback__ = None
            raise

    assert [frame.name for frame in frames(raised(inner))] == ["raised"]


def test_decorated_functions_keep_what_is_read_of_them() -> None:
    @trim_tracebacks
    def add(left: int, right: int = 1) -> int:
        """Add."""
        return left + right

    assert add(1) == 2
    assert (add.__name__, add.__doc__) == ("add", "Add.")
    assert str(inspect.signature(add)) == "(left: 'int', right: 'int' = 1) -> 'int'"


def test_the_users_part_of_no_traceback() -> None:
    assert users_part(None) is None


IN_IPYTHON = """
from IPython.core.interactiveshell import InteractiveShell

FIRST = '''import pandas as pd, pdparallel
df = pd.DataFrame({{"a": range(30)}})
def ratio(row):
    return 1 / (int(row["a"]) - 20)'''
shell = InteractiveShell.instance()
shell.run_line_magic("colors", "NoColor")
shell.run_cell(FIRST)
shell.run_cell("df.par(engine={engine!r}, n_workers=2).apply_rows(ratio)")
"""


@engines
def test_ipython_shows_the_cell_and_the_function(engine: str) -> None:
    pytest.importorskip("IPython")
    code = IN_IPYTHON.format(engine=engine)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100, check=False)
    lines = done.stdout.splitlines()
    assert "apply_rows(ratio)" in done.stdout, done.stdout + done.stderr
    assert "pdparallel: apply_rows, in row 20 (position 20)" in done.stdout
    assert not [line for line in lines if "pdparallel/" in line.replace("\\", "/")], done.stdout
    assert "hidden" not in done.stdout
