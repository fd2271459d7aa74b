"""Numbers as short texts, and small tables as text and HTML, for terminals and notebooks.

>>> seconds(0.0000061), seconds(0.25), seconds(75.0), size(32), size(12_800_000)
('6.1 µs', '250 ms', '75 s', '32 bytes', '12.8 MB')
>>> print(aligned([("rows", "10"), ("seconds", "0.5")], "lr"))
rows      10
seconds  0.5
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Sequence
from typing import Any

__all__ = [
    "LARGE_SHARE",
    "MAIN_SHARE",
    "aligned",
    "as_html",
    "few",
    "seconds",
    "share",
    "shortened",
    "size",
    "text_of",
    "type_name",
]

#: Smallest share of a whole that is worth a mention, and smallest share that counts as most of it.
LARGE_SHARE, MAIN_SHARE = 0.25, 0.5

_TIMES = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns"))
_SIZES = ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB"))


def shortened(text: str, most: int = 80) -> str:
    """Return a text cut to ``most`` characters, with an ellipsis for the rest."""
    return text if len(text) <= most else text[: most - 1] + "…"


def text_of(obj: Any) -> str:
    """Return ``str(obj)``; if that raises, a text that says so."""
    try:
        return str(obj)
    except Exception as error:
        return f"<its text raised {type(error).__name__}>"


def type_name(kind: type) -> str:
    """Return the name of a type, with its module unless it is a builtin."""
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def seconds(value: float) -> str:
    """Return seconds as text with three digits."""
    if not math.isfinite(value):
        return "-" if math.isnan(value) else "for ever"
    for unit, name in _TIMES:
        if abs(value) >= unit:
            return f"{_three(value / unit)} {name if name.isascii() or _can_print(name) else 'us'}"
    return "0 s" if value < 5e-11 else f"{_three(value / 1e-9)} ns"


def _can_print(text: str) -> bool:
    """Return True if standard output can encode a text; it may be ASCII only."""
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except (LookupError, UnicodeEncodeError):
        return False
    return True


def size(value: float) -> str:
    """Return bytes as text with three digits."""
    if not math.isfinite(value):
        return "-"
    for unit, name in _SIZES:
        if value >= unit:
            return f"{_three(value / unit)} {name}"
    return f"{_three(value)} bytes"


def _three(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def share(value: float) -> str:
    """Return a fraction as text in percent."""
    return "-" if math.isnan(value) else f"{100 * value:.0f} %"


def few(names: Sequence[object], most: int = 5) -> str:
    """Return the first names as text, and the number of the others."""
    shown = ", ".join(map(repr, names[:most]))
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


def aligned(rows: Iterable[Sequence[str]], letters: str) -> str:
    """Return rows as a text table; ``letters`` aligns each column: l is left, r is right."""
    lines = [tuple(row) for row in rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    sides = [str.ljust if letter == "l" else str.rjust for letter in letters]
    return "\n".join(
        "  ".join(side(cell, width) for side, cell, width in zip(sides, line, widths, strict=True)).rstrip()
        for line in lines
    )


def as_html(rows: Iterable[Sequence[str]], letters: str, head: bool, title: str) -> str:
    """Return rows as an HTML table, with the first row as header if ``head``, else with the first column."""
    import html  # takes 2 ms, and few calls need it

    parts = [f"<table><caption>{html.escape(title)}</caption>"]
    for number, row in enumerate(rows):
        cells = []
        for place, (cell, letter) in enumerate(zip(row, letters, strict=True)):
            tag = "th" if (head and number == 0) or (not head and place == 0) else "td"
            side = "left" if letter == "l" else "right"
            text = html.escape(cell).replace("\n", "<br>")
            cells.append(f'<{tag} style="text-align: {side}; vertical-align: top">{text}</{tag}>')
        parts.append(f"<tr>{''.join(cells)}</tr>")
    return "".join([*parts, "</table>"])
