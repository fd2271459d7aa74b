"""``df.par.resample(...)``: each way to select, each method, each kind of function, and how often that is called."""

import itertools

import numpy as np
import pandas as pd
import pytest

import pdparallel  # noqa: F401
from pdparallel.testing import assert_same

ENGINES = {
    "here": {},
    "serial": {"engine": "serial"},
    "thread": {"engine": "thread", "n_workers": 2, "chunk_size": 1},
    "process": {"engine": "process", "n_workers": 2, "chunk_size": 1},
}

DAYS = pd.DataFrame(
    {"a": [1.0, 2, 3, 4, 5, 6], "b": [1, 4, 9, 16, 25, 36], "c": np.float32(1.0), "k": list("xyzxyz")},
    index=pd.date_range("2026-01-01", periods=6, freq="D"),
)

GAPS = DAYS.iloc[[0, 1, 4, 5]]

FUNCTIONS = {
    "len": len,
    "name": lambda w: str(w.name),
    "mean": lambda w: sum(w.tolist()) / (len(w) or 1),
    "range": lambda w: w.max() - w.min(),
    "last": lambda w: w.iloc[-1],
    "sum": "sum",
    "names": ["min", "max"],
    "functions": [len],
    "dict": {"a": lambda w: len(w)},
    "dict of names": {"a": "sum"},
    "head": lambda w: w.head(1),
    "double": lambda w: w * 2,
    "Series": lambda w: pd.Series({"n": len(w)}),
    "column": lambda w: w["a"].sum(),
}

COLUMNS = {"all": None, "a": "a", "[a]": ["a"], "[a, b]": ["a", "b"], "[b, c]": ["b", "c"]}


def _picked(spans, columns):
    return spans if columns is None else spans[columns]


def _answer(call):
    try:
        return call()
    except Exception as error:
        return type(error), str(error)


@pytest.mark.part(2)
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("columns", COLUMNS)
def test_each_method_of_each_selection_does_what_that_of_pandas_does(columns, engine):
    picked, options = COLUMNS[columns], ENGINES[engine]
    data = [DAYS, GAPS] if engine == "here" else [DAYS]
    methods = ("agg", "aggregate", "apply", "transform") if engine in ("here", "serial") else ("agg", "apply")
    for df, method, name in itertools.product(data, methods, FUNCTIONS):
        func = FUNCTIONS[name]
        want = _answer(lambda: getattr(_picked(df.resample("2D"), picked), method)(func))
        got = _answer(lambda: getattr(_picked(df.par(**options).resample("2D"), picked), method)(func))
        if isinstance(want, tuple):
            assert got == want, (method, name)
        else:
            assert_same(got, want)


@pytest.mark.parametrize("engine", ENGINES)
def test_named_aggregations(engine):
    par = DAYS.par(**ENGINES[engine])
    named = {"p": ("a", "sum"), "q": ("b", len)}
    assert_same(par.resample("3D").agg(**named), DAYS.resample("3D").agg(**named))
    assert_same(par.resample("3D")[["a", "b"]].agg(**named), DAYS.resample("3D")[["a", "b"]].agg(**named))
    assert_same(par.resample("3D")["a"].agg(n=len), DAYS.resample("3D")["a"].agg(n=len))


def test_a_series_and_spans_of_a_column():
    par, s = DAYS["a"].par(**ENGINES["process"]), DAYS["a"]
    assert_same(par.resample("3D").agg(len), s.resample("3D").agg(len))
    assert_same(par.resample("3D").agg([len]), s.resample("3D").agg([len]))
    df = DAYS.rename_axis("t").reset_index()
    for columns in ("a", ["a", "b"]):
        for method in ("agg", "apply"):
            want = getattr(df.resample("2D", on="t")[columns], method)(len)
            assert_same(getattr(df.par(**ENGINES["process"]).resample("2D", on="t")[columns], method)(len), want)


WAYS = {
    "column, apply": lambda x, f: x.resample("2D")["a"].apply(f),
    "column, agg": lambda x, f: x.resample("2D")["a"].agg(f),
    "column, transform": lambda x, f: x.resample("2D")["a"].transform(f),
    "columns, apply": lambda x, f: x.resample("2D")[["a", "b"]].apply(f),
    "frame, apply": lambda x, f: x.resample("2D").apply(f),
    "Series, apply": lambda x, f: x["a"].resample("2D").apply(f),
}

BODIES = {"sum": lambda w: w.sum(), "double": lambda w: w * 2, "None": lambda w: None}


@pytest.mark.usefixtures("no_rest_is_worth_it")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("engine", ["here", "serial", "process"])
@pytest.mark.parametrize("body", BODIES)
def test_a_function_is_called_as_often_as_by_pandas(body, engine, tmp_path):
    numbers = pd.DataFrame({"a": np.arange(20.0), "b": 1.0}, index=pd.date_range("2026", periods=20, freq="D"))
    returns, log = BODIES[body], tmp_path / "calls"

    def calls(call):
        def func(window):
            with open(log, "a") as out:
                out.write("x")
            return returns(window)

        log.write_text("")
        _answer(lambda: call(func))
        return len(log.read_text())

    for way, call in WAYS.items():
        if (way, body) in AFTER_ALL and engine != "here":
            continue
        x = numbers.par(**ENGINES[engine])
        if way == "Series, apply":
            got = calls(lambda f: numbers["a"].par(**ENGINES[engine]).resample("2D").apply(f))
        else:
            got = calls(lambda f: call(x, f))
        assert got == calls(lambda f: call(numbers, f)), way


#: pandas does not like what the first call returns, when workers have been given all.
AFTER_ALL = {("column, agg", "double")}


@pytest.mark.parametrize("engine", ["serial", "process"])
def test_a_failing_span_is_named_with_its_position(engine):
    def fails(column):
        if 5.0 in set(column):
            raise ZeroDivisionError("by zero")
        return 1

    with pytest.raises(ZeroDivisionError) as caught:
        DAYS["a"].par(**ENGINES[engine]).resample("2D").apply(fails)
    assert any("2026-01-05" in note and "position 2" in note for note in caught.value.__notes__)
