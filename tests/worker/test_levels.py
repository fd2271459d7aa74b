"""Levels: a worker makes no logger ahead of its library, and the levels of here hold there, whoever comes late."""

from __future__ import annotations

import contextlib
import importlib
import itertools
import logging
import sys
import textwrap
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import pdparallel
from pdparallel.worker import settings
from tests.worker.test_capture_output import _pool, options_of, told

S = pd.Series([0, 1, 2, 3])
WAYS = ["forkserver", "spawn", "fork", "pathos", "executor spawn", "executor fork", "unknown"]

#: Libraries by what they do with their logger when they are imported.
LIBRARIES = {
    "own class": """
        class Own(logging.Logger):
            def notice(self, text):
                self.info(text)
        before = logging.getLoggerClass()
        logging.setLoggerClass(Own)
        log = logging.getLogger(__name__)
        logging.setLoggerClass(before)
        assert type(log) is Own
    """,
    "own class of the manager": """
        class Own(logging.Logger):
            def __init__(self, name):
                super().__init__(name, logging.INFO)
        before = logging.root.manager.loggerClass
        logging.root.manager.setLoggerClass(Own)
        log = logging.getLogger(__name__)
        logging.root.manager.loggerClass = before
        assert type(log) is Own
    """,
    "own class that refuses to be second": """
        class Own(logging.Logger):
            pass
        known = logging.root.manager.loggerDict.get(__name__)
        assert known is None or isinstance(known, logging.PlaceHolder), known
        logging.setLoggerClass(Own)
        log = logging.getLogger(__name__)
        logging.setLoggerClass(logging.Logger)
    """,
    "plain": "log = logging.getLogger(__name__)",
    "children": """
        log = logging.getLogger(__name__ + ".part")
        above = logging.getLogger(__name__)
        assert log.parent is above
    """,
    "child of what nobody makes": "log = logging.getLogger(__name__ + '.deep.part')",
}

AT_IMPORT = {
    "sets nothing": "",
    "sets its level": "logging.getLogger(__name__).setLevel('INFO')",
    "sets the level of the root": "logging.getLogger().setLevel('INFO')",
    "configures all": """
        import logging.config
        logging.config.dictConfig({
            "version": 1, "disable_existing_loggers": False, "loggers": {__name__: {"level": "INFO"}},
        })
    """,
}

#: What is done to levels here, after the import: of which logger, and which.
HERE = {
    "as they are": {},
    "quiet": {"": "ERROR"},
    "loud": {"": "DEBUG"},
    "of its children": {".part": "CRITICAL"},
    "reset": {"": "NOTSET"},
}

Library = Callable[[str, str], str]


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Library]:
    """Makes a library, and removes what it left."""
    monkeypatch.syspath_prepend(str(tmp_path))
    numbers = itertools.count()
    names = []

    def make(kind: str, at_import: str) -> str:
        name = f"levels_{tmp_path.name}_{next(numbers)}".replace("-", "_")
        parts = [LIBRARIES[kind], AT_IMPORT[at_import]]
        code = "\n".join(map(textwrap.dedent, ["import logging", *parts, SEEN]))
        (tmp_path / f"{name}.py").write_text(code)
        importlib.invalidate_caches()
        names.append(name)
        return name

    root, handlers, disabled = logging.root.level, list(logging.root.handlers), logging.root.manager.disable
    yield make
    logging.root.setLevel(root)
    logging.root.handlers[:] = handlers
    logging.disable(disabled)
    for name in names:
        sys.modules.pop(name, None)
        for known in list(logging.root.manager.loggerDict):
            if known.startswith(name):
                del logging.root.manager.loggerDict[known]


SEEN = """
def seen():
    loggers = (log, logging.getLogger(__name__), logging.getLogger(__name__ + ".part"), logging.getLogger())
    return [(type(one).__name__, one.name, one.getEffectiveLevel(), one.isEnabledFor(20)) for one in loggers]
"""


def of_main(code: str, **names: Any) -> Any:
    """A function of the main script, which travels by value."""
    main: dict[str, Any] = {"__name__": "__main__", **names}
    exec(textwrap.dedent(code), main)
    return main["func"]


def at_load(name: str) -> Any:
    """A function that brings the library when it is loaded."""
    return of_main("def func(_): return library.seen()", library=importlib.import_module(name))


def inside(name: str) -> Any:
    """A function that imports the library when it is called."""
    return of_main(f"def func(_):\n    import {name}\n    return {name}.seen()")


@pytest.mark.part(2)
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("bring", [at_load, inside])
def test_levels_are_as_here(library: Library, way: str, bring: Callable[[str], Any]) -> None:
    with options_of(way) as options:
        par = S.par(**options, chunk_size=2)
        for kind, at_import, (here, levels) in itertools.product(LIBRARIES, AT_IMPORT, HERE.items()):
            root = logging.root.level
            name = library(kind, at_import)
            importlib.import_module(name)
            for below, level in levels.items():
                logging.getLogger(name + below).setLevel(level)
            func = bring(name)
            expected = S.map(func).tolist()
            assert par.map(func).tolist() == expected, (kind, at_import, here)
            logging.root.setLevel(root)


@pytest.mark.parametrize("way", WAYS)
def test_a_library_that_only_workers_import(library: Library, way: str) -> None:
    names = [library(kind, "sets its level") for kind in LIBRARIES]
    with options_of(way) as options:
        par = S.par(**options)
        for name in names:
            log = f"{name}.log.info('said')"
            func = of_main(f"def func(_):\n    import {name}\n    {log}\n    return {name}.seen()[1][2:]")
            seen = told(lambda par=par, func=func: par.map(func).tolist())
            assert seen.result == [(logging.INFO, True)] * len(S)
            assert [text for _, _, text, _ in seen.logged] == ["said"] * len(S)
            assert name not in logging.root.manager.loggerDict
            assert importlib.import_module(name).seen() == par.map(inside(name))[0]


