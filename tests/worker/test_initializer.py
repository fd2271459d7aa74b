"""initializer=: once in each worker, before the first call there, with the globals of the function."""

from __future__ import annotations

import concurrent.futures
import functools
import os
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import pdparallel
from pdparallel import InvalidOptionError
from pdparallel.errors import CheckpointError, FunctionNotSerializableError
from pdparallel.testing import assert_same

DF = pd.DataFrame({"a": range(40), "b": 0.5}, index=[f"x{at}" for at in range(40)])
ENGINES: list[dict[str, Any]] = [
    {"engine": "process"},
    {"engine": "process", "start_method": "fork"},
    {"engine": "pathos"},
    {"engine": "process", "serializer": "cloudpickle"},
    {"engine": "auto"},
]
#: Those whose worker is a thread of this process.
HERE: list[dict[str, Any]] = [{"engine": "thread"}, {"engine": "serial"}]

model: Any = None
cache: dict[str, Any] = {}


def load(value: Any) -> None:
    global model
    model = value
    cache["pid"] = os.getpid()


def predict(row: Any) -> Any:
    return row["a"] + model + (cache["pid"] == os.getpid())


@pytest.fixture(autouse=True)
def nothing_loaded() -> Any:
    yield
    load(None)
    cache.clear()


def log_to(path: Path) -> None:
    with open(path, "a") as file:
        file.write(f"{os.getpid()}-{threading.get_ident()}\n")


@pytest.mark.parametrize("options", [*ENGINES, *HERE], ids=repr)
def test_the_function_sees_what_the_initializer_has_set(options: dict[str, Any]) -> None:
    par = DF.par(**options, n_workers=2, chunk_size=4, initializer=load, initargs=(100,))
    expected = DF["a"] + 101.0
    for _ in range(2):
        pd.testing.assert_series_equal(par.apply_rows(predict), expected, check_names=False)
    if options in ENGINES:
        assert model is None  # what is set is set in the workers
        assert not cache


@pytest.mark.parametrize("options", [*ENGINES[:3], *HERE], ids=repr)
def test_every_verb(options: dict[str, Any]) -> None:
    par = functools.partial(pdparallel.option_context, n_workers=2, initializer=load, initargs=[5], **options)
    with par():
        assert DF.par.apply_cols(lambda column: len(column) + model).tolist() == [45, 45]
        assert DF.par.apply_chunks(lambda chunk: chunk["a"] + model).tolist() == list(range(5, 45))
        assert DF.par.apply_rows(lambda values: values[0] + model, raw=True).tolist() == [5.0 + a for a in range(40)]
        assert DF["a"].par.map(lambda value: value + model).tolist() == list(range(5, 45))
        assert DF["a"].par.apply(lambda value: value + model).tolist() == list(range(5, 45))
        assert pdparallel.map(lambda item: item + model, range(3)) == [5, 6, 7]


@pytest.mark.parametrize("options", ENGINES[:3], ids=repr)
def test_once_in_each_worker(options: dict[str, Any], tmp_path: Path) -> None:
    log = tmp_path / "log"

    def func(row: Any) -> int:
        time.sleep(0.005)
        return os.getpid()

    par = DF.par(**options, n_workers=2, chunk_size=2, initializer=log_to, initargs=(log,))
    for _ in range(3):  # a call of the same function finds the workers as they are
        pids = {str(pid) for pid in par.apply_rows(func)}
        begun = [line.partition("-")[0] for line in log.read_text().split()]
        assert len(begun) == len(set(begun))
        assert pids <= set(begun)
    par.apply_rows(lambda row: row["a"])  # another function has other globals
    assert len(log.read_text().split()) > len(begun)


def test_once_in_each_thread_and_call(tmp_path: Path) -> None:
    log = tmp_path / "log"

    def func(row: Any) -> str:
        time.sleep(0.002)
        return f"{os.getpid()}-{threading.get_ident()}"

    par = DF.par(engine="thread", n_workers=2, chunk_size=2, initializer=log_to, initargs=(log,))
    threads = set(par.apply_rows(func))
    assert sorted(log.read_text().split()) == sorted(threads)
    DF.par(engine="serial", chunk_size=2, initializer=log_to, initargs=(log,)).apply_rows(func)
    assert len(log.read_text().split()) == len(threads) + 1


