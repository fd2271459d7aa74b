"""Names in the editor: what Tab completes, what a signature shows, and what objects show of themselves."""

from __future__ import annotations

import dataclasses
import inspect
import math
import re
import subprocess
import sys
import time
from collections.abc import Callable
from html.parser import HTMLParser
from typing import Any

import pandas as pd
import pytest

import pdparallel
from pdparallel import InvalidOptionError, Options
from pdparallel.api.background import Background
from pdparallel.core import options
from pdparallel.core.options import MEANINGS
from pdparallel.testing import check, saboteurs

DF = pd.DataFrame({"k": ["x", "y", "x"], "a": [1, 2, 3]})
NAMES = [field.name for field in dataclasses.fields(Options)]


class Table(HTMLParser):
    """The rows of the first table of a text, and its caption."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.caption = ""
        self._in: str | None = None
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")
        self._in = tag if tag in ("td", "th", "caption") else self._in

    def handle_endtag(self, tag: str) -> None:
        self._in = None

    def handle_data(self, data: str) -> None:
        if self._in == "caption":
            self.caption += data
        elif self._in:
            self.rows[-1][-1] += data


# Signatures

#: Functions that take options: whether they show the defaults, the options that they lack, their other arguments.
TAKERS: dict[str, tuple[Callable[..., Any], bool, set[str], set[str]]] = {
    "df.par": (DF.par, True, set(), {"columns"}),
    "s.par": (DF["a"].par, True, set(), set()),
    "background": (DF.par.background, True, set(), set()),
    "map": (pdparallel.map, True, set(), {"func", "iterables"}),
    "imap": (pdparallel.imap, True, {"checkpoint"}, {"func", "iterables", "ordered"}),
    "accelerate": (pdparallel.accelerate, True, {"checkpoint"}, set()),
    "engine": (pdparallel.engine, True, set(), set()),
    "set_options": (pdparallel.set_options, False, set(), set()),
    "option_context": (pdparallel.option_context, False, set(), set()),
}


@pytest.mark.parametrize("name", TAKERS)
def test_each_option_stands_in_the_signature(name: str) -> None:
    sink, has_defaults, but, others = TAKERS[name]
    parameters = inspect.signature(sink).parameters
    assert set(parameters) == {*NAMES, *others} - but
    for field in dataclasses.fields(Options):
        if field.name not in but:
            parameter = parameters[field.name]
            assert parameter.kind is parameter.KEYWORD_ONLY
            assert parameter.default == (field.default if has_defaults else ...)


@pytest.mark.parametrize("name", TAKERS)
def test_each_option_stands_in_the_docstring(name: str) -> None:
    sink, _, but, _ = TAKERS[name]
    text = inspect.getdoc(sink if inspect.isfunction(sink) or inspect.isclass(sink) else type(sink).__call__) or ""
    assert "**options" not in text
    for option in NAMES:
        assert (f"\n{option} : " in text) == (option not in but), option
        assert (MEANINGS[option] in text) == (option not in but), option


def test_a_call_with_an_unknown_option_is_still_refused() -> None:
    with pytest.raises(InvalidOptionError, match="n_worker"):
        DF.par(n_worker=2)


def test_each_option_has_a_meaning_of_one_short_sentence_or_two() -> None:
    assert list(MEANINGS) == NAMES
    for text in MEANINGS.values():
        assert text.endswith(".")
        assert all(len(sentence.split()) <= 20 for sentence in text.split(". "))


def test_what_was_given_before_stays() -> None:
    """The defaults in the signature are shown, and not given."""
    par = DF.par(n_workers=3)(progress=False)
    assert par._given == {"n_workers": 3, "progress": False}


TAB = """
import pandas as pd, pdparallel
from IPython.core.completer import provisionalcompleter
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
df = pd.DataFrame({{"a": [1]}})
shell.user_ns.update(df=df, s=df["a"], p=df.par, pdparallel=pdparallel)
shell.Completer.use_jedi = {jedi}
calls = "df.par(", "p(", "s.par(", "df.par(engine='thread', ", "pdparallel.set_options(", "pdparallel.map(abs, [1], "
for text in calls:
    with provisionalcompleter():
        print(text, *(one.text for one in shell.Completer.completions(text, len(text))), sep="|")
