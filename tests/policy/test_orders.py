"""The orders of a prompt's blocks."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from kvfpga.policy.orders import orders


@given(st.integers(0, 5000))
def test_orders_fall_along_a_prompt_in_the_finest_levels_that_cover_it(blocks):
    found = orders(blocks).astype(int)
    assert found.size == blocks and (found >= 0).all()
    if not blocks:
        return
    falls = found[0] - found
    assert found[0] == 255 and set(np.diff(found).tolist()) <= {0, -1}
    levels = np.bincount(falls)
    assert levels.size <= 256 and len(set(levels[:-1].tolist())) <= 1  # all alike, but the last one may be cut short
    finer = max(1, int(levels[0]) // 2)
    assert finer == levels[0] or blocks // finer > 255
