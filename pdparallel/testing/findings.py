"""The faults that :func:`pdparallel.testing.check` finds, with their texts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from pdparallel.core.format import as_html

__all__ = ["ADVICE", "Finding", "Fitness", "Kind"]

#: Kinds of faults of a function.
Kind: TypeAlias = Literal["function", "result", "input", "state", "order", "random", "unsteady", "process", "cut"]

#: Advice for each kind.
ADVICE: dict[Kind, str] = {
    "function": "",  # the error has it
    "result": "Return plain data. Raise exceptions that pickle can copy.",
    "input": "A worker changes only its copy, so your process does not see the change. Change a copy, and return it.",
    "state": "Each worker changes only its own copy, so your process does not see the change. Return the value "
    "instead. Make a generator of random numbers inside the function, as in np.random.default_rng([7, row['id']]).",
    "order": "A worker does not make all of the calls before. Let the result depend on one argument alone. "
    "For values of neighbours, add a column with shift(), or use apply_chunks(overlap=).",
    "random": "With seed=, as in df.par(seed=7), the numbers are the same for each engine and all chunks.",
    "unsteady": "Usual causes are the time, id(), or a state in a class, a file or a library. Give the value as an "
    "argument or as a column.",
    "process": "Usual causes are process ids, environment variables, the order of a set, or a setup in your process "
    "alone. Sort the set, give the value as an argument, or make the setup in initializer=.",
    "cut": "Chunks can begin at any row. Compute each row by itself, or each group with by=. overlap= adds rows of the "
    "neighbours.",
}

#: Meaning of each kind, for the table in a notebook.
_MEANINGS: dict[Kind, str] = {
    "function": "The function cannot travel to another process.",
    "result": "A result cannot travel back.",
    "input": "The function changes its argument.",
    "state": "The function changes variables outside of it.",
    "order": "The result depends on other calls.",
    "random": "The result depends on random numbers.",
    "unsteady": "The result depends on the time of the call.",
    "process": "The result depends on the process.",
    "cut": "The result depends on the cut into chunks.",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """A fault of a function that keeps it from running in parallel.

    Attributes
    ----------
    kind : str
        ``"function"`` or ``"result"``: the function or a result cannot be serialized. ``"input"`` or ``"state"``: the
        function changes its argument, or variables outside of it. The others: the result depends on other calls
        (``"order"``), random numbers (``"random"``), the time of the call (``"unsteady"``), the process
        (``"process"``), or the cut into chunks (``"cut"``).
    message : str
        The fault, and the first row with it.
    advice : str
        How to repair it.
    position : int or None
        Position of the first row, value or group with this fault.

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
        return f"[{self.kind}] {self.message.rstrip('.')}. {self.advice}".rstrip(". ") + "."


@dataclass(frozen=True, slots=True, repr=False)
class Fitness:
    """The result of :func:`check`.

    Attributes
    ----------
    name : str
        The name of the function.
    unit : str
        The kind of its argument: ``"row"``, ``"value"``.
    units : int
        Number of different arguments.
    calls : int
        Number of calls in this process.
    calls_in_a_worker : int
        Number of calls in a worker.
    findings : tuple of Finding
        The faults; empty for a function that is fit.

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
        """Whether there are no findings.

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
