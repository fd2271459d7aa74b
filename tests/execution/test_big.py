"""Big frames: more than 2 GiB in one buffer, there and back."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
import psutil
import pytest

import pdparallel

N = 2**31 + 2**20

pytestmark = [
    pytest.mark.skipif(psutil.virtual_memory().available < 14 * 2**30, reason="takes up to 12 GiB of memory"),
    pytest.mark.timeout(300),
]


@pytest.fixture(scope="module")
def big() -> Iterator[pd.DataFrame]:
    values = np.zeros(N, np.int8)
    values[[0, 2**31, -1]] = 1, 5, 7
    yield pd.DataFrame({"a": values}, copy=False)
    pdparallel.shutdown()


def test_the_data_of_a_call(big: pd.DataFrame) -> None:
    par = big.par(engine="process", n_workers=2, chunk_size=N // 2 + 1)
    assert par.apply_chunks(lambda chunk: int(chunk["a"].to_numpy().sum(dtype=np.int64))) == [1, 12]


def test_the_result_of_a_chunk(big: pd.DataFrame) -> None:
    par = big.par(engine="process", n_workers=2, chunk_size=N)
    result = par.apply_chunks(lambda chunk: chunk["a"].to_numpy() + np.int8(1))
    assert result.shape == (N,)
    assert result[[0, 1, 2**31, -1]].tolist() == [2, 1, 6, 8]


def test_the_result_of_a_call(big: pd.DataFrame) -> None:
    par = big.par(engine="process", n_workers=2, chunk_size=N // 8 + 1)
    result = par.apply_chunks(lambda chunk: chunk + np.int8(1))
    assert result.shape == (N, 1)
    assert result["a"].iloc[[0, 1, 2**31, -1]].tolist() == [2, 1, 6, 8]
