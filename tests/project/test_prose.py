"""Phrases in docstrings and comments that readers had to read twice."""

from __future__ import annotations

import io
import re
import tokenize
from pathlib import Path

import pytest

import pdparallel

ROOT = Path(pdparallel.__file__).parent

#: What readers stumbled over. The list is short on purpose: it is no check of style.
PHRASES = (
    r"\bwhoever\b",
    r"\bof which\b",
    r"\bbut for\b",
    r"\bthat there (?:is|are)\b",
    r"\bso that it be\b",
    r"\bthe very\b",
    r"\bhands? (?:it |them )?out\b",
    r"\bhanded out\b",
    r"\bis to be\b",
    r"\bwhat is left\b",
    r"\bupon\b",
    r"\bhow that is told\b",
)


def texts_of(path: Path) -> list[tuple[int, str]]:
    """Line and text of each comment and docstring."""
    tokens = tokenize.generate_tokens(io.StringIO(path.read_text()).readline)
    return [
        (token.start[0], token.string)
        for token in tokens
        if token.type == tokenize.COMMENT or (token.type == tokenize.STRING and token.string.startswith('"""'))
    ]


@pytest.mark.parametrize("path", sorted(ROOT.rglob("*.py")), ids=lambda path: str(path.relative_to(ROOT)))
def test_no_phrase_that_must_be_read_twice(path: Path) -> None:
    found = [
        f"{line}: {phrase}"
        for line, text in texts_of(path)
        for phrase in PHRASES
        if re.search(phrase, " ".join(text.split()), re.IGNORECASE)
    ]
    assert not found
