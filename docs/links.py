"""Check that each link inside the built pages leads to an existing page and an existing part of it."""

from __future__ import annotations

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class Page(HTMLParser):
    """The anchors and the links of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note the anchors and links of a tag."""
        given = dict(attrs)
        self.anchors |= {value for name in ("id", "name") if (value := given.get(name))}
        self.links += [value for name in ("href", "src") if (value := given.get(name))]


def broken(folder: Path) -> list[str]:
    """Return the broken links, each with its page."""
    # The theme has templates in _static.
    html = [path for path in sorted(folder.rglob("*.html")) if "_static" not in path.parts]
    pages = {path: Page(path.read_text()) for path in html}
    found = []
    for path, page in pages.items():
        for link in page.links:
            to = urlsplit(link)
            if to.scheme or to.netloc:
                continue
            target = (path.parent / unquote(to.path)).resolve() if to.path else path
            missing = to.fragment and target in pages and unquote(to.fragment) not in pages[target].anchors
            if not target.exists() or missing:
                found.append(f"{path.relative_to(folder)}: {link}")
    return found


if __name__ == "__main__":
    wrong = broken(Path(sys.argv[1]).resolve())
    sys.exit("\n".join(["Broken links:", *wrong]) if wrong else 0)
