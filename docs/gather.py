"""Collect the pages of the documentation in one folder, so that no text is written twice.

The pages of ``docs`` keep their paths. Notebooks, benchmarks, the guide for contributors and the changelog keep their
paths in the repository. Links between all of them are rewritten::

    docs/*.md, docs/how-to/*.md, docs/explanation/*.md, docs/reference/*.rst  ->  the same path below docs
    README.md                                                                 ->  index.md, the landing page
    each other file that a page links to                                      ->  the same path

A line ``<!-- table: benchmarks/results/speed.md -->`` of a page of ``docs`` becomes that table.
"""

from __future__ import annotations

import os
import posixpath
import re
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

#: Pages outside of docs. The files that they link to are copied, too.
PAGES = ("benchmarks/README.md", "notebooks/README.md", "CONTRIBUTING.md", "CHANGELOG.md")

#: Pages that have other pages below them in the navigation, with the pattern of those.
ABOVE = {"benchmarks/README.md": "benchmarks/results/*.md", "notebooks/README.md": "notebooks/*.ipynb"}

#: Pictures of a table, if their names differ from its name.
PICTURES = {"scale": ("rows", "cost", "first_call")}

#: A line that is replaced by a table.
_TABLE = re.compile(r"^<!-- table: (\S+) -->$", re.MULTILINE)

_FENCED = re.compile(r"^( *)(```+|~~~+).*?^\1\2", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"(?<=\]\()(?![a-z]+:)([^)#\s]*)(#[^)\s]*)?(?=\))")


def links(text: str) -> Iterator[re.Match[str]]:
    """Find the links to files of the repository, but not in blocks of code."""
    fenced = [found.span() for found in _FENCED.finditer(text)]
    for found in _LINK.finditer(text):
        if not any(start < found.start() < stop for start, stop in fenced):
            yield found


def in_words(stem: str) -> str:
    """Make a heading of the name of a file."""
    return stem.replace("_", " ").capitalize()


def toctree(pages: Sequence[str], how: str = ":maxdepth: 1") -> str:
    """Write a list of pages for Sphinx."""
    return "\n".join(["", "```{toctree}", how, "", *pages, "```", ""])


def own_pages() -> list[Path]:
    """Find the pages that are written in ``docs``."""
    docs = ROOT / "docs"
    found = [path for kind in ("*.md", "*/*.md", "reference/*.rst") for path in docs.glob(kind)]
    return sorted(path for path in found if path.parent.name != "_build")


def of_docs(name: str) -> str:
    """Return the path of a page, given its path in the repository."""
    return name.removeprefix("docs/")


def _quoted(text: str) -> str:
    return _TABLE.sub(lambda found: (ROOT / found[1]).read_text().strip(), text)


class Gathered:
    """The folder of all pages. Its old content is deleted."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._todo = list(PAGES)

    def fill(self) -> None:
        """Write all pages and the files that they link to."""
        shutil.rmtree(self._folder, ignore_errors=True)
        for path in own_pages():
            name = path.relative_to(ROOT).as_posix()
            self._write(of_docs(name), self._led(_quoted(path.read_text()), name, of_docs(name)))
        for picture in (ROOT / "docs" / "_static").glob("*.svg"):
            self._take(picture.relative_to(ROOT).as_posix())
        for pages in ABOVE.values():
            self._todo += [path.relative_to(ROOT).as_posix() for path in ROOT.glob(pages)]
        done: set[str] = set()
        while self._todo:
            name = self._todo.pop()
            if name not in done:
                done.add(name)
                self._take(name)

    def _take(self, name: str) -> None:
        path = ROOT / name
        if path.suffix not in (".md", ".ipynb"):
            target = self._folder / of_docs(name)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
            return
        text = self._led(path.read_text(), name, name)
        if name in ABOVE:
            below = sorted(ROOT.glob(ABOVE[name]))
            text += toctree([one.relative_to(path.parent).with_suffix("").as_posix() for one in below], ":hidden:")
        if name.startswith("benchmarks/results/"):
            text = f"# {in_words(path.stem)}\n\n{text}"
            pictures = [path.with_stem(one).with_suffix(".png") for one in (path.stem, *PICTURES.get(path.stem, ()))]
            shown = [f"\n![{in_words(one.stem)}]({one.name})\n" for one in pictures if one.exists()]
            self._todo += [one.relative_to(ROOT).as_posix() for one in pictures if one.exists()]
            text = "".join([text, *shown])
        elif path.suffix == ".md" and name not in PAGES:
            text = f"---\norphan: true\n---\n\n{text}"
        self._write(name, text)

    def _led(self, text: str, here: str, page: str) -> str:
        """Rewrite the links of a text for its page, and note the files that must be copied."""
        parts, at = [], 0
        for found in links(text):
            target, part = found[1], found[2] or ""
            path = posixpath.normpath(posixpath.join(posixpath.dirname(here), target)) if target else here
            parts.append(text[at : found.start()])
            at = found.end()
            if path == "README.md":
                to, part = "index.md", ""
            elif (ROOT / path).is_dir():
                to = path + "/README.md"  # which GitHub shows there
            else:
                to = path
            if not to.startswith("docs/") and (ROOT / to).is_file():
                self._todo.append(to)
            to = of_docs(to)
            parts.append((os.path.relpath(to, posixpath.dirname(page) or ".") if to != page else "") + part)
        return "".join([*parts, text[at:]])

    def _write(self, name: str, text: str) -> None:
        path = self._folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


if __name__ == "__main__":
    Gathered(Path(sys.argv[1])).fill()
