"""Batches of numbered samples.

A sample is a function of its number alone. So any process of a training knows which samples are its
own, and a training that is resumed goes on with the next number.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from torch.utils.data import DataLoader, Dataset, Sampler

__all__ = ["Sample", "SampleFunction", "endless_batches", "fixed_batches"]

Sample = Mapping[str, Any]
"""Tensors by name."""
SampleFunction = Callable[[int], Sample]


class _Numbered(Dataset[Sample]):
    """The samples of a function."""

    def __init__(self, sample: SampleFunction) -> None:
        self._sample = sample

    def __getitem__(self, index: int) -> Sample:
        return self._sample(index)


class _Counting(Sampler[list[int]]):
    """Batches of numbers from ``first`` on, for one of several processes."""

    def __init__(self, first: int, end: int | None, batch_size: int, rank: int, ranks: int) -> None:
        self._first, self._end, self._size = first + rank, end, batch_size
        self._ranks = ranks

    def __iter__(self) -> Iterator[list[int]]:
        batch: list[int] = []
        index = self._first
        while self._end is None or index < self._end:
            batch.append(index)
            index += self._ranks
            if len(batch) == self._size:
                yield batch
                batch = []
        if batch:
            yield batch


def _leave_signals(worker: int) -> None:
    """Let the training decide: queues signal all processes, and it still needs its samples.

    Workers end when the training tells them, or is gone.
    """
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_IGN)


def endless_batches(
    sample: SampleFunction,
    *,
    batch_size: int,
    first: int = 0,
    rank: int = 0,
    ranks: int = 1,
    workers: int = 0,
    pinned: bool = False,
    collate: Callable[[list[Any]], Any] | None = None,
) -> DataLoader[Sample]:
    """Load batches for training, without an end.

    Parameters
    ----------
    sample
        Gives the sample of a number, the same whenever it is asked.
    batch_size
        Samples of one batch of one process.
    first
        Number of the first sample of all processes.
    rank, ranks
        Which process this is, and how many there are: they take turns.
    workers
        Processes that make samples; 0 makes them here.
    pinned
        Whether batches lie in memory that a GPU copies from faster.
    collate
        Puts samples together, in place of stacking their tensors.

    Examples
    --------
    >>> import torch
    >>> batches = iter(endless_batches(lambda n: {"n": torch.tensor(n)}, batch_size=2, first=6))
    >>> next(batches)["n"].tolist(), next(batches)["n"].tolist()
    ([6, 7], [8, 9])
    """
    return DataLoader(
        _Numbered(sample),
        batch_sampler=_Counting(first, None, batch_size, rank, ranks),
        num_workers=workers,
        pin_memory=pinned,
        persistent_workers=workers > 0,
        collate_fn=collate,
        worker_init_fn=_leave_signals,
    )


def fixed_batches(
    sample: SampleFunction,
    *,
    count: int,
    batch_size: int,
    rank: int = 0,
    ranks: int = 1,
    workers: int = 0,
    pinned: bool = False,
    collate: Callable[[list[Any]], Any] | None = None,
) -> DataLoader[Sample]:
    """Load the samples 0 to ``count - 1``, the same each time, for validation.

    Parameters are those of `endless_batches`.
    """
    return DataLoader(
        _Numbered(sample),
        batch_sampler=_Counting(0, count, batch_size, rank, ranks),
        num_workers=workers,
        pin_memory=pinned,
        persistent_workers=workers > 0,
        collate_fn=collate,
        worker_init_fn=_leave_signals,
    )
