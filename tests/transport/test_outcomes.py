"""Outcomes: what func raises arrives as itself, and what cannot travel back is an error that says where and what."""

from __future__ import annotations

import copyreg
import pickle
import sys
import textwrap
import threading
from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest

from pdparallel import RemoteError, ResultNotSerializableError
from pdparallel.core.chunking import Chunk
from pdparallel.core.outcome import Failure, Outcome
from pdparallel.transport.outcomes import decode_outcome, encode_outcome
from pdparallel.transport.shared_classes import SharedTable

ENGINES = ["process", "pathos"]


def main_script(source: str) -> dict[str, Any]:
    """The globals of a main script with that text."""
    namespace: dict[str, Any] = {"__name__": "__main__", "__builtins__": __builtins__}
    exec(compile(textwrap.dedent(source), "<main script>", "exec", dont_inherit=True), namespace)
    return namespace


def raised_by(func: Callable[[Any], Any], engine: str = "process") -> BaseException:
    frame = pd.DataFrame({"a": [1, 2, 3, 4]}, index=list("wxyz"))
    with pytest.raises(BaseException) as caught:  # noqa: PT011 - the tests look at it
        frame.par(engine=engine, n_workers=2, chunk_size=2).apply_rows(func)
    return caught.value


def there_and_back(exception: BaseException) -> Failure:
    """The failure after a journey within this process."""
    data = encode_outcome(Outcome(Chunk(4, 6), [1], Failure(1, exception)), SharedTable())
    outcome = decode_outcome(data, SharedTable())
    assert (outcome.chunk, list(outcome.returns)) == (Chunk(4, 6), [1])
    assert outcome.failure is not None
    assert outcome.failure.offset == 1
    return outcome.failure


# Exceptions arrive as themselves

EXCEPTIONS = {
    "two arguments": """
        class MyError(Exception):
            def __init__(self, code, detail):
                super().__init__(f"{code}: {detail}")
                self.code, self.detail = code, detail
        def make():
            return MyError(7, "detail")
    """,
    "a message that is made of the arguments": """
        class MyError(Exception):
            def __init__(self, message, code=0):
                super().__init__(f"[{code}] {message}")
                self.code = code
        def make():
            return MyError("message", code=7)
    """,
    "keyword-only": """
        class MyError(ValueError):
            def __init__(self, *, code):
                super().__init__("code", code)
                self.code = code
        def make():
            return MyError(code=7)
    """,
    "no call of the base": """
        class MyError(Exception):
            def __init__(self, code, detail):
                self.code = code
        def make():
            return MyError(7, "detail")
    """,
    "of OSError": """
        class MyError(OSError):
            def __init__(self, path):
                super().__init__(2, "no such thing", path)
                self.code = 7
        def make():
            return MyError("a/b")
    """,
    "of KeyError, inherited": """
        class Base(KeyError):
            def __init__(self, key, place):
                super().__init__(key)
                self.place = place
        class MyError(Base):
            code = 7
        def make():
            return MyError("k", "here")
    """,
    "of StopIteration": """
        class MyError(StopIteration):
            def __init__(self, value, code):
                super().__init__(value)
                self.code = code
        def make():
            return MyError(5, 7)
    """,
    "of SystemExit": """
        class MyError(SystemExit):
            def __init__(self, first, second):
                super().__init__(first + second)
        def make():
            return MyError(3, 4)
    """,
    "its own __reduce__": """
        class MyError(Exception):
            def __init__(self, code, detail):
                super().__init__("reduced")
                self.code = code
            def __reduce__(self):
                return MyError, (self.code, "detail")
        def make():
            return MyError(7, "detail")
    """,
    "plain": """
        class MyError(Exception):
            code = 7
        def make():
            error = MyError("a", 1)
            error.extra = [1]
            error.add_note("the user's note")
            return error
    """,
}


@pytest.mark.parametrize("case", EXCEPTIONS)
def test_an_exception_of_the_main_script_is_caught_by_its_class(case: str) -> None:
    main = main_script(EXCEPTIONS[case] + "\n        def func(row):\n            raise make()\n")
    error, original = raised_by(main["func"]), main["make"]()
    assert type(error) is main["MyError"]
    assert error.args == original.args
    assert str(error) == str(original)
    ours = {key: value for key, value in vars(error).items() if key != "__notes__"}
    assert ours == {key: value for key, value in vars(original).items() if key != "__notes__"}
    assert getattr(error, "__notes__", []) == [
        *getattr(original, "__notes__", []),
        "pdparallel: apply_rows, in row 'w' (position 0)",
    ]
    for name in ("errno", "filename", "value", "code"):
        assert getattr(error, name, None) == getattr(original, name, None)


