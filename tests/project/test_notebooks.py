"""The notebooks as they are stored: whole runs without warnings, and nothing of the machine that they ran on.

That they run, and that their assertions hold, is for ``make notebooks``.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))


@pytest.fixture(params=NOTEBOOKS, ids=[path.stem for path in NOTEBOOKS])
def path(request) -> Path:
    return request.param


@pytest.fixture
def notebook(path):
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.fixture
def code(notebook):
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def test_there_are_notebooks():
    assert NOTEBOOKS


def test_stored_from_one_whole_run(code):
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    assert any(cell["outputs"] for cell in code)


def test_no_error_and_no_warning_in_the_outputs(code):
    outputs = [output for cell in code for output in cell["outputs"]]
    assert not [output for output in outputs if output["output_type"] == "error" or output.get("name") == "stderr"]


def test_nothing_of_the_machine(path, notebook):
    assert notebook["metadata"] == {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    assert not any(cell["metadata"] for cell in notebook["cells"])
    assert not re.search(r"/(home|root|tmp|Users|usr|opt)/|[A-Z]:\\\\|0x[0-9a-f]{6}", path.read_text(encoding="utf-8"))


def test_the_readme_tells_of_it(path):
    assert f"]({path.name})" in (FOLDER / "README.md").read_text(encoding="utf-8")