def test_closures_and_other_initializers() -> None:
    table: list[int] = []
    number = 0

    def fill(*numbers: int) -> None:
        nonlocal number
        number = numbers[0]
        table.extend(numbers)

    class Loader:
        def __init__(self, value: int) -> None:
            self.value = value

        def __call__(self) -> None:
            load(self.value)

    par = DF["a"].par(engine="process", n_workers=2, chunk_size=4)
    assert par(initializer=fill, initargs=(1, 2)).map(lambda a: a + number + len(table)).tolist() == list(range(3, 43))
    assert (number, table) == (0, [])
    assert par(initializer=functools.partial(load, 7)).map(lambda a: a + model).tolist() == list(range(7, 47))
    assert par(initializer=Loader(8)).map(lambda a: a + model).tolist() == list(range(8, 48))


def test_a_worker_that_takes_the_place_of_a_dead_one_has_its_own(tmp_path: Path) -> None:
    once = tmp_path / "once"

    def func(row: Any) -> int:
        if row["a"] == 17 and not once.exists():
            once.touch()
            os._exit(3)
        return int(row["a"] + model)

    par = DF.par(engine="process", n_workers=2, chunk_size=4, initializer=load, initargs=(1,))
    assert par.apply_rows(func).tolist() == list(range(1, 41))


def test_an_executor_of_the_user() -> None:
    with concurrent.futures.ProcessPoolExecutor(2) as pool:
        par = DF.par(engine=pool, chunk_size=4, initializer=load, initargs=(100,))
        for _ in range(2):
            assert par.apply_rows(predict).tolist() == list(range(101, 141))


def test_a_call_within_a_call_does_not_begin_the_outer_one_anew(tmp_path: Path) -> None:
    log, inner = tmp_path / "log", tmp_path / "inner"

    def func(value: int) -> int:
        return sum(pdparallel.map(abs, [value], initializer=log_to, initargs=(inner,)))

    par = DF["a"].par(engine="process", n_workers=1, chunk_size=4, initializer=log_to, initargs=(log,))
    assert par.map(func).tolist() == list(range(40))
    assert len(log.read_text().split()) == 1
    assert len(inner.read_text().split()) == 40


@pytest.mark.parametrize("options", [*ENGINES[:3], *HERE], ids=repr)
@pytest.mark.parametrize("errors", ["raise", "coerce", "return"])
def test_an_initializer_that_raises_ends_the_call(options: dict[str, Any], errors: str) -> None:
    def refuse() -> None:
        raise LookupError("no model here")

    par = DF.par(**options, n_workers=2, chunk_size=4, initializer=refuse, errors=errors)
    with pytest.raises(LookupError, match="no model here") as caught:
        par.apply_rows(lambda row: row["a"])
    (note,) = caught.value.__notes__  # no row causes it
    assert note.startswith("pdparallel: the initializer raised this, before")
    assert "loop.py" not in str(caught.value.__cause__)


def test_a_frame_without_rows_is_pandas_business_here() -> None:
    def func(row: Any) -> Any:
        return row["a"] + model

    par = DF.head(0).par(engine="process", initializer=load, initargs=(1,))
    assert_same(par.apply_rows(func), DF.head(0).apply(lambda row: row["a"] + 1, axis=1))
    assert DF["a"].head(0).par(initializer=load, initargs=(1,)).map(func).empty


def test_names_of_functions_need_no_worker() -> None:
    def refuse() -> None:
        raise LookupError

    assert DF.par(initializer=refuse).apply("sum").tolist() == DF.sum().tolist()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"initializer": "load"}, "initializer='load'"),
        ({"initializer": 3}, "initializer=3"),
        ({"initargs": "path"}, "initargs='path'"),
        ({"initargs": None}, "initargs=None"),
    ],
)
def test_what_is_no_initializer(options: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidOptionError) as caught:
        DF.par(**options)
    assert says in str(caught.value)


def test_arguments_without_an_initializer() -> None:
    with pytest.raises(InvalidOptionError, match="needs initializer="):
        DF.par(initargs=(1,)).apply_rows(len)


def test_what_cannot_travel_is_named() -> None:
    generator = (number for number in range(3))
    with pytest.raises(FunctionNotSerializableError, match=r"the initializer|initargs\[0\]"):
        DF.par(engine="process", initializer=load, initargs=(generator,)).apply_rows(predict)
    with pytest.raises(FunctionNotSerializableError, match="'generator'"):
        DF.par(engine="process", initializer=lambda: next(generator)).apply_rows(predict)


def test_a_folder_of_a_call_with_another_initializer_is_refused(tmp_path: Path) -> None:
    par = DF.par(checkpoint=tmp_path / "kept", engine="process", n_workers=2, initializer=load)
    assert par(initargs=(1,)).apply_rows(predict).tolist() == list(range(2, 42))
    assert par(initargs=(1,)).apply_rows(predict).tolist() == list(range(2, 42))
    with pytest.raises(CheckpointError, match="initializer"):
        par(initargs=(2,)).apply_rows(predict)


def test_with_seed() -> None:
    def draw(row: Any) -> float:
        return model + np.random.random()

    here, there = (
        DF.par(engine=engine, n_workers=2, seed=3, initializer=load, initargs=(1.0,)).apply_rows(draw)
        for engine in ("serial", "process")
    )
    pd.testing.assert_series_equal(here, there)


# What the initializer assigns is each worker's own, and need not travel

#: Each defines ``init`` and ``use``, beside an ``OWN`` that cannot travel; a worker's own one gives 7.
ASSIGNED = {
    "global": """
def init():
    global OWN
    OWN = make(7)
""",
    "in a with block": """
def init():
    global OWN
    with open(os.devnull):
        OWN = make(7)
""",
    "in try, except": """
def init():
    global OWN
    try:
        OWN = make(missing)
    except NameError:
        OWN = make(7)
""",
    "in try, finally": """
def init():
    global OWN
    try:
        OWN = make(7)
    finally:
        os.getpid()
""",
    "in a loop": """
def init():
    global OWN
    for number in range(8):
        OWN = make(number)
""",
    "in a branch": """
def init(wanted=True):
    global OWN
    if wanted:
        OWN = make(7)
""",
    "read afterwards": """
def check():
    assert next(iter(OWN)) == 7

def init():
    global OWN
    OWN = make(7)
    check()
    OWN = make(7)
""",
    "by a function that it calls": """
def deeper():
    global OWN
    OWN = make(7)

def connect():
    deeper()

def init():
    connect()
""",
    "by a function inside": """
def init():
    def connect():
        global OWN
        OWN = make(7)
    connect()
""",
    "by a partial": """
def connect(number):
    global OWN
    OWN = make(number)

init = functools.partial(connect, 7)
""",
    "by a method": """
class Loader:
    def load(self):
        global OWN
        OWN = make(7)

init = Loader().load
""",
    "by an object": """
class Loader:
    def __call__(self):
        self.load()

    def load(self):
        global OWN
        OWN = make(7)

init = Loader()
""",
    "by a decorated function": """
def logged(func):
    @functools.wraps(func)
    def wrapper(*args):
        return func(*args)
    return wrapper

@logged
def init():
    global OWN
    OWN = make(7)
""",
    "by globals()": """
def init():
    globals()["OWN"] = make(7)
""",
    "by an import": """
OWN, json = None, OWN

def make(number):
    return number

def init():
    global OWN, json
    import json
    OWN = [json.loads("7")]
""",
    "by unpacking": """
def init():
    global OWN, OTHER
    OWN, OTHER = make(7), make(8)
""",
    "with": """
class Holder:
    def __enter__(self):
        return make(7)
    def __exit__(self, *raised):
        pass

def init():
    global OWN
    with Holder() as OWN:
        pass
""",
    "in two functions": """
OTHER = make(3)

def init():
    global OWN, OTHER
    OWN, OTHER = make(7), make(0)

def helper():
    return next(OTHER)

def use(row):
    return next(iter(OWN)) + helper() + row["a"]
""",
    "nonlocal": """
def closed():
    own = make(1)

    def init():
        nonlocal own
        own = make(7)

    def use(row):
        return next(iter(own)) + row["a"]

    return init, use

init, use = closed()
""",
    "of a module made by hand": """
settings = types.ModuleType("settings_made_by_hand")
settings.OWN = OWN

def init():
    settings.OWN = make(7)

def use(row):
    return next(iter(settings.OWN)) + row["a"]
""",
    "of a module": """
import string as settings
settings.OWN = OWN

def init():
    settings.OWN = make(7)

def use(row):
    return next(iter(settings.OWN)) + row["a"]
""",
}

COMMON = """
import functools, itertools, os, types

def make(number):
    return (number for _ in itertools.count())  # which cannot travel

OWN = make(1)

def use(row):
    return next(iter(OWN)) + row["a"]
"""


def defined(source: str) -> Any:
    """What a main script defines."""
    namespace: dict[str, Any] = {"__name__": "__main__"}
    exec(COMMON + source, namespace)
    return namespace