@pytest.mark.parametrize("engine", ENGINES)
def test_the_first_failing_position_its_traceback_and_its_note(engine: str) -> None:
    def check(x: int) -> int:
        if x >= 2:
            raise LookupError(f"no {x}")  # the user's line
        return x

    error = raised_by(lambda row: check(int(row["a"])), engine)
    assert type(error) is LookupError
    assert error.args == ("no 2",)
    assert error.__notes__ == ["pdparallel: apply_rows, in row 'x' (position 1)"]
    text = str(error.__cause__)
    assert 'raise LookupError(f"no {x}")  # the user\'s line' in text
    assert "in check" in text
    assert "in <lambda>" in text
    assert "pandas" not in text
    assert "visit" not in text


@pytest.mark.parametrize(
    "original",
    [
        KeyError("k"),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"),
        SyntaxError("bad", ("file", 1, 2, "text")),
        FileNotFoundError(2, "none", "path"),
        ImportError("no", name="module"),
        SystemExit(5),
        KeyboardInterrupt(),
        GeneratorExit(),
        StopIteration(3),
        MemoryError(),
        RecursionError("deep"),
        pd.errors.OutOfBoundsDatetime("out"),
        ExceptionGroup("group", [ValueError(1), ExceptionGroup("inner", [KeyError("k")])]),
        BaseExceptionGroup("group", [KeyboardInterrupt()]),
    ],
    ids=lambda original: type(original).__name__,
)
@pytest.mark.parametrize("others", ["", "tblib"])
def test_builtin_exceptions(original: BaseException, others: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if others:  # as it is where Dask was imported
        told = pytest.importorskip("tblib.pickling_support").pickle_exception
        monkeypatch.setitem(copyreg.dispatch_table, type(original), told)

    def func(row: Any) -> Any:
        raise original

    error = raised_by(func)
    assert type(error) is type(original)
    assert str(error) == str(original)
    assert repr(error) == repr(original)
    for name in ("name", "start", "reason", "lineno", "text", "filename", "value", "code"):
        assert getattr(error, name, None) == getattr(original, name, None)


def test_a_group_of_exceptions_of_the_main_script() -> None:
    main = main_script(EXCEPTIONS["two arguments"])
    make = main["make"]

    def func(row: Any) -> Any:
        raise ExceptionGroup("several", [make(), KeyError("k")])

    error = raised_by(func)
    assert isinstance(error, ExceptionGroup)
    inner = error.exceptions
    assert [type(one) for one in inner] == [main["MyError"], KeyError]
    assert inner[0].code == 7  # type: ignore[attr-defined]


def test_a_chain_of_causes_stands_in_the_text() -> None:
    def func(row: Any) -> Any:
        try:
            try:
                {}["missing key"]
            except KeyError:
                raise ValueError("while handling")  # noqa: B904 - the implicit chain is what is tested
        except ValueError as error:
            raise RuntimeError("at last") from error

    error = raised_by(func)
    assert type(error) is RuntimeError
    text = str(error.__cause__)
    assert text.index("missing key") < text.index("while handling") < text.index("at last")
    assert "direct cause" in text


def test_the_traceback_of_a_deep_recursion_arrives() -> None:
    def func(x: Any) -> Any:
        return func(x) + 1

    error = raised_by(func)
    assert type(error) is RecursionError
    assert "more times" in str(error.__cause__)


# What cannot be rebuilt

REMOTE = {
    "__reduce__ that raises": """
        class MyError(Exception):
            def __reduce__(self):
                raise RuntimeError("I stay here")
        def make():
            return MyError("the message")
    """,
    "__reduce__ that makes something else": """
        class MyError(Exception):
            def __reduce__(self):
                return str, ("the message",)
        def make():
            return MyError("the message")
    """,
    "an attribute that cannot travel": """
        class MyError(Exception):
            pass
        def make():
            error = MyError("the message")
            error.rows = (x for x in [1])
            return error
    """,
    "an argument that cannot travel": """
        class MyError(Exception):
            def __str__(self):
                return "the message"
        def make():
            return MyError((x for x in [1]))
    """,
    "__setstate__ that raises": """
        class MyError(Exception):
            def __setstate__(self, state):
                raise RuntimeError("I stay here")
        def make():
            error = MyError("the message")
            error.code = 1
            return error
    """,
}


@pytest.mark.parametrize("case", REMOTE)
def test_an_exception_that_cannot_be_rebuilt(case: str) -> None:
    main = main_script(REMOTE[case] + "\n        def func(row):\n            raise make()\n")
    error = raised_by(main["func"])
    assert isinstance(error, RemoteError)
    assert error.type_name == "__main__.MyError"
    assert str(error) == "__main__.MyError: the message (pickle cannot copy this exception)"
    assert "in func" in error.traceback_text
    assert "MyError: the message" in error.traceback_text
    assert str(error.__cause__) == f"in a worker process\n\n{error.traceback_text.rstrip()}"
    assert error.__notes__ == ["pdparallel: apply_rows, in row 'w' (position 0)"]
    again = pickle.loads(pickle.dumps(error))
    assert (again.type_name, again.traceback_text, str(again)) == (error.type_name, error.traceback_text, str(error))


def test_an_exception_whose_text_raises() -> None:
    main = main_script(
        """
        class MyError(Exception):
            def __str__(self):
                raise RuntimeError("no text")
        class Both(MyError):
            def __reduce__(self):
                raise RuntimeError("I stay here")
        def func(row):
            raise (MyError if row["a"] == 1 else Both)()
        """
    )
    assert type(raised_by(main["func"])) is main["MyError"]
    frame = pd.DataFrame({"a": [2]})
    with pytest.raises(RemoteError, match=r"__main__\.Both: <its text raised RuntimeError>"):
        frame.par(engine="process", n_workers=2).apply_rows(main["func"])


def test_an_exception_that_is_rebuilt_there_but_not_here(monkeypatch: pytest.MonkeyPatch) -> None:
    class Odd(Exception):  # noqa: N818
        pass

    import types

    module = types.ModuleType("parent_has_not")
    module.__spec__ = pickle.__spec__  # looks importable
    module.Odd = Odd  # type: ignore[attr-defined]
    Odd.__module__, Odd.__qualname__ = "parent_has_not", "Odd"
    monkeypatch.setitem(sys.modules, "parent_has_not", module)
    data = encode_outcome(Outcome(Chunk(0, 1), [], Failure(0, Odd("the message"))), SharedTable())
    monkeypatch.delitem(sys.modules, "parent_has_not")
    failure = decode_outcome(data, SharedTable()).failure
    assert failure is not None
    assert isinstance(failure.exception, RemoteError)
    assert str(failure.exception).startswith("parent_has_not.Odd: the message (it could not be rebuilt here: ModuleNot")


# Results


def returns_a_generator(x: int) -> Any:
    return (y for y in [x])


def returns_a_thread(x: int) -> Any:
    return threading.current_thread()


def returns_an_open_file(x: int) -> Any:
    return sys.stdin if x < 3 else open("/dev/null")


def returns_a_deep_one(x: int) -> Any:
    return [{"key": (y for y in [x])}]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("func", "kind"),
    [
        (returns_a_generator, "generator"),
        (returns_a_thread, "threading._MainThread"),
        (returns_an_open_file, "_io.TextIOWrapper"),
        (returns_a_deep_one, "list"),
    ],
)
def test_a_result_that_cannot_travel_is_named(func: Any, kind: str, engine: str) -> None:
    values = pd.Series([1, 2, 3, 4], index=list("wxyz"))
    with pytest.raises(ResultNotSerializableError) as caught:
        values.par(engine=engine, n_workers=2, chunk_size=2).map(lambda x: func(x) if x >= 3 else x)
    assert f"returned a {kind}, which cannot be sent" in str(caught.value)
    assert caught.value.__notes__ == ["pdparallel: map, in value 'y' (position 2)"]
    assert isinstance(caught.value, TypeError)


