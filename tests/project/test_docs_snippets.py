"""Snippets of the documentation: each Python block runs and prints the output on the page.

A block is a session (``>>>``), or a file whose first line is its name. A ``console`` block has commands after ``$``
and what they print. Blocks of one page share their variables and a folder. Servers on the web are replaced by one on
this machine.
"""

from __future__ import annotations

import contextlib
import doctest
import http.server
import importlib.util
import io
import json
import re
import sys
import threading
import tomllib
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import pdparallel
from pdparallel.core.options import Options
from pdparallel.execution.waiting import Asked, WaitingHint
from pdparallel.testing import assert_same
from pdparallel.testing._force import force
from tests.snippets import ROOT, run, without_bars

pytestmark = pytest.mark.skipif(pd.__version__ < "3", reason="the pages show what pandas 3 prints")

DOCS = ROOT / "docs"

#: Seconds that a command may take: some start a cluster.
LIMIT = 280

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE

#: Optional packages that a page, or a file of a page, needs.
NEEDED = {
    "how-to/http-api.md": ("httpx", "requests"),
    "how-to/http-api.md server.py": ("fastapi",),
    "how-to/files-and-images.md": ("PIL",),
    "how-to/larger-than-memory.md clean_parquet.py": ("pyarrow",),
    "how-to/dask-and-ray.md on_dask.py": ("distributed",),
    "how-to/dask-and-ray.md on_ray.py": ("ray",),
    "how-to/functions-of-numbers.md": ("numba",),
    "how-to/moving.md with_joblib.py": ("joblib",),
}

#: Number of text blocks of a page. They show a bar, measured times or a picture; tests below check four of them.
SEEN = {
    "tutorial.md": 1,
    "how-to/resume-a-run.md": 1,
    "how-to/progress-and-output.md": 1,
    "how-to/find-the-slow-part.md": 2,
    "explanation/how-it-works.md": 2,
    "explanation/guarantees.md": 1,
}


def pages() -> dict[str, str]:
    found = [path for path in DOCS.rglob("*.md") if "_build" not in path.parts]
    return {path.relative_to(DOCS).as_posix(): path.read_text(encoding="utf-8") for path in sorted(found)}


PAGES = pages()


def blocks(text: str) -> list[tuple[str, str]]:
    """Return kind and content of each block."""
    return re.findall(r"^```([^\n`]*)\n(.*?)^```$", text, flags=re.DOTALL | re.MULTILINE)


def sessions(text: str) -> str:
    return "\n".join(content for kind, content in blocks(text) if kind == "python" and content.startswith(">>>"))


def files(text: str) -> dict[str, str]:
    return {content.split()[1]: content for kind, content in blocks(text) if kind == "python" and content[0] == "#"}


def commands(text: str) -> list[tuple[str, str]]:
    """Return each command of the console with its output."""
    consoles = "".join(content for kind, content in blocks(text) if kind == "console")
    return re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", consoles, flags=re.MULTILINE)


def skip_unless_there(*keys: str) -> None:
    for module in (name for key in keys for name in NEEDED.get(key, ())):
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is not installed")


