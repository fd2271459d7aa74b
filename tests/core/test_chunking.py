"""Where to cut: every position in exactly one chunk, in order, whatever the sizes."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pdparallel.core import chunking
from pdparallel.core.chunking import Chunk, PendingRanges, cut, cut_whole, next_size, pieces_for_chunks

starts = st.integers(0, 50)
lengths = st.integers(0, 200)
sizes = st.integers(1, 250)


def _positions(chunks):
    return [position for chunk in chunks for position in range(chunk.start, chunk.stop)]


@given(starts, lengths, sizes)
def test_chunks_of_a_size_have_that_size_but_for_the_last(start, n, size):
    chunks = cut(start, start + n, size=size)
    assert _positions(chunks) == list(range(start, start + n))
    assert all(len(chunk) == size for chunk in chunks[:-1])
    assert all(1 <= len(chunk) <= size for chunk in chunks)


@given(starts, lengths, sizes)
def test_alike_chunks_differ_by_one_at_most(start, n, pieces):
    chunks = cut(start, start + n, pieces=pieces)
    assert _positions(chunks) == list(range(start, start + n))
    assert len(chunks) == min(pieces, n)
    assert {len(chunk) for chunk in chunks} <= {n // max(1, len(chunks)), n // max(1, len(chunks)) + 1}


@given(st.lists(st.integers(1, 9), max_size=30), sizes)
def test_groups_are_never_cut(groups, size):
    chunks = cut_whole(groups, size=size)
    assert _positions(chunks) == list(range(sum(groups)))
    ends = {sum(groups[:number]) for number in range(len(groups) + 1)}
    assert {chunk.stop for chunk in chunks} <= ends
    # As many groups as it takes to reach the size, and none more.
    assert all(len(chunk) >= size for chunk in chunks[:-1])
    for chunk in chunks:
        last_group = max(end for end in ends if end < chunk.stop)
        assert last_group - chunk.start < size


@given(st.lists(st.integers(1, 9), min_size=1, max_size=30), st.integers(1, 40))
def test_groups_are_dealt_into_no_more_than_the_pieces(groups, pieces):
    chunks = cut_whole(groups, pieces=pieces)
    assert _positions(chunks) == list(range(sum(groups)))
    assert 1 <= len(chunks) <= pieces


def test_nothing_to_cut():
    assert cut(3, 3, size=2) == cut(3, 3, pieces=2) == cut_whole([]) == cut_whole([], size=3) == ()


@pytest.mark.parametrize(("rows", "workers", "pieces"), [(0, 4, 4), (10, 4, 4), (5_999, 4, 5), (100_000, 4, 16)])
def test_chunks_for_chunk_functions(rows, workers, pieces):
    assert pieces_for_chunks(rows, workers) == pieces


@pytest.mark.parametrize("seconds", [None, 0.0, 1e-9, 1e-6, 1e-3, 1.0, 1e3])
@pytest.mark.parametrize("workers", [1, 2, 61])
@pytest.mark.parametrize("units", [1, 2, 100, 1_000_000])
def test_chunks_by_cost_cover_all(seconds, workers, units):
    left, chunks = units, 0
    while left:
        size = next_size(left, workers, seconds)
        assert 1 <= size <= left
        left -= size
        chunks += 1
        if chunks > 100_000:
            assert seconds >= 1.0
            break


def test_chunks_shrink_to_the_end_but_stay_worth_their_task():
    left, sizes = 10_000, []
    while left:
        sizes.append(next_size(left, 2, 1e-4))
        left -= sizes[-1]
    assert sizes[0] == 1_000
    assert sorted(sizes, reverse=True) == sizes
    assert sizes[-2] >= 50


def test_a_chunk_counts_its_own_rows_and_not_its_neighbours():
    assert len(Chunk(3, 7)) == len(Chunk(3, 7, before=2, after=1)) == 4


def test_a_chunk_of_any_length_travels_in_few_bytes() -> None:
    # As a tuple with a length of its own it took eight bytes for each row, on both sides.
    chunk = Chunk(7, 2**60, 3, 4)
    data = pickle.dumps(chunk, protocol=5)
    assert len(data) < 200
    assert pickle.loads(data) == chunk
    assert len(chunk) == 2**60 - 7


@given(st.lists(st.tuples(st.integers(1, 9), st.booleans()), max_size=12), st.lists(st.integers(1, 20), min_size=1))
def test_gaps_are_what_is_not_finished_however_it_is_taken(parts, sizes):
    chunks, at = [], 0
    for length, _ in parts:
        chunks.append(Chunk(at, at + length))
        at += length
    finished = [chunk for chunk, (_, done) in zip(chunks, parts, strict=True) if done]
    left = [chunk for chunk in chunks if chunk not in finished]

    gaps, taken = PendingRanges(at, reversed(finished)), []
    while gaps:
        assert len(gaps) == sum(map(len, left)) - sum(map(len, taken))
        size = sizes[len(taken) % len(sizes)]
        chunk = gaps.first(size)
        assert 1 <= len(chunk) <= size
        chunk = Chunk(chunk.start, chunk.start + max(1, len(chunk) // 2)) if len(taken) % 2 else chunk  # it took less
        gaps.drop(chunk.stop)
        taken.append(chunk)
    assert _positions(taken) == _positions(left)

    gaps, taken = PendingRanges(at, finished, plan=chunks), []
    while gaps:
        taken.append(gaps.first(1))
        gaps.drop(taken[-1].stop)
    assert taken == left


def test_chunks_of_big_frames_are_bounded_in_bytes() -> None:
    size = 40 * chunking.MAX_CHUNK_BYTES
    chunks = chunking.cut_for_chunks(1_000_000, 2, size)
    assert all(len(chunk) * size / 1_000_000 <= chunking.MAX_CHUNK_BYTES for chunk in chunks)
    assert (chunks[0].start, chunks[-1].stop) == (0, 1_000_000)
    assert chunking.cut_for_chunks(1_000_000, 2, chunking.BIG_BYTES) == chunking.cut_for_chunks(1_000_000, 2)
    assert chunking.pieces_for_chunks(3, 2, size) == 3  # a row is not cut