@pytest.mark.parametrize("options", [ENGINES[0], ENGINES[2], ENGINES[3], HERE[1]], ids=repr)
def test_what_the_initializer_assigns_need_not_travel(options: dict[str, Any]) -> None:
    for how, source in ASSIGNED.items():
        if how in ("nonlocal", "of a module made by hand") and "serializer" in options:
            continue  # by cloudpickle functions share no variables of closures and no such modules
        main = defined(source)
        got = DF.par(**options, n_workers=1, initializer=main["init"]).apply_rows(main["use"])
        assert got.tolist() == [7.0 + a for a in range(40)], how


#: Here the value of this process counts, because a worker's initializer reads it, or leaves it as it is.
KEPT = {
    "read first": """
def init():
    global OWN
    OWN = [OWN[0] + 6]
""",
    "read first by a function": """
def before():
    return OWN[0]

def init():
    global OWN
    number = before()
    OWN = [number + 6]
""",
    "not assigned in a branch": """
OWN = [7]

def init(other=False):
    global OWN
    if other:
        OWN = [3]
""",
    "not assigned after a return": """
OWN = [7]

def init(other=False):
    global OWN
    if not other:
        return
    OWN = [3]
""",
    "not assigned in a loop": """
OWN = [7]

def init():
    global OWN
    for number in ():
        OWN = [number]
""",
    "not assigned after an exception": """
OWN = [7]

def init():
    global OWN
    try:
        OWN = [missing]
    except NameError:
        pass
""",
    "by a function that is not called": """
OWN = [7]

def change():
    global OWN
    OWN = [3]

def init(call=False):
    if call:
        change()
""",
}


@pytest.mark.parametrize("options", [ENGINES[0], ENGINES[2], ENGINES[3], HERE[1]], ids=repr)
def test_what_the_initializer_reads_or_leaves_is_that_of_this_process(options: dict[str, Any]) -> None:
    for how, source in KEPT.items():
        main = defined("OWN = [1]\n" + source)
        got = DF.par(**options, n_workers=1, initializer=main["init"]).apply_rows(main["use"])
        assert got.tolist() == [7.0 + a for a in range(40)], how


def test_what_is_read_first_and_cannot_travel_is_named() -> None:
    main = defined("def init():\n    global OWN\n    use({'a': 0})\n    del OWN\n")
    with pytest.raises(FunctionNotSerializableError, match="'OWN'"):
        DF.par(engine="process", initializer=main["init"]).apply_rows(main["use"])
    main = defined("OTHER = make(2)\ndef init():\n    global OWN\n    OWN = make(7)\ndef use(row):\n    OWN, OTHER\n")
    with pytest.raises(FunctionNotSerializableError, match="'OTHER'"):
        DF.par(engine="process", initializer=main["init"]).apply_rows(main["use"])


def test_what_the_initializer_did_not_assign_is_said() -> None:
    main = defined("def init(really=False):\n    global OWN\n    if really:\n        OWN = make(7)\n")
    with pytest.raises(NameError, match="'OWN'") as caught:
        DF.par(engine="process", n_workers=1, initializer=main["init"]).apply_rows(main["use"])
    assert any("'OWN' was not sent, because the initializer assigns it" in note for note in caught.value.__notes__)


def test_a_forgotten_global_statement_is_named() -> None:
    main = defined("def init():\n    forgotten = 1\ndef use(row):\n    return forgotten\n")
    with pytest.raises(NameError, match="'forgotten'") as caught:
        DF.par(engine="process", n_workers=1, initializer=main["init"]).apply_rows(main["use"])
    assert "pdparallel: 'forgotten' is a local variable of the initializer. Add 'global forgotten' to it" in (
        caught.value.__notes__
    )


def test_what_the_initializer_assigns_takes_no_time_to_travel() -> None:
    from pdparallel.core.call import Initializer, Work
    from pdparallel.transport.functions import encode_work
    from pdparallel.transport.shared_classes import SharedTable

    main = defined("OWN = [bytes(1_000_000)]\ndef init():\n    global OWN\n    OWN = make(7)\n")
    for serializer in ("dill", "cloudpickle"):
        work = Work(main["use"], (), {}, "row", initializer=Initializer(main["init"], ()))
        assert len(encode_work(work, SharedTable(), serializer)) < 10_000  # type: ignore[arg-type]


def test_a_folder_of_calls_with_an_initializer_that_assigns(tmp_path: Path) -> None:
    main = defined(ASSIGNED["global"])
    par = DF.par(checkpoint=tmp_path / "kept", engine="process", n_workers=1, initializer=main["init"])
    for _ in range(2):
        assert par.apply_rows(main["use"]).tolist() == [7.0 + a for a in range(40)]
        main["OWN"] = main["make"](2)
