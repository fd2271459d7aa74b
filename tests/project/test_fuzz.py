"""The fuzzer: 20 seconds of it, and that it notices what differs; see :mod:`tests.fuzz`."""

from __future__ import annotations

import os
import random
import warnings
from typing import Any

import pytest

from tests import fuzz

SECONDS = float(os.environ.get("FUZZ_SECONDS", "20"))

ROWS = fuzz.Case(("int", "float"), 4, "range", "rows", "sum", (("engine", "serial"),))


@pytest.mark.timeout(SECONDS + 300)  # the smallest case of what differs is looked for, too
def test_calls_drawn_at_random_are_as_pandas(capsys: pytest.CaptureFixture[str]) -> None:
    seed = random.randrange(10**6)
    differing = fuzz.run(SECONDS, seed)
    assert not differing, f"seed {seed}:\n{capsys.readouterr().out}"


def _warning(frame: Any) -> None:
    warnings.warn("another one", UserWarning, stacklevel=2)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda result, frame: result + 1, "different"),
        (lambda result, frame: result.astype("float32"), "dtype"),
        (lambda result, frame: result.rename("other"), "types differ"),
        (lambda result, frame: result.set_axis(list("abcd")), "index"),
        (lambda result, frame: result.set_flags(allows_duplicate_labels=False), "flags"),
        (lambda result, frame: frame.iloc[:, 1].rename(None).set_axis(result.index), "different|shares memory"),
        (lambda result, frame: result if frame.insert(0, "z", 1) is None else None, "length are different"),
        (lambda result, frame: result if _warning(frame) is None else None, "warnings"),
        (lambda result, frame: fuzz._raises("so"), "instead of None"),
    ],
    ids=["values", "dtype", "name", "labels", "flags", "memory", "input", "warnings", "error"],
)  # fmt: skip
def test_each_difference_is_noticed(monkeypatch: pytest.MonkeyPatch, change: Any, told: str) -> None:
    functions, call = fuzz.VERBS["rows"]

    def changed(frame: Any, func: Any, options: Any) -> Any:
        result = call(frame, func, options)
        return result if options is None else change(result, frame)

    fuzz.compare(ROWS)
    monkeypatch.setitem(fuzz.VERBS, "rows", (functions, changed))
    with pytest.raises(AssertionError, match=f"(?i){told}"):
        fuzz.compare(ROWS)


def test_a_difference_is_printed_as_its_smallest_case(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    functions, call = fuzz.VERBS["values"]

    def changed(frame: Any, func: Any, options: Any) -> Any:
        result = call(frame, func, options)
        return result if options is None or len(result) < 3 else result.iloc[::-1]

    monkeypatch.setattr(fuzz, "VERBS", {"values": (functions, changed)})
    assert fuzz.run(2.0, seed=0) >= 1
    out = capsys.readouterr().out
    assert "rows=3" in out
    assert "verb='values'" in out
