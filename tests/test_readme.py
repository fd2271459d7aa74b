"""The README: its sessions run as printed, and its figures are those that a benchmark of the repository printed."""

from __future__ import annotations

import doctest
import re
from pathlib import Path

import pandas as pd
import pytest

import pdparallel

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def test_sessions_run_as_printed() -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", README, flags=re.DOTALL | re.MULTILINE)
    assert len(blocks) >= 2
    session = doctest.DocTestParser().get_doctest("\n".join(blocks), {}, "README", "README.md", 0)
    assert len(session.examples) >= 6
    runner = doctest.DocTestRunner(verbose=False)
    report: list[str] = []
    runner.run(session, out=report.append)
    assert runner.failures == 0, "".join(report)


def test_the_first_session_is_short() -> None:
    first = re.search(r"^```python\n(.*?)^```", README, flags=re.DOTALL | re.MULTILINE)
    assert first is not None
    assert len(first.group(1).splitlines()) <= 8


@pytest.mark.parametrize("name", re.findall(r"<!-- table: benchmarks/results/(\w+)\.md -->", README))
def test_tables_are_what_the_benchmark_wrote(name: str) -> None:
    begin = rf"<!-- table: benchmarks/results/{name}\.md -->\n"
    quoted = re.search(begin + r"(.*?)\n<!-- end of table -->", README, re.DOTALL)
    assert quoted is not None
    assert quoted.group(1).strip() == (ROOT / "benchmarks" / "results" / f"{name}.md").read_text().strip()


def test_there_is_a_table() -> None:
    assert "<!-- table: benchmarks/results/when_it_helps.md -->" in README


def test_the_error_that_is_shown() -> None:
    df = pd.DataFrame({"km": [5, 12, 9], "minutes": [10, 8, 18]}, index=["bus", "car", "bike"])
    with pytest.raises(KeyError, match="'car'") as caught:
        df.par(engine="process").apply_rows(lambda row: {"bus": 1, "bike": 2}[row.name])
    shown = f"KeyError: {caught.value}\n  {caught.value.__notes__[0]}"
    assert shown in README
    assert pdparallel.__version__


def test_links_lead_to_files() -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / target).exists(), target
