r"""Randomness that leaves no trace: a seed inside a block, the caller's generators untouched after it."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed torch's global generators (CPU and GPUs) inside the block and restore them after it.

    >>> with seeded(0):
    ...     first = torch.rand(3)
    >>> with seeded(0):
    ...     again = torch.rand(3)
    >>> torch.equal(first, again)
    True
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield
