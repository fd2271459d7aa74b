"""Docstrings: everything public says what it takes, gives and raises, with an example, as numpydoc has it."""

from __future__ import annotations

import dataclasses
import inspect
import re
from typing import Any

import pytest

from tests.public import everything_public

validation = pytest.importorskip("numpydoc.validate")

#: What numpydoc asks for, and is not asked for here.
NOT_ASKED_FOR = {
    "ES01",  # a summary may be all there is to say
    "SA01",  # a "See Also" only where there is something to see
    "GL01", "GL02",  # where the quotes stand, which ruff decides
    "GL03",  # the empty lines of a docstring that ends with a list
    "SS05",  # takes "Rolling windows" for a verb
    "PR04",  # several parameters in a line have one type, or are those of pandas
}  # fmt: skip


def test_it_finds_what_is_public() -> None:
    names = set(everything_public())
    assert {
        "pdparallel.api.accessor.FramePar.apply_rows", "pdparallel.api.accessor.SeriesPar.background",
        "pdparallel.api.groupby.GroupByPar.aggregate", "pdparallel.map", "pdparallel.testing.saboteurs.when",
    } <= names  # fmt: skip


@pytest.mark.parametrize("name", everything_public())
def test_docstrings_are_complete(name: str) -> None:
    problems = {code: message for code, message in validation.validate(name)["errors"] if code not in NOT_ASKED_FOR}
    if "PR01" in problems and not unnamed_fields(name):
        del problems["PR01"]
    assert problems == {}


def unnamed_fields(name: str) -> set[str]:
    """Of a dataclass that users do not make themselves: its fields stand there as attributes, or are missing."""
    found = loaded(name)
    if not dataclasses.is_dataclass(found):
        return {"all, for they are parameters"}
    told = {one.strip() for attribute in sections(name)["Attributes"] for one in attribute.name.split(",")}
    return {field.name for field in dataclasses.fields(found)} - told


@pytest.mark.parametrize("name", everything_public())
def test_what_may_be_refused_is_said(name: str) -> None:
    """A function of the user's may raise, and options may be misspelt."""
    found = loaded(name)
    if inspect.isfunction(found) and {"func", "options"} & set(inspect.signature(found).parameters):
        assert sections(name)["Raises"]


#: The verbs with which functions begin.
VERBS = {
    "Assert", "Call", "Cancel", "Cut", "Draw", "End", "Explain", "Find", "Give", "Group", "Keep", "Make", "Measure",
    "Name", "Return", "Run", "Send", "Set", "Start", "Wait",
}  # fmt: skip

#: What noun phrases begin with: articles, and the nouns of this package.
NOUNS = {
    "A", "Acceleration", "Accessor", "All", "An", "Base", "Error", "Groups", "One", "Options", "Report", "Spans", "The",
    "Warning", "Windows",
}  # fmt: skip


@pytest.mark.parametrize("name", everything_public())
def test_the_first_word_says_what_it_is(name: str) -> None:
    """A function begins with a verb, a class with a noun phrase; so does a property, unless it is a yes or a no."""
    first = (inspect.getdoc(loaded(name)) or "").split()[0].strip(",:.")
    if inspect.isclass(loaded(name)):
        assert first in NOUNS
    elif is_property(name):
        assert first in {*NOUNS, "Whether"}
    else:
        assert first in VERBS


def is_property(name: str) -> bool:
    owner, _, attribute = name.rpartition(".")
    try:
        found = inspect.getattr_static(loaded(owner), attribute)
    except (AttributeError, ImportError, ValueError):
        return False
    return isinstance(found, property)


def test_verbs_and_nouns_are_told_apart() -> None:
    assert not VERBS & NOUNS
    assert is_property("pdparallel.Profile.calls")
    assert not is_property("pdparallel.Profile.plot")
    assert not is_property("pdparallel.map")


@pytest.mark.parametrize("name", everything_public())
def test_each_verb_shows_a_call_with_options(name: str) -> None:
    """A line of the example of each method that calls a function of the user's."""
    verbs = {"apply_rows", "apply_cols", "apply_chunks", "iter_chunks", "apply", "map", "agg", "transform", "filter"}
    if name.rpartition(".")[2] in {*verbs, "imap"}:
        lines = [line for line in (inspect.getdoc(loaded(name)) or "").splitlines() if ">>>" in line]
        call = r"\.par\(\w+=|\b(map|imap)\(.*, (engine|n_workers)="
        assert any(re.search(call, line) for line in lines), lines


def loaded(name: str) -> Any:
    return validation.Validator._load_obj(name)


def sections(name: str) -> Any:
    return validation.get_doc_object(loaded(name))