class Api(http.server.BaseHTTPRequestHandler):
    """The services of the pages: rates, the same from a busy service, and a language model.

    The busy service refuses each first question, the language model each fourth.
    """

    rates = {"EUR": 1.0, "NOK": 11.7, "JPY": 162.3}
    refused: set[str] = set()
    questions = 0

    def do_GET(self) -> None:
        if self.path.startswith("/busy/") and self.path not in self.refused:
            self.refuse(self.path)
        else:
            self.answer({"rate": self.rates[self.path.rpartition("/")[2]]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        prompt = body["messages"][0]["content"]
        number = int(re.search(r"\d+", prompt)[0])
        type(self).questions += 1
        if number % 4 == 0 and prompt not in self.refused:
            self.refuse(prompt)
            return
        text = f"Good soup, slow waiter, number {number}."
        self.answer({"choices": [{"message": {"content": text}}]})

    def refuse(self, question: str) -> None:
        self.refused.add(question)
        self.send_response(429)
        self.send_header("Retry-After", "0.01")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def answer(self, content: object) -> None:
        body = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Print nothing."""


class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 100


@pytest.fixture
def api() -> Iterator[str]:
    """Start the services and give their address."""
    with Server(("127.0.0.1", 0), Api) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        Api.refused.clear()
        Api.questions = 0
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def local(text: str, api: str) -> str:
    """Replace the services by those on this machine."""
    text = text.replace("https://busy.example.com", f"http://{api}/busy")
    return re.sub(r"https://(api|llm)\.example\.com", f"http://{api}", text)


def same(shown: str, came: str) -> bool:
    return doctest.OutputChecker().check_output(without_bars(shown), without_bars(came), FLAGS)


def run_session(text: str, page: str) -> int:
    """Run the examples. Unlike doctest, compare the notes of an exception on each version of Python."""
    examples = doctest.DocTestParser().get_examples(text, page)
    variables = {"__name__": "__main__"}
    for example in examples:
        printed, raised = io.StringIO(), None
        with (
            contextlib.redirect_stdout(printed),
            warnings.catch_warnings(),
            pytest.MonkeyPatch.context() as patch,
        ):
            patch.setattr(sys, "displayhook", sys.__displayhook__)
            warnings.simplefilter("ignore", pdparallel.FailedCallsWarning)
            try:
                exec(compile(example.source, f"<{page}>", "single"), variables)
            except Exception as error:
                raised = error
        where = f"{page}\n{example.source}"
        if raised is None:
            assert example.exc_msg is None, f"{where}raises nothing"
            got, expected = printed.getvalue(), example.want
        else:
            got = "".join(traceback.format_exception_only(raised))
            assert example.exc_msg is not None, f"{where}raises {got}"
            expected = example.exc_msg
        assert same(expected, got), f"{where}\nexpected:\n{expected}\ngot:\n{got}"
    return len(examples)


def test_every_block_is_of_a_kind_that_is_checked() -> None:
    seen = {}
    for page, text in PAGES.items():
        found = blocks(text)
        assert len(found) * 2 == text.count("```"), page
        kinds = [kind for kind, _ in found]
        assert {kind for kind in kinds if kind[:1] != "{"} <= {"python", "console", "text"}, page
        python = [content for kind, content in found if kind == "python"]
        assert all(content.startswith((">>>", "# ")) for content in python), page
        if "text" in kinds:
            seen[page] = kinds.count("text")
    assert seen == SEEN


@pytest.mark.parametrize(
    "text",
    [
        ">>> 1 + 1\n3\n",
        ">>> 1 / 0\n",
        ">>> 1 + 1\nTraceback (most recent call last):\n...\nZeroDivisionError: division by zero\n",
        ">>> 1 / 0\nTraceback (most recent call last):\n...\nZeroDivisionError: division by zero\nand a note\n",
    ],
)
def test_a_session_that_shows_something_else_is_found(text: str) -> None:
    with pytest.raises(AssertionError):
        run_session(text, "page")


def test_functions_in_sessions_end_with_an_empty_line() -> None:
    """Before Python 3.13, a session without the line ``...`` is a SyntaxError when it is pasted."""
    code = {path.as_posix(): path.read_text(encoding="utf-8") for path in (ROOT / "pdparallel").rglob("*.py")}
    statement = r"^( *)>>> ((?:async |with|def|class|for|if|while|try|@)[^\n]*)\n((?:\1\.\.\.[^\n]*\n)*)"
    for name, text in (PAGES | code).items():
        for indent, first, rest in re.findall(statement, text, flags=re.MULTILINE):
            assert rest.endswith(f"{indent}...\n"), f"{name}: {first}"


def test_there_are_blocks() -> None:
    assert sum(bool(sessions(text)) for text in PAGES.values()) >= 15
    assert sum(len(files(text)) for text in PAGES.values()) >= 10


@pytest.mark.parametrize("page", [page for page, text in PAGES.items() if sessions(text)])
def test_sessions_run_as_printed(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, api: str) -> None:
    skip_unless_there(page)
    monkeypatch.chdir(tmp_path)
    before = pdparallel.get_options()
    assert run_session(local(sessions(PAGES[page]), api), page) >= 3
    assert pdparallel.get_options() == before


@pytest.mark.timeout(300)  # Ray and Dask start their own processes
@pytest.mark.parametrize(
    ("page", "command", "shown"),
    [
        (page, command, shown)
        for page, text in PAGES.items()
        for command, shown in commands(text)
        if not command.startswith("pip ")
    ],
    ids=lambda value: value.split("\n")[0] if value.startswith("python ") else "",
)
def test_commands_run_as_printed(page: str, command: str, shown: str, tmp_path: Path, api: str) -> None:
    found = files(PAGES[page])
    (name,) = [word for word in command.split() if word in found] or [""]
    skip_unless_there(page, f"{page} {name}")
    for file, text in found.items():
        (tmp_path / file).write_text(local(text, api), encoding="utf-8")
    if "trips.csv" in found.get(name, "") or "trips.parquet" in found.get(name, ""):
        trips = pd.DataFrame({"km": np.arange(250_000) % 2_000})
        trips.to_csv(tmp_path / "trips.csv", index=False)
        if name == "clean_parquet.py":
            trips.to_parquet(tmp_path / "trips.parquet", row_group_size=50_000)
    came = run(command, tmp_path, LIMIT)
    assert came.returncode == 0, came.stdout
    assert same(shown, came.stdout if name != "on_ray.py" else came.stdout.splitlines()[-1] + "\n"), came.stdout


def test_each_file_is_run() -> None:
    for page, text in PAGES.items():
        run_by_commands = {word for command, _ in commands(text) for word in command.split()}
        assert set(files(text)) - run_by_commands <= {"conftest.py"}, page


def test_what_is_said_of_the_summaries(tmp_path: Path, api: str) -> None:
    """Each refused question is asked once more, and a second run asks nothing."""
    skip_unless_there("how-to/http-api.md")
    text = local(files(PAGES["how-to/http-api.md"])["summaries.py"], api)
    (tmp_path / "summaries.py").write_text(text, encoding="utf-8")
    for _ in range(2):
        came = run("python summaries.py", tmp_path, LIMIT)
        assert came.returncode == 0, came.stdout
        assert Api.questions == 40 + 10


def test_what_is_said_of_an_exception_and_a_checkpoint(tmp_path: Path) -> None:
    script = files(PAGES["tutorial.md"])["trips.py"].replace(', errors="return"', "").replace("0.001", "0")
    (tmp_path / "trips.py").write_text(script, encoding="utf-8")
    came = run("python trips.py", tmp_path, LIMIT)
    assert came.returncode == 1
    (shown,) = (content for kind, content in blocks(PAGES["how-to/resume-a-run.md"]) if kind == "text")
    shown = re.sub(r"1,\d+ of", "... of", shown)
    assert same(shown, "\n".join(came.stdout.splitlines()[-3:]) + "\n"), came.stdout


def test_what_is_said_of_a_suite_without_workers(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(files(PAGES["how-to/test-your-function.md"])["conftest.py"])
    test = "import os, pandas as pd, pdparallel\ndef test_it():\n    s = pd.Series([1, 2])\n"
    test += "    assert set(s.par(engine='process').map(lambda _: os.getpid())) == {os.getpid()}\n"
    (tmp_path / "test_it.py").write_text(test)
    came = run("python -m pytest -q test_it.py", tmp_path, LIMIT)
    assert came.returncode == 0, came.stdout


def test_the_exception_that_is_shown() -> None:
    df = pd.DataFrame({"km": [5, 12]}, index=["bus", "car"])
    with pytest.raises(KeyError) as caught:
        df.par(engine="process").apply_rows(lambda row: {"bus": 1}[row.name])
    (shown,) = (content for kind, content in blocks(PAGES["explanation/guarantees.md"]) if kind == "text")
    assert "".join(traceback.format_exception_only(caught.value)) == shown


def test_what_an_explanation_shows() -> None:
    df = pd.DataFrame({"a": range(500), "b": range(500), "note": "text"})
    with pdparallel.option_context(engine="process", n_workers=2):
        found = str(df.par.explain(lambda row: row["a"] * 2 + row["b"]))
    shown, _ = (content for kind, content in blocks(PAGES["how-to/find-the-slow-part.md"]) if kind == "text")
    label = re.compile(r"^ {2,4}(\w+(?: \w+)*)  ", flags=re.MULTILINE)
    assert len(label.findall(shown)) > 10
    # They depend on measurements, and on what is installed.
    assert set(label.findall(shown)) - set(label.findall(found)) <= {"advice", "with numba"}, found


def test_what_a_hint_says(monkeypatch: pytest.MonkeyPatch) -> None:
    force(monkeypatch.setattr, hint_seconds=5.0)
    asked = Asked("apply_rows", "row", lambda row: row)
    with pytest.warns(pdparallel.PerformanceHint) as found:
        WaitingHint(Options(n_workers=2)).judge(asked, 12.0, 1_000, 24.0, 0.94 * 24.0)
    _, shown = (content for kind, content in blocks(PAGES["how-to/find-the-slow-part.md"]) if kind == "text")
    assert " ".join(shown.split()) == f"PerformanceHint: {found[0].message}"


def moves() -> list[tuple[str, str]]:
    """Return each row of the tables of moving.md that has calls in both cells."""
    rows = re.findall(r"^\| `(.+)` \| `(.*par.+)` \|$", PAGES["how-to/moving.md"], flags=re.MULTILINE)
    return [(before, after) for before, after in rows if "(" in after]


#: The same work by pandas or Python.
PLAIN = {
    "df.par.apply_rows(f)": lambda df, n: df.apply(n["f"], axis=1),
    "df.par.apply_cols(f)": lambda df, n: df.apply(n["f"]),
    "df.par.map(u)": lambda df, n: df.map(n["u"]),
    "s.par.map(u)": lambda df, n: df["value"].map(n["u"]),
    "s.par.apply(u)": lambda df, n: df["value"].apply(n["u"]),
    "s.par.rolling(4).apply(h)": lambda df, n: df["value"].rolling(4).apply(n["h"]),
    'df.par.groupby("key").apply(g)': lambda df, n: df.groupby("key").apply(n["g"]),
    "df.par(n_workers=2).apply_chunks(g)": lambda df, n: n["g"](df),
    'df.par(engine="numba").apply_rows(r)': lambda df, n: df.apply(n["r"], axis=1),
    'df.par(engine="numba").apply_rows(t, raw=True)': lambda df, n: df.apply(n["t"], axis=1, raw=True),
    's.par(engine="numba").map(u)': lambda df, n: df["value"].map(n["u"]),
    's.par(engine="numba").rolling(4).apply(h, raw=True)': lambda df, n: df["value"].rolling(4).apply(n["h"]),
    "pdparallel.map(u, items)": lambda df, n: [n["u"](item) for item in n["items"]],
    "pdparallel.map(w, firsts, seconds)": lambda df, n: [4, 6],
}


def test_the_plain_calls_are_shown() -> None:
    assert set(PLAIN) <= {after for _, after in moves()}
    assert len(moves()) >= 30


@pytest.mark.parametrize(("before", "after"), moves())
def test_what_replaces_another_package_runs(before: str, after: str) -> None:
    if "numba" in after:
        pytest.importorskip("numba")
    df = pd.DataFrame({"key": [1, 1, 2, 2, 2], "value": [3.0, 4.0, 5.0, 6.0, 7.0]})
    names = {
        "df": df, "s": df["value"], "items": [1, 2], "firsts": [1, 2], "seconds": [3, 4],
        "f": lambda row: row.max() + 1, "g": lambda part: part[["value"]] + 1, "h": lambda window: window.sum(),
        "u": lambda value: value + 1, "v": lambda row: row.value, "w": lambda one, other: one + other,
        "c": lambda column: column.sum(), "t": lambda row: row[1], "r": lambda row: row["value"] * 2, "numbers": [1, 2],
        "load": lambda name: None, "pdparallel": pdparallel,
    }  # fmt: skip
    before_it = pdparallel.get_options()
    try:
        found = eval(after, names)
    finally:
        pdparallel.set_options(n_workers=before_it["n_workers"], progress=before_it["progress"])
    if after in PLAIN:
        assert_same(found, PLAIN[after](df, names))
    if hasattr(found, "close"):
        assert len(list(found)) >= 1
    if hasattr(found, "result"):
        assert_same(found.result(), df.apply(names["f"], axis=1))


def test_names_of_options_are_ours() -> None:
    text = PAGES["how-to/moving.md"].partition("## Names of options")[2]
    named = set(re.findall(r"^\| .* \| .*?`(\w+)`", text, flags=re.MULTILINE))
    assert named <= set(pdparallel.get_options())
    assert len(named) >= 4


def test_extras_and_the_package_have_the_names_that_pip_is_given() -> None:
    given = [
        command.split()[2].strip("'") for text in PAGES.values() for command, _ in commands(text) if "pip" in command
    ]
    assert given
    for name in given:
        package, _, extra = name.rstrip("]").partition("[")
        assert package == PROJECT["name"]
        assert not extra or extra in PROJECT["optional-dependencies"]
