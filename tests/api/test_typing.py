"""Types: both type checkers see what ``tests/typing/api.py`` says, and refuse each marked line of ``wrong.py``."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, get_type_hints

import pytest

import pdparallel
from pdparallel.core.options import Options
from pdparallel.typing import OptionsDict

ROOT = Path(__file__).parents[2]
FOLDER = Path("tests", "typing")
WRONG = (ROOT / FOLDER / "wrong.py").read_text().splitlines()
MARKED = {number for number, line in enumerate(WRONG, 1) if line.endswith("# error")}


def has(*names: str) -> bool:
    """Whether all of these are installed; stubs are no modules."""
    try:
        return all(importlib.metadata.version(name) for name in names)
    except importlib.metadata.PackageNotFoundError:
        return False


def mypy(*files: str) -> tuple[int, set[tuple[str, int]], str]:
    command = [sys.executable, "-m", "mypy", "--no-error-summary", "--hide-error-context", "--no-pretty"]
    done = subprocess.run(
        [*command, *(str(FOLDER / file) for file in files)],
        cwd=ROOT, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    found = re.findall(r"^(.+?):(\d+): error:", done.stdout, flags=re.MULTILINE)
    return done.returncode, {(Path(path).name, int(line)) for path, line in found}, done.stdout + done.stderr


def pyright(*files: str) -> tuple[int, set[tuple[str, int]], str]:
    module = "pyright" if has("pyright") else "basedpyright"
    done = subprocess.run(
        [sys.executable, "-m", module, "--outputjson", "--pythonpath", sys.executable,
         *(str(FOLDER / file) for file in files)],
        cwd=ROOT, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    said: dict[str, Any] = json.loads(done.stdout)
    errors = [one for one in said["generalDiagnostics"] if one["severity"] == "error"]
    found = {(Path(one["file"]).name, one["range"]["start"]["line"] + 1) for one in errors}
    lines = [f"{one['file']}:{one['range']['start']['line'] + 1}: {one['message']}" for one in errors]
    return done.returncode, found, "\n".join(lines)


CHECKERS = [
    pytest.param(
        mypy, marks=pytest.mark.skipif(not has("mypy", "pandas-stubs"), reason="mypy or pandas-stubs is not installed")
    ),
    pytest.param(
        pyright,
        marks=pytest.mark.skipif(
            not (has("pandas-stubs") and (has("pyright") or has("basedpyright"))),
            reason="pyright or pandas-stubs is not installed",
        ),
    ),
]


@pytest.mark.timeout(400)
@pytest.mark.parametrize("checker", CHECKERS)
def test_right_uses_are_typed_as_they_say(checker) -> None:
    code, found, said = checker("api.py")
    assert not found, said
    assert code == 0, said


@pytest.mark.timeout(400)
@pytest.mark.parametrize("checker", CHECKERS)
def test_wrong_uses_are_refused(checker) -> None:
    _, found, said = checker("wrong.py")
    assert len(MARKED) > 20
    assert found == {("wrong.py", line) for line in MARKED}, said


def test_the_options_of_a_type_checker_are_those_there_are() -> None:
    assert set(get_type_hints(OptionsDict)) == set(Options.__dataclass_fields__)


def test_the_marker_of_typed_packages_is_there() -> None:
    assert (Path(pdparallel.__file__).parent / "py.typed").is_file()