@pytest.mark.parametrize("way", WAYS)
def test_what_a_function_sets_comes_last(library: Library, way: str) -> None:
    name = library("plain", "sets its level")
    importlib.import_module(name)
    logging.getLogger(name).setLevel("ERROR")
    func = of_main(f"""
        import logging
        def func(value):
            log = logging.getLogger({name!r})
            if value == 1:
                log.setLevel("WARNING")
            import {name}
            return log.level
    """)
    with options_of(way) as options:
        assert S.par(**options, chunk_size=4).map(func).tolist() == [40, 30, 30, 30]
        assert S.par(**options, chunk_size=4).map(lambda _: logging.getLogger(name).level).tolist() == [40] * 4


@pytest.mark.parametrize("way", WAYS)
def test_a_name_that_only_has_a_level_here(way: str) -> None:
    above, at = logging.getLogger("levels_above"), logging.getLogger("levels_above.at.last")
    above.setLevel("ERROR")
    try:
        with options_of(way) as options:
            par = S.par(**options)
            func = of_main("""
                import logging
                def func(value):
                    log = logging.getLogger("levels_above.at.last")
                    first = log.getEffectiveLevel()
                    if value > 1:
                        above = logging.getLogger("levels_above")
                        return first, log.getEffectiveLevel(), log.level, above.level, log.parent is above
                    return first
            """)
            assert par.map(func).tolist() == S.map(func).tolist()
            above.setLevel("DEBUG")
            assert par.map(func).tolist() == S.map(func).tolist()
            above.setLevel("NOTSET")
            at.setLevel("INFO")
            assert par.map(func).tolist() == S.map(func).tolist()
    finally:
        above.setLevel("NOTSET")
        at.setLevel("NOTSET")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("serializer", ["dill", "cloudpickle"])
def test_a_function_that_holds_a_logger(library: Library, way: str, serializer: Any) -> None:
    with options_of(way) as options:
        for kind in LIBRARIES:
            name = library(kind, "sets its level")
            log = importlib.import_module(name).log
            log.setLevel("ERROR")
            func = of_main(f"""
                def func(_):
                    import {name}
                    assert {name}.log is log or log.parent.name in ("root", {name!r})
                    return type(log).__name__, log.name, log.level, {name}.seen()
            """, log=log)  # fmt: skip
            assert S.par(**options, serializer=serializer).map(func).tolist() == S.map(func).tolist()


def test_a_logger_of_a_class_of_the_main_script() -> None:
    func = of_main("""
        import logging
        class Own(logging.Logger):
            def __init__(self, name):
                super().__init__(name)
                self.more = 1
        logging.setLoggerClass(Own)
        log = logging.getLogger("levels_of_main")
        logging.setLoggerClass(logging.Logger)
        def func(_):
            return type(log) is Own, log.more, log is logging.getLogger("levels_of_main")
    """)
    try:
        assert S.par(engine="process", n_workers=1).map(func).tolist() == [(True, 1, True)] * 4
    finally:
        del logging.root.manager.loggerDict["levels_of_main"]


def level_of(name: str, module: str = "") -> Any:
    if module:
        importlib.import_module(module)
    known = logging.root.manager.loggerDict.get(name)
    return getattr(known, "level", None), logging.Logger.setLevel.__name__, logging.root.manager.disable


@pytest.mark.parametrize("method", ["spawn", "fork"])
def test_a_worker_of_others_has_its_own_again(library: Library, method: str) -> None:
    name = library("own class", "sets its level")
    with _pool(method, 1) as executor:
        assert executor.submit(level_of, name).result() == (None, "setLevel", 0)
        importlib.import_module(name)
        logging.getLogger(name).setLevel("ERROR")
        logging.disable(3)
        try:
            assert S.par(engine=executor).map(inside(name))[0][1][2] == logging.ERROR
        finally:
            logging.disable(0)
        # What the library has set when it was imported, which a process of its own would have by now.
        assert executor.submit(level_of, name, name).result() == (logging.INFO, "setLevel", 0)


@contextlib.contextmanager
def held(levels: dict[str, int]) -> Iterator[None]:
    """As in a task."""
    undo = settings._apply_levels((0, {"": logging.root.level, **levels}))
    assert undo is not None
    try:
        yield
    finally:
        undo()


def test_who_has_put_something_in_the_place_of_set_level(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    log = logging.getLogger("levels_patched")
    real = logging.Logger.setLevel

    def mine(self: logging.Logger, level: Any) -> None:
        calls.append(level)
        real(self, level)

    monkeypatch.setattr(logging.Logger, "setLevel", mine)
    with held({"levels_patched": 10}):
        log.setLevel(30)
        assert (calls[-1], log.level) == (30, 30)
    assert logging.Logger.setLevel is mine
    assert log.level == 0


def test_a_logger_of_nobody_is_left_alone() -> None:
    with held({"levels_detached": logging.ERROR}):
        one = logging.Logger("levels_detached", logging.DEBUG)
        assert one.level == logging.DEBUG
        one.setLevel("INFO")
        assert one.level == logging.INFO
        assert "levels_detached" not in logging.root.manager.loggerDict


def test_little_is_done_where_nothing_differs() -> None:
    assert set(settings._levels()[1]) >= {"", "pdparallel"}
    wrong = types.SimpleNamespace(level=3)
    logging.root.manager.loggerDict["levels_wrong"] = wrong  # type: ignore[assignment]
    try:
        with held({"levels_wrong": 4}):
            assert wrong.level == 3
    finally:
        del logging.root.manager.loggerDict["levels_wrong"]
    pdparallel.shutdown()
