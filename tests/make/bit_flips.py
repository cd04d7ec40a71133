"""A file with one bit flipped, at places drawn evenly over all of it."""

import itertools
from collections.abc import Iterator

import numpy as np


def flipped(content: bytes, count: int, seed: int = 0) -> Iterator[bytes]:
    """`count` copies of the content, one bit of each another: one in every `count`-th part."""
    rng = np.random.default_rng(seed)
    edges = np.linspace(0, 8 * len(content), count + 1).astype(int)
    for start, end in itertools.pairwise(edges):
        at = int(rng.integers(start, max(end, start + 1)))
        damaged = bytearray(content)
        damaged[at // 8] ^= 1 << at % 8
        yield bytes(damaged)
