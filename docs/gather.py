"""Gathers the pages of the documentation from where their text stands, so that no text stands twice.

The first screen of the README is the landing page, and each of its sections a page of the user guide; notebooks, tables
and pictures of benchmarks, what contributors read and the changelog come as they are. Links between them stay links,
for all lie in one folder as they lie in the repository::

    README.md, up to the first section   ->  first-screen.md, which index.md includes
    README.md, each section              ->  guide/<its anchor>.md
    docs/*.md, docs/reference/           ->  *.md, reference/
    everything else that is linked to    ->  the same path
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

#: Pages that come with all that they lead to.
PAGES = ("benchmarks/README.md", "notebooks/README.md", "CONTRIBUTING.md", "CHANGELOG.md")

#: Pages that stand above others in the navigation, and which those are.
ABOVE = {"benchmarks/README.md": "benchmarks/results/*.md", "notebooks/README.md": "notebooks/*.ipynb"}

#: Pictures of a result that have other names than its table.
PICTURES = {"scale": ("rows", "cost", "first_call")}

#: Sections of the README that no page of the guide is made of: they lead to pages that are here anyway.
LEFT_OUT = {"working-on-it"}

_FENCED = re.compile(r"^( *)(```+|~~~+).*?^\1\2", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"(?<=\]\()(?![a-z]+:)([^)#\s]*)(#[^)\s]*)?(?=\))")


def anchor(title: str) -> str:
    """That of a heading, as GitHub makes it."""
    return re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")


def sections(text: str) -> tuple[str, dict[str, str]]:
    """What comes before the first section, and each section by its anchor."""
    fenced = [found.span() for found in _FENCED.finditer(text)]
    headings = [
        found
        for found in re.finditer(r"^## (.+)$", text, re.MULTILINE)
        if not any(start < found.start() < stop for start, stop in fenced)
    ]
    ends = [*(found.start() for found in headings[1:]), len(text)]
    found = {anchor(head[1]): text[head.start() : end] for head, end in zip(headings, ends, strict=True)}
    return text[: headings[0].start()], found


def links(text: str) -> Iterator[re.Match[str]]:
    """The links to what lies in the repository; those of code are none."""
    fenced = [found.span() for found in _FENCED.finditer(text)]
    for found in _LINK.finditer(text):
        if not any(start < found.start() < stop for start, stop in fenced):
            yield found


def in_words(stem: str) -> str:
    """A heading made of the name of a file."""
    return stem.replace("_", " ").capitalize()


def toctree(pages: Sequence[str], how: str = ":maxdepth: 1") -> str:
    """The pages below another one, as Sphinx takes them."""
    return "\n".join(["", "```{toctree}", how, "", *pages, "```", ""])


class Gathered:
    """The folder of the pages.

    Parameters
    ----------
    folder : Path
        Emptied, and filled.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._first, self._sections = sections((ROOT / "README.md").read_text())
        self._todo = list(PAGES)

    def fill(self) -> None:
        """Write all the pages, and what they lead to."""
        shutil.rmtree(self._folder, ignore_errors=True)
        docs = ROOT / "docs"
        for path in [*docs.glob("*.md"), *docs.glob("reference/*.rst")]:
            self._write(path.relative_to(docs).as_posix(), path.read_text())
        self._write("first-screen.md", self._led(self._first, "README.md", "first-screen.md"))
        guide = [name for name in self._sections if name not in LEFT_OUT]
        for name in guide:
            page, text = f"guide/{name}.md", re.sub("^##", "#", self._sections[name], flags=re.MULTILINE)
            self._write(page, self._led(text, "README.md", page))
        self._write("guide/index.md", "# User guide\n" + toctree(guide))
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
            target = self._folder / name
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
        """The text with its links as they are from a page; what they lead to comes along."""
        parts, at = [], 0
        for found in links(text):
            target, part = found[1], found[2] or ""
            path = posixpath.normpath(posixpath.join(posixpath.dirname(here), target)) if target else here
            parts.append(text[at : found.start()])
            at = found.end()
            if path == "README.md":
                to, part = self._of_readme(part[1:], page, part)
            elif (ROOT / path).is_dir():
                to = path + "/README.md"  # which GitHub shows there
            else:
                to = path
            if to != page and (ROOT / to).is_file():
                self._todo.append(to)
            parts.append((os.path.relpath(to, posixpath.dirname(page) or ".") if to != page else "") + part)
        return "".join([*parts, text[at:]])

    def _of_readme(self, name: str, page: str, part: str) -> tuple[str, str]:
        """The page and the part of it where that part of the README is."""
        if not name:
            return "index.md", ""
        if name in self._sections:
            return f"guide/{name}.md", ""
        for section, text in self._sections.items():
            if any(anchor(title) == name for title in re.findall(r"^###+ (.+)$", text, re.MULTILINE)):
                return f"guide/{section}.md", part
        return page, part  # there is none: the build says so

    def _write(self, name: str, text: str) -> None:
        path = self._folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


if __name__ == "__main__":
    Gathered(Path(sys.argv[1])).fill()
