"""Processes share the samples out, and each sample comes once."""

from __future__ import annotations

from itertools import islice

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ogive.learning.batches import endless_batches, fixed_batches

sizes = st.integers(1, 5)


def numbered(index: int) -> dict[str, Tensor]:
    return {"n": torch.tensor(index)}


@settings(max_examples=25)
@given(sizes, sizes, st.integers(0, 1000), st.integers(1, 6))
def test_endless_batches_of_all_processes_go_on_without_gaps(
    batch_size: int, ranks: int, first: int, steps: int
) -> None:
    seen: list[int] = []
    for rank in range(ranks):
        loader = endless_batches(
            numbered, batch_size=batch_size, first=first, rank=rank, ranks=ranks
        )
        for batch in islice(loader, steps):
            assert len(batch["n"]) == batch_size
            seen += batch["n"].tolist()
    assert sorted(seen) == list(range(first, first + steps * batch_size * ranks))


@settings(max_examples=25)
@given(sizes, sizes, st.integers(1, 40))
def test_fixed_batches_hold_each_sample_once(batch_size: int, ranks: int, count: int) -> None:
    seen = [
        index
        for rank in range(ranks)
        for batch in fixed_batches(
            numbered, count=count, batch_size=batch_size, rank=rank, ranks=ranks
        )
        for index in batch["n"].tolist()
    ]
    assert sorted(seen) == list(range(count))