def test_a_result_that_cannot_be_rebuilt_here() -> None:
    main = main_script(
        """
        import os
        def rebuild(parent):
            if os.getpid() == parent:
                raise LookupError("not here")
            return 1
        class Odd:
            def __init__(self, parent):
                self.parent = parent
            def __reduce__(self):
                return rebuild, (self.parent,)
        parent = os.getpid()
        def func(x):
            return Odd(parent) if x == 3 else x
        """
    )
    with pytest.raises(
        ResultNotSerializableError, match=r"positions 2 to 3 could not be rebuilt .*: not here"
    ) as caught:
        pd.Series([1, 2, 3, 4]).par(engine="process", n_workers=2, chunk_size=2).map(main["func"])
    assert isinstance(caught.value.__cause__, LookupError)


def test_results_that_dill_takes() -> None:
    result = pd.Series([1, 2]).par(engine="process", n_workers=2).map(lambda x: (lambda: x, threading.Lock(), (x, [x])))
    assert [call() for call, _, _ in result] == [1, 2]
    assert [lock.acquire(blocking=False) for _, lock, _ in result] == [True, True]


def test_exceptions_as_results_are_results() -> None:
    main = main_script(EXCEPTIONS["two arguments"])
    make = main["make"]
    result = pd.Series([1, 2]).par(engine="process", n_workers=2).map(lambda x: make())
    assert [(type(error), error.code) for error in result] == [(main["MyError"], 7)] * 2


def test_the_returns_before_a_failure_arrive_with_it() -> None:
    failure = there_and_back(ValueError("x"))
    assert type(failure.exception) is ValueError
    assert "ValueError: x" in failure.traceback_text


def test_the_returns_before_a_bad_one_arrive_with_it() -> None:
    data = encode_outcome(Outcome(Chunk(0, 3), [1, (x for x in [1]), 3]), SharedTable())
    outcome = decode_outcome(data, SharedTable())
    assert list(outcome.returns) == [1]
    assert outcome.failure is not None
    assert outcome.failure.offset == 1
