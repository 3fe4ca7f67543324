"""Batches that depend on nothing but a seed: which items, in which order, with which random numbers."""

import random
from collections.abc import Iterator

import numpy as np
import torch

__all__ = ["even_batches", "pad_batch", "seeded_generator"]

STRETCH = 2000  # items that are sorted by length together


def even_batches(lengths: list[int], budget: int, seed: int) -> Iterator[list[int]]:
    """Draw batches of items of similar length without end, every item once before any comes again.

    Parameters
    ----------
    lengths : list of int
        Length of every item.
    budget : int
        Most length, padding included, that a batch may hold.
    seed : int
        Of the order.

    Yields
    ------
    list of int
        Indices into ``lengths``.

    Raises
    ------
    ValueError
        If there are no items.
    """
    if not lengths:
        raise ValueError("expected items to draw batches from, but found none")
    epoch = 0
    while True:
        order = list(range(len(lengths)))
        rng = random.Random(f"{seed}-{epoch}")
        rng.shuffle(order)
        found: list[list[int]] = []
        # Sorting short stretches keeps batches both even and random.
        for first in range(0, len(order), STRETCH):
            found += fill_batches(
                sorted(order[first : first + STRETCH], key=lengths.__getitem__), lengths, budget
            )
        rng.shuffle(found)
        yield from found
        epoch += 1


def fill_batches(order: list[int], lengths: list[int], budget: int) -> list[list[int]]:
    """Cut items sorted by length into batches that hold at most ``budget``, padding included."""
    found: list[list[int]] = []
    batch: list[int] = []
    for index in order:
        if batch and lengths[index] * (len(batch) + 1) > budget:
            found.append(batch)
            batch = []
        batch.append(index)
    return [*found, batch] if batch else found


def seeded_generator(*numbers: int) -> torch.Generator:
    """Make a generator whose stream belongs to these numbers."""
    state = np.random.SeedSequence(numbers).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0] >> np.uint64(1)))


def pad_batch(
    arrays: list[np.ndarray], value: int = 0, multiple: int = 1
) -> tuple[torch.Tensor, torch.Tensor]:
    """Stack arrays of different lengths, shape (batch, longest, ...), and tell where they hold data.

    The longest is rounded up to a ``multiple``: fewer shapes, fewer kernels to compile.
    """
    longest = -(-max(map(len, arrays)) // multiple) * multiple
    shape = (len(arrays), longest, *arrays[0].shape[1:])
    padded = np.full(shape, value, dtype=arrays[0].dtype)
    mask = np.zeros(shape[:2], dtype=bool)
    for row, array in enumerate(arrays):
        padded[row, : len(array)] = array
        mask[row, : len(array)] = True
    return torch.from_numpy(padded), torch.from_numpy(mask)
