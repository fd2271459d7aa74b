"""The documentation as pages: everything public stands in the reference, and what is gathered belongs together."""

from __future__ import annotations

import dataclasses
import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

from pdparallel.options import MEANINGS, Options
from tests.public import everything_public

ROOT = Path(__file__).parent.parent


def of_docs(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"docs_{name}", ROOT / "docs" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


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
        "pdparallel.accessor.FramePar.": "pandas.DataFrame.par.",
        "pdparallel.accessor.SeriesPar.": "pandas.Series.par.",
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
    assert {"index.md", "first-screen.md", "CONTRIBUTING.md", "CHANGELOG.md"} <= {path.name for path in pages}
    assert len(list(tmp_path.glob("notebooks/*.ipynb"))) == len(list(ROOT.glob("notebooks/*.ipynb")))
    for page in pages:
        for link in gather.links(page.read_text()):
            assert not link[1] or (page.parent / link[1]).exists(), f"{page.relative_to(tmp_path)}: {link[0]}"


def test_each_section_of_the_readme_is_a_page(tmp_path: Path) -> None:
    gather = of_docs("gather")
    readme = (ROOT / "README.md").read_text()
    first, sections = gather.sections(readme)
    assert first + "".join(sections.values()) == readme
    gather.Gathered(tmp_path).fill()
    assert {path.stem for path in tmp_path.glob("guide/*.md")} == {*sections, "index"} - gather.LEFT_OUT


def test_what_looks_like_a_heading_in_code_is_none() -> None:
    first, sections = of_docs("gather").sections("# A\n\n```\n## code\n```\n\n## One, two\n\ntext\n\n## 3\n")
    assert first == "# A\n\n```\n## code\n```\n\n"
    assert sections == {"one-two": "## One, two\n\ntext\n\n", "3": "## 3\n"}


@pytest.mark.parametrize(
    ("link", "expected"),
    [
        ("[a](README.md)", "[a](../index.md)"),
        ("[a](README.md#limits)", "[a](limits.md)"),
        ("[a](#limits)", "[a](limits.md)"),
        ("![a](benchmarks/results/peers.png)", "![a](../benchmarks/results/peers.png)"),
        ("[a](benchmarks)", "[a](../benchmarks/README.md)"),
        ("[a](https://example.org/x.md#y)", "[a](https://example.org/x.md#y)"),
        ("```\n[a](CHANGELOG.md)\n```\n", "```\n[a](CHANGELOG.md)\n```\n"),
    ],
)
def test_links_lead_from_the_page(link: str, expected: str, tmp_path: Path) -> None:
    gathered = of_docs("gather").Gathered(tmp_path)
    assert gathered._led(link, "README.md", "guide/what-you-write.md") == expected


def test_broken_links_are_found(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text('<p id="here"><a href="b.html#there">x</a><a href="#nowhere">x</a></p>')
    (tmp_path / "b.html").write_text('<p id="there"><a href="a.html?v=1#here">x</a><img src="gone.png"></p>')
    assert of_docs("links").broken(tmp_path) == ["a.html: #nowhere", "b.html: gone.png"]
