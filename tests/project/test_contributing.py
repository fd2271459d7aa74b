"""Check the files for contributors: their examples work, what they name exists, and each folder is in the table."""

from __future__ import annotations

import ast
import doctest
import itertools
import re
import shlex
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import pdparallel
from pdparallel.api import series
from tests import essential
from tests.engines import test_engines as contract
from tests.examples import new_engine, new_fault, new_verb
from tests.faults import test_table as faults
from tests.prose import long_sentences, sentences

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "CONTRIBUTING.md").read_text()
MAKEFILE = (ROOT / "Makefile").read_text()
DATE = r"\d{4}-\d\d-\d\d"
MAX_LINES = 150


def cases_of(test: Callable[..., Any]) -> Iterator[dict[str, Any]]:
    """Yield the arguments of each case of a parametrized test, without those that a fixture makes of them."""
    marks = [mark for mark in getattr(test, "pytestmark", ()) if mark.name == "parametrize" and not mark.kwargs]
    for case in itertools.product(*([{mark.args[0]: value} for value in mark.args[1]] for mark in marks)):
        yield {name: value for one in case for name, value in one.items()}


# The example of an engine


def contracts() -> Iterator[Any]:
    """Yield each test of an engine, also those of an engine whose workers may die."""
    for name, test in vars(contract).items():
        marks = [mark for mark in getattr(test, "pytestmark", ()) if mark.name == "parametrize"]
        if name.startswith("test_") and any(mark.args[0] == "engine" for mark in marks):
            for case in cases_of(test):
                if case.get("death") in ("SIGSEGV", "exit 3"):  # like SIGKILL and exit 0, at a second each
                    continue
                yield pytest.param(test, case, id="-".join([name, *map(str, case.values())]))


@pytest.fixture
def engine(alone: None) -> Iterator[Any]:
    engine = new_engine.FreshEngine(2)
    yield engine
    engine.close(kill=True)


@pytest.mark.parametrize(("test", "case"), list(contracts()))
def test_the_engine_keeps_the_contract(engine: Any, test: Callable[..., None], case: dict[str, Any]) -> None:
    test(engine, **case)


def test_a_call_takes_the_engine_object(engine: Any) -> None:
    assert pdparallel.map(lambda x: x * 2, range(5), engine=engine, chunk_size=2) == [0, 2, 4, 6, 8]


# The example of a verb