"""


@pytest.mark.parametrize("jedi", [True, False])
def test_options_complete_by_tab(jedi: bool) -> None:
    pytest.importorskip("IPython")
    done = subprocess.run(
        [sys.executable, "-c", TAB.format(jedi=jedi)], capture_output=True, text=True, timeout=100, check=True
    )
    lines = [line.split("|") for line in done.stdout.splitlines() if "|" in line]
    assert len(lines) == 6, done.stdout + done.stderr
    for text, *completions in lines:
        missing = {f"{name}=" for name in NAMES} - set(completions)
        assert missing <= ({"engine="} if "engine=" in text else set()), (text, missing)


# dir()


def test_dir_has_what_is_public() -> None:
    assert dir(pdparallel) == sorted([*pdparallel.__all__, "testing"])
    assert all(hasattr(pdparallel, name) for name in dir(pdparallel))


def test_testing_needs_no_import_of_its_own() -> None:
    code = "import sys, pdparallel; assert 'pdparallel.testing' not in sys.modules; print(pdparallel.testing.check)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100, check=False)
    assert done.stdout.startswith("<function check"), done.stderr


# What objects show


def test_options_show_what_is_not_as_ever() -> None:
    assert repr(Options()) == "Options()"
    assert repr(Options(n_workers=2, engine="thread", initargs=())) == "Options(engine='thread', n_workers=2)"


def test_options_of_odd_objects() -> None:
    class Odd:
        def submit(self) -> None: ...

        def __eq__(self, other: object) -> bool:
            raise RuntimeError

        __hash__ = None  # type: ignore[assignment]

        def __repr__(self) -> str:
            return "z" * 200

    one = Options(engine=Odd())
    assert repr(one) == f"Options(engine={'z' * 200})"
    assert Table(one._repr_html_()).rows[1][1] == "z" * 79 + "…"


def test_options_as_a_table() -> None:
    table = Table(Options(n_workers=2)._repr_html_())
    assert table.caption == "pdparallel options"
    head, *rows = table.rows
    assert head == ["option", "value", "meaning"]
    assert [row[0] for row in rows] == NAMES
    assert rows[1] == ["n_workers", "2", MEANINGS["n_workers"]]
    assert rows[0][1] == "'auto'"


def test_the_docstring_of_options_has_each() -> None:
    for name in NAMES:
        assert re.search(rf"^{name} : ", inspect.getdoc(Options) or "", re.MULTILINE)
    assert options.MEANINGS is MEANINGS


def fails(row: Any) -> float:
    return 1 / (int(row["a"]) - 2)


class TestFutures:
    def test_done(self) -> None:
        future = DF.par.background.apply_rows(lambda row: row["a"])
        future.result(60)
        assert repr(future) == "<pdparallel apply_rows in the background: done, a Series>"
        table = Table(future._repr_html_())
        assert table.caption == "pdparallel apply_rows in the background"
        assert table.rows[0] == ["what", "value", "meaning"]
        assert table.rows[1][:2] == ["state", "done, a Series"]
        assert table.rows[-1][0] == "time"

    def test_failed(self) -> None:
        future = DF.par.background.apply_rows(fails)
        assert future.exception(60) is not None
        assert repr(future) == (
            "<pdparallel apply_rows in the background: failed, ZeroDivisionError: division by zero>"
        )
        rows = Table(future._repr_html_()).rows
        assert rows[1][:2] == ["state", "failed, ZeroDivisionError: division by zero"]
        assert rows[2][:2] == ["where", "pdparallel: apply_rows, in row 1 (position 1)"]

    def test_running_and_cancelled(self) -> None:
        future = DF["a"].par(engine="process", n_workers=1).background.map(saboteurs.hangs())
        assert repr(future) == "<pdparallel map in the background: running>"
        assert Table(future._repr_html_()).rows[1][1] == "running"
        assert future.cancel()
        assert repr(future) == "<pdparallel map in the background: cancelled>"
        first = Table(future._repr_html_()).rows[-1]
        time.sleep(0.01)
        assert Table(future._repr_html_()).rows[-1] == first  # the time stands still

    def test_of_groups(self) -> None:
        future = DF.par.background.groupby("k")["a"].agg(lambda column: column.max())
        future.result(60)
        assert repr(future) == "<pdparallel agg in the background: done, a Series>"

    def test_an_exception_without_a_text(self) -> None:
        class WordlessError(Exception):
            def __str__(self) -> str:
                raise RuntimeError

        def wordless(value: object) -> None:
            raise WordlessError

        future = DF["a"].par(engine="thread").background.map(wordless)
        assert type(future.exception(60)) is WordlessError
        assert "failed, WordlessError" in repr(future)

    def test_the_verbs_say_where_they_run(self) -> None:
        assert isinstance(DF.par.background, Background)
        assert repr(DF.par.background).startswith("<in the background: ")


class TestProfiles:
    def profile(self, calls: int, seconds: float | None) -> pdparallel.Profile:
        with pdparallel.profile(pandas_seconds=seconds) as p:
            for _ in range(calls):
                DF["a"].par(engine="serial").map(str)
        return p

    def test_a_speed_up_is_that_over_pandas(self) -> None:
        p = self.profile(1, 100.0)
        one = p.calls.loc[1]
        assert p.speed_up == one["speed_up"] == pytest.approx(100.0 / one["seconds"])
        head = repr(p).splitlines()[1]
        assert re.split(" {2,}", head)[-2:] == ["cores kept busy", "speed-up"]

    def test_of_several_calls(self) -> None:
        p = self.profile(3, 100.0)
        assert p.speed_up == pytest.approx(100.0 / p.calls["seconds"].sum())
        assert p.calls["speed_up"].isna().all()
        assert repr(p).splitlines()[0] == f"pdparallel profile: 3 calls, speed-up over pandas {p.speed_up:.2f}"

    @pytest.mark.parametrize("seconds", [None, math.nan])
    def test_one_that_is_not_known_is_not_shown(self, seconds: float | None) -> None:
        p = self.profile(1, seconds)
        assert math.isnan(p.speed_up)
        assert "speed-up" not in repr(p)
        assert "cores kept busy" in repr(p)

    @pytest.mark.parametrize("seconds", [0, -1.0, math.inf, "1", True])
    def test_what_is_no_time_is_refused(self, seconds: Any) -> None:
        with pytest.raises(InvalidOptionError, match="pandas_seconds"):
            pdparallel.profile(seconds)

    def test_seconds_of_calls_at_the_same_time_count_once(self) -> None:
        spans = [(0.0, 4.0), (1.0, 2.0), (3.0, 6.0), (10.0, 11.0)]
        assert pdparallel.diagnostics.profile._seconds_of_any(spans) == 7.0
        assert pdparallel.diagnostics.profile._seconds_of_any([]) == 0.0
        assert math.isnan(pdparallel.diagnostics.profile._seconds_of_any([(0.0, math.nan)]))

    def test_of_no_calls(self) -> None:
        assert math.isnan(self.profile(0, 1.0).speed_up)

    def test_each_column_of_the_table_has_a_meaning(self) -> None:
        html = self.profile(1, 1.0)._repr_html_()
        table, meanings = html.split("<details>")
        assert [row[0] for row in Table(meanings).rows] == Table(table).rows[0]
        assert all(row[1] for row in Table(meanings).rows)


class TestChecks:
    def test_fit(self) -> None:
        found = check(abs, DF["a"], processes=False)
        assert repr(found) == "<Fitness of function 'abs': fit>"
        assert Table(found._repr_html_()).caption.startswith("function 'abs' is fit to run in parallel (3 values")

    def test_not_fit(self) -> None:
        seen: list[int] = []

        def keeps(value: int) -> int:
            seen.append(value)
            return len(seen)

        found = check(keeps, DF["a"], processes=False)
        assert repr(found) == f"<Fitness of {found.name}: not fit: order, state>"
        head, *rows = Table(found._repr_html_()).rows
        assert head == ["what", "meaning", "where it shows first", "what to do"]
        assert {row[0] for row in rows} == {"order", "state"}
        assert all(all(row) for row in rows)
