"""Take the sentences out of a Markdown text, for tests of their length."""

from __future__ import annotations

import re

__all__ = ["long_sentences", "sentences", "without_blocks"]

MAX_WORDS = 20

_BLOCK = re.compile(r"^( *)```.*?^\1```$", re.DOTALL | re.MULTILINE)


def without_blocks(text: str) -> str:
    """Return a text without its fenced blocks of code."""
    return _BLOCK.sub("", text)


def sentences(text: str) -> list[str]:
    """Return the sentences of a text, without tables and headings. A link counts as its words, code as one word."""
    text = "\n".join(line for line in without_blocks(text).splitlines() if not line.startswith(("|", "#", "<!--")))
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", re.sub(r"`[^`]*`", "code", text)).replace("*", "")
    parts = re.split(r"\n\s*\n|(?:^|\n) *(?:-|\d+\.) (?:\[ \] )?", text)
    return [one for part in parts for one in re.split(r"(?<=[.:;?!])\s+", " ".join(part.split())) if one]


def long_sentences(text: str) -> list[str]:
    return [one for one in sentences(text) if len(one.split()) > MAX_WORDS]