@pytest.fixture
def combine(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    monkeypatch.setattr(series.SeriesVerbs, "combine", new_verb.combine, raising=False)
    return new_verb.combine


@pytest.mark.parametrize("case", list(cases_of(new_verb.test_combine)), ids=lambda case: "-".join(case.values()))
def test_the_verb_gives_what_pandas_gives(combine: Callable[..., Any], case: dict[str, Any]) -> None:
    new_verb.test_combine(**case)


def test_the_example_of_the_verb(combine: Callable[..., Any]) -> None:
    [example] = doctest.DocTestFinder().find(combine, "combine", module=False)
    assert doctest.DocTestRunner().run(example) == doctest.TestResults(0, len(example.examples))
    assert len(example.examples) >= 2


# The example of a fault


@pytest.mark.parametrize("engine", faults.SOME)
def test_the_user_sees_what_the_row_says(engine: str, alone: None) -> None:
    fault = new_fault.FAULT
    assert (fault.stage, fault.sabotage) not in {(one.stage, one.sabotage) for one in faults.FAULTS}
    if engine in fault.engines:
        faults.test_a_fault(fault, engine, None)
    else:
        assert engine in ("serial", "asyncio", "numba")


# The text


def test_it_is_short() -> None:
    assert len(TEXT.splitlines()) <= MAX_LINES


@pytest.mark.parametrize("name", ["CONTRIBUTING.md", "RELEASING.md", "CHANGELOG.md"])
def test_sentences_are_short(name: str) -> None:
    text = (ROOT / name).read_text()
    assert len(sentences(text)) > 40
    assert long_sentences(text) == []


TEXTS = {"CONTRIBUTING.md": TEXT} | {
    f"tests/examples/{path.name}": ast.get_docstring(ast.parse(path.read_text())) or ""
    for path in (ROOT / "tests" / "examples").glob("new_*.py")
}


@pytest.mark.parametrize("name", TEXTS)
def test_files_that_it_names_exist(name: str) -> None:
    folders = [ROOT, ROOT / "pdparallel", *(path for path in (ROOT / "pdparallel").iterdir() if path.is_dir())]
    pattern = r"`((?:[\w.]+/)*\w+\.(?:py|md|yml)|(?:[\w.]+/)+)`"
    named = set(re.findall(pattern, TEXTS[name])) | set(re.findall(r"\]\(([^)#:]+)\)", TEXTS[name]))
    named -= {"pdparallel/engines/fresh.py", "engines/fresh.py", "docs/_build/html/"}
    assert len(named) > (30 if name == "CONTRIBUTING.md" else 2)
    assert not [name for name in named if not any((folder / name).exists() for folder in folders)]


def test_each_folder_of_the_package_has_its_row() -> None:
    table = "".join(line for line in TEXT.splitlines() if line.startswith("|"))
    folders = [path.parent.name for path in (ROOT / "pdparallel").glob("*/__init__.py")]
    assert len(folders) >= 5
    assert [folder for folder in folders if f"`{folder}/`" not in table] == []


def test_each_option_of_the_tests_exists() -> None:
    """The table of commands names environment variables that tests read."""
    tests = "".join(path.read_text() for path in (ROOT / "tests").rglob("*.py") if path != Path(__file__))
    named = set(re.findall(r"`([A-Z]+)=\w+ \.venv", TEXT))
    assert named
    assert [name for name in named if f'"{name}"' not in tests] == []


def test_commands_of_make_exist() -> None:
    for name in ("CONTRIBUTING.md", "RELEASING.md", "README.md"):
        text = (ROOT / name).read_text()
        commands = re.findall(r"(?:`|^)make ((?:[a-z-]+ ?)+)(?:`| {2,}|$)", text, flags=re.MULTILINE)
        assert commands
        assert {target for command in commands for target in command.split()} <= targets()


def test_modules_that_it_runs_exist() -> None:
    for name in ("CONTRIBUTING.md", "RELEASING.md"):
        for module in re.findall(r"python -m ((?:tests|benchmarks)[.\w]*)", (ROOT / name).read_text()):
            path = ROOT / module.replace(".", "/")
            assert path.with_suffix(".py").exists() or (path / "__main__.py").exists(), module


def targets() -> set[str]:
    [line] = re.findall(r"^\.PHONY: (.+)$", MAKEFILE, flags=re.MULTILINE)
    return set(line.split())


def test_what_ci_runs_exists() -> None:
    text = (ROOT / ".github/workflows/ci.yml").read_text()
    assert set(re.findall(r"run: make (\w+)", text)) <= targets()
    modules = re.findall(r"python -m tests\.(\w+)", text)
    assert set(modules) == {"essential", "fuzz"}
    for name in modules:
        assert (ROOT / "tests" / f"{name}.py").exists()
    for name in essential.TESTS:
        assert (ROOT / "tests" / name).exists()


def test_make_tells_of_each_target() -> None:
    told = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert not [target for target in targets() - {"help"} if not re.search(rf"\b(make |, ){target}\b", told)]
    assert targets() == set(re.findall(r"^([a-z][a-z-]*):(?!=)", MAKEFILE, flags=re.MULTILINE))


def test_make_clean_removes_what_git_ignores() -> None:
    said = subprocess.run(["make", "-n", "clean"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    removed = set(shlex.split(said, comments=False))
    environments = set(re.findall(r"^[A-Z]+ := (\.venv\S*)$", MAKEFILE, flags=re.MULTILINE))
    ignored = {line.rstrip("/") for line in (ROOT / ".gitignore").read_text().splitlines()}
    # Jupyter's and an editable install's are no target's.
    made = {name for name in ignored if not name.startswith(("*", ".venv"))} - {".ipynb_checkpoints"}
    assert len(environments) >= 4
    assert environments | made <= removed


# Versions


def test_the_changelog_begins_with_this_version() -> None:
    sections = re.findall(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(), flags=re.MULTILINE)
    released, dev, _ = pdparallel.__version__.partition(".dev")
    assert re.fullmatch(rf"\[{re.escape(released)}\] - {'Unreleased' if dev else DATE}", sections[0])
    assert all(re.fullmatch(rf"\[\d+\.\d+\.\d+\] - {DATE}", section) for section in sections[1:])


def test_a_release_changes_two_lines(tmp_path: Path) -> None:
    [commands] = re.findall(
        r"^```\n(version=.*?)^git diff", (ROOT / "RELEASING.md").read_text(), re.DOTALL | re.MULTILINE
    )
    for name in ("pdparallel/__init__.py", "CHANGELOG.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text((ROOT / name).read_text())
    version = pdparallel.__version__.partition(".dev")[0]
    commands = re.sub(r"^version=.*", f"version={version}", commands)
    subprocess.run(["bash", "-euc", commands], cwd=tmp_path, check=True)
    assert f'\n__version__ = "{version}"\n' in (tmp_path / "pdparallel/__init__.py").read_text()
    assert re.search(rf"^## \[{re.escape(version)}\] - {DATE}$", (tmp_path / "CHANGELOG.md").read_text(), re.MULTILINE)


def test_functions_of_the_path_of_a_call_exist() -> None:
    """Each function that follows a file is defined in it: ``operations/apply.py``: ``apply_frame``."""
    steps = re.findall(r"`(\w+/\w+\.py)`: `(?:(\w+)\.)?(\w+)`", TEXT)
    assert len(steps) >= 12
    for file, cls, name in steps:
        code = (ROOT / "pdparallel" / file).read_text()
        assert f"def {name}(" in code, (file, name)
        assert not cls or f"class {cls}" in code, (file, cls)
