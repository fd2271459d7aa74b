"""The documentation: the reference has each public name, links work, sentences are short, figures are measured."""

from __future__ import annotations

import dataclasses
import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

import pdparallel
from pdparallel.core.options import MEANINGS, Options
from tests.public import everything_public

ROOT = Path(__file__).parents[2]

#: The pages that are written in docs.
OWN = sorted(path for path in (ROOT / "docs").rglob("*.md") if "_build" not in path.parts)


def of_docs(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"docs_{name}", ROOT / "docs" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def without_code(text: str) -> str:
    """Return the prose and the tables of a page."""
    text = re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)
    return re.sub(r"`[^`\n]+`", "code", text)


def sentences(text: str) -> list[str]:
    """Split the paragraphs and the points of lists into sentences."""
    text = re.sub(r"^(?:#|\||<|!\[|---|html_theme).*$", "", without_code(text), flags=re.MULTILINE)
    text = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", text)
    parts = re.split(r"\n\s*\n|^- ", text, flags=re.MULTILINE)
    found = [one for part in parts for one in re.split(r"(?<=[.?!:])\**\s+(?=\W*[A-Z0-9c])", " ".join(part.split()))]
    return [sentence.strip("*") for sentence in found if sentence]


def in_the_reference() -> list[str]:
    found = []
    for page in (ROOT / "docs" / "reference").glob("*.rst"):
        module = ""
        for line in page.read_text().splitlines():
            if line.startswith(".. currentmodule:: "):
                module = line.split(":: ")[1]
            elif re.fullmatch(r"   [\w.]+", line) and module:
                found.append(f"{module}.{line.strip()}")
    return found


def test_everything_public_stands_in_the_reference_once() -> None:
    accessors = {
        "pdparallel.api.accessor.FramePar.": "pandas.DataFrame.par.",
        "pdparallel.api.accessor.SeriesPar.": "pandas.Series.par.",
    }
    expected = []
    for name in everything_public():
        for ours, shown in accessors.items():
            name = name.replace(ours, shown)
        expected.append(name)
    assert sorted(in_the_reference()) == sorted(expected)


def test_the_types_that_options_have_stand_there() -> None:
    types = (ROOT / "docs" / "reference" / "types.rst").read_text()
    text = (ROOT / "pdparallel" / "typing.py").read_text()
    options = text[text.index("class OptionsButErrors") : text.index("# Results")]
    for name in set(re.findall(r"\b(?:[A-Z]\w+)\b", options)) & set(
        re.findall(r"^(\w+): TypeAlias", text, re.MULTILINE)
    ):
        assert f".. autodata:: {name}\n" in types


def test_each_option_has_a_row_in_the_reference() -> None:
    page = (ROOT / "docs" / "reference" / "options.rst").read_text()
    rows = re.findall(r"   \* - ``(\w+)``\n     - ``(.+)``\n     - (.+)\n", page)
    assert rows == [(field.name, repr(field.default), MEANINGS[field.name]) for field in dataclasses.fields(Options)]


def test_pages_are_gathered_with_all_that_they_lead_to(tmp_path: Path) -> None:
    gather = of_docs("gather")
    gather.Gathered(tmp_path).fill()
    pages = list(tmp_path.rglob("*.md"))
    assert {"index.md", "tutorial.md", "CONTRIBUTING.md", "CHANGELOG.md"} <= {path.name for path in pages}
    assert len(list(tmp_path.glob("notebooks/*.ipynb"))) == len(list(ROOT.glob("notebooks/*.ipynb")))
    for page in pages:
        for link in gather.links(page.read_text()):
            assert not link[1] or (page.parent / link[1]).exists(), f"{page.relative_to(tmp_path)}: {link[0]}"


def test_each_page_of_docs_keeps_its_path(tmp_path: Path) -> None:
    gather = of_docs("gather")
    gather.Gathered(tmp_path).fill()
    written = {path.relative_to(ROOT / "docs") for path in OWN}
    assert len(written) >= 20
    assert {path.relative_to(ROOT / "docs") for path in gather.own_pages()} >= written
    assert all((tmp_path / path).is_file() for path in written)


def test_each_option_stands_in_the_table() -> None:
    text = (ROOT / "docs" / "how-to" / "options.md").read_text()
    cells = re.findall(r"^\| (`\w+`(?:, `\w+`)*) \| .* \|$", text, flags=re.MULTILINE)
    assert {name for cell in cells for name in re.findall(r"\w+", cell)} == {*pdparallel.get_options(), "columns"}


