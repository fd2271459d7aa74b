"""Docstrings: everything public says what it takes, gives and raises, with an example, as numpydoc has it."""

from __future__ import annotations

import dataclasses
import inspect
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
        "pdparallel.accessor.FramePar.apply_rows", "pdparallel.accessor.SeriesPar.background",
        "pdparallel.groupby.GroupByPar.aggregate", "pdparallel.map", "pdparallel.testing.saboteurs.when",
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


def loaded(name: str) -> Any:
    return validation.Validator._load_obj(name)


def sections(name: str) -> Any:
    return validation.get_doc_object(loaded(name))
