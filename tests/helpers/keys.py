"""Blocks and queries for attention scores: small numbers, so that a float64 reference is close to the exact one."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

TOKENS, HEAD_DIM = 32, 128


def random_block(seed: int) -> NDArray[np.float16]:
    """float16[2, 32, 128]: keys, then values."""
    return np.random.default_rng(seed).standard_normal((2, TOKENS, HEAD_DIM)).astype(np.float16)


def random_query(seed: int) -> NDArray[np.float16]:
    return np.random.default_rng(1000 + seed).standard_normal(HEAD_DIM).astype(np.float16)


def plain_scores(query: NDArray[np.float16], block: NDArray[np.float16]) -> NDArray[np.float64]:
    """q.k / sqrt(HEAD_DIM) of each row, in float64."""
    return block[0].astype(float) @ query.astype(float) / np.sqrt(HEAD_DIM)