def test_links_of_the_pages_lead_to_files_of_the_repository() -> None:
    """Readers on GitHub follow them, too."""
    for path in OWN:
        for target, part in re.findall(r"\]\((?![a-z]+:)([^)#]*)(#[^)]*)?\)", without_code(path.read_text())):
            found = path.parent / target if target else path
            assert found.exists(), f"{path.name}: {target}"
            if part and found.suffix == ".md":
                titles = re.findall(r"^#+ (.*)$", found.read_text(), flags=re.MULTILINE)
                anchors = {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}
                assert part[1:] in anchors, f"{path.name}: {target}{part}"


def test_each_page_stands_in_a_toctree() -> None:
    for folder in (ROOT / "docs", ROOT / "docs" / "how-to", ROOT / "docs" / "explanation"):
        index = (folder / "index.md").read_text()
        listed = set(index.partition("```{toctree}")[2].split())
        assert {path.stem for path in folder.glob("*.md")} - {"index"} <= listed


def test_tables_come_from_the_benchmarks(tmp_path: Path) -> None:
    of_docs("gather").Gathered(tmp_path).fill()
    for name in ("when_it_helps", "peers_short"):
        table = (ROOT / "benchmarks" / "results" / f"{name}.md").read_text().strip()
        assert table in (tmp_path / "explanation" / "benchmarks.md").read_text()
    assert not [path for path in tmp_path.glob("explanation/*.md") if "<!-- table: " in path.read_text()]


@pytest.mark.parametrize("path", OWN, ids=lambda path: path.stem)
def test_figures_stand_in_a_table_of_the_benchmarks(path: Path) -> None:
    """Checks numbers with a decimal point before a unit of time or speed."""
    tables = "".join(one.read_text() for one in (ROOT / "benchmarks").rglob("*.md"))
    figures = re.findall(r"\b(\d+\.\d+)(?= (?:times|to|ms)\b)", without_code(path.read_text()))
    assert [figure for figure in figures if not re.search(rf"\b{re.escape(figure)}\b", tables)] == []


@pytest.mark.parametrize("path", OWN, ids=lambda path: path.stem)
def test_sentences_are_short(path: Path) -> None:
    """At most 20 words, because many readers have another first language."""
    long = [sentence for sentence in sentences(path.read_text()) if len(sentence.split()) > 20]
    assert not long


def test_long_sentences_are_found() -> None:
    text = "# A title\n\nOne two `df.par(a, b)` three. Four five.\n\n- six seven\n\n```python\n>>> eight\n```\n"
    assert sentences(text) == ["One two code three.", "Four five.", "six seven"]


@pytest.mark.parametrize(
    ("link", "expected"),
    [
        ("[a](README.md)", "[a](../index.md)"),
        ("[a](README.md#limits)", "[a](../index.md)"),
        ("[a](docs/tutorial.md)", "[a](../tutorial.md)"),
        ("![a](benchmarks/results/peers.png)", "![a](../benchmarks/results/peers.png)"),
        ("[a](benchmarks)", "[a](../benchmarks/README.md)"),
        ("[a](https://example.org/x.md#y)", "[a](https://example.org/x.md#y)"),
        ("```\n[a](CHANGELOG.md)\n```\n", "```\n[a](CHANGELOG.md)\n```\n"),
    ],
)
def test_links_lead_from_the_page(link: str, expected: str, tmp_path: Path) -> None:
    gathered = of_docs("gather").Gathered(tmp_path)
    assert gathered._led(link, "CONTRIBUTING.md", "notebooks/x.md") == expected


def test_links_of_a_page_of_docs_lead_to_its_neighbours(tmp_path: Path) -> None:
    gathered = of_docs("gather").Gathered(tmp_path)
    text = "[a](old-code.md) [b](../index.md#x) [c](#part) [d](../../CHANGELOG.md) [e](../reference/options.rst)"
    expected = "[a](old-code.md) [b](../index.md#x) [c](#part) [d](../CHANGELOG.md) [e](../reference/options.rst)"
    assert gathered._led(text, "docs/how-to/moving.md", "how-to/moving.md") == expected


def test_broken_links_are_found(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text('<p id="here"><a href="b.html#there">x</a><a href="#nowhere">x</a></p>')
    (tmp_path / "b.html").write_text('<p id="there"><a href="a.html?v=1#here">x</a><img src="gone.png"></p>')
    assert of_docs("links").broken(tmp_path) == ["a.html: #nowhere", "b.html: gone.png"]
