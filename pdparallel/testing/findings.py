"""Findings: what can be wrong with a function, and how that is told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from pdparallel.core.format import as_html

__all__ = ["Finding", "Fitness", "Kind", "advised"]

#: What can be wrong with a function.
Kind: TypeAlias = Literal["function", "result", "input", "state", "order", "random", "unsteady", "process", "cut"]

#: What is to be done about it.
_ADVICE: dict[Kind, str] = {
    "function": "",  # the error says it
    "result": "Return plain data; give exceptions arguments from which they can be made anew.",
    "input": "In a worker that is a copy, and nobody sees the change: work upon a copy, and return it.",
    "state": "Each worker changes a copy of its own, and nobody sees it: return what is needed, and gather it from the "
    "result. A generator of random numbers is made for each unit, as in np.random.default_rng([7, row['id']]).",
    "order": "A worker begins anywhere, and does not have the calls before: let the result depend on the unit alone. "
    "What belongs to neighbours can be a column (shift), or apply_chunks(overlap=) brings them.",
    "random": "With seed=, as in df.par(seed=7), they are the same for each engine and each cut.",
    "unsteady": "Time, numbers of an id, or what is kept in a class, a file or a library does that: make it an "
    "argument, or a column.",
    "process": "Ids, environment variables, the order of a set of texts and what was set up in this process alone do "
    "that: sort, give it as an argument, or set it up with initializer=.",
    "cut": "Chunks are cut anywhere: let each row (with by= each group) count by itself; overlap= brings neighbours.",
}

#: What each kind of finding means, in a table.
_MEANINGS: dict[Kind, str] = {
    "function": "The function cannot travel to another process.",
    "result": "A result cannot travel back.",
    "input": "The function changes what it is given.",
    "state": "The function changes variables outside of it.",
    "order": "The result depends on other calls.",
    "random": "The result depends on random numbers.",
    "unsteady": "The result depends on when the function is called.",
    "process": "The result depends on the process.",
    "cut": "The result depends on where chunks are cut.",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """A fault of a function that keeps it from running in parallel.

    Attributes
    ----------
    kind : str
        ``"function"`` or ``"result"``: it cannot travel; ``"input"`` or ``"state"``: it changes what it is given, or
        variables outside of it; ``"order"``: its result depends on other calls; ``"random"``: on random numbers;
        ``"unsteady"``: on when it is called; ``"process"``: on where; ``"cut"``: on where chunks are cut.
    message : str
        What, and where it shows first.
    advice : str
        What to do about it.
    position : int or None
        Of the unit where it shows first.

    Examples
    --------
    >>> import random
    >>> import pandas as pd
    >>> from pdparallel.testing import check
    >>> (finding,) = check(lambda value: random.random(), pd.Series([1, 2]), processes=False).findings
    >>> finding.kind, finding.position
    ('random', 0)
    """

    kind: Kind
    message: str
    advice: str
    position: int | None = None

    def __str__(self) -> str:
        return f"[{self.kind}] {self.message}. {self.advice}".rstrip(". ") + "."


@dataclass(frozen=True, slots=True, repr=False)
class Fitness:
    """The result of :func:`check`.

    Attributes
    ----------
    name : str
        Of the function.
    unit : str
        What it is called with: ``"row"``, ``"value"``.
    units : int
        How many of them were tried.
    calls : int
        How many times it was called for that, in this process.
    calls_in_a_worker : int
        How many times it was called in another one.
    findings : tuple of Finding
        What is wrong; empty for a function that is fit.

    Examples
    --------
    >>> import pandas as pd
    >>> from pdparallel.testing import check
    >>> print(check(abs, pd.Series([-1, 2]), processes=False))
    function 'abs' is fit to run in parallel (2 values, 10 calls here, 0 in a worker)
    """

    name: str
    unit: str
    units: int
    calls: int
    calls_in_a_worker: int
    findings: tuple[Finding, ...]

    @property
    def fit(self) -> bool:
        """Whether nothing was found.

        Examples
        --------
        >>> import pandas as pd
        >>> from pdparallel.testing import check
        >>> check(abs, pd.Series([-1, 2]), processes=False).fit
        True
        """
        return not self.findings

    def __repr__(self) -> str:
        found = "fit" if self.fit else f"not fit: {', '.join(sorted({finding.kind for finding in self.findings}))}"
        return f"<Fitness of {self.name}: {found}>"

    def _repr_html_(self) -> str:
        head = ("what", "meaning", "where it shows first", "what to do")
        rows = [(one.kind, _MEANINGS[one.kind], one.message, one.advice) for one in self.findings]
        title = str(self).partition("\n")[0].removesuffix(":")
        return as_html([head, *rows] if rows else [], "llll", head=True, title=title)

    def __str__(self) -> str:
        many = "" if self.units == 1 else "s"
        tried = f"{self.units} {self.unit}{many}, {self.calls} calls here, {self.calls_in_a_worker} in a worker"
        if self.fit:
            return f"{self.name} is fit to run in parallel ({tried})"
        lines = "".join(f"\n- {finding}" for finding in self.findings)
        return f"{self.name} is not fit to run in parallel ({tried}):{lines}"


def advised(kind: Kind, message: str, position: int | None = None) -> Finding:
    """A finding with the advice for its kind."""
    return Finding(kind, message, _ADVICE[kind], position)
