"""Every property holds on the RTL, and fails on each mutation that it must catch."""

from __future__ import annotations

import pytest

from tests.formal.prove import check
from tests.formal.table import ROWS


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_holds(row):
    assert check(row).failed == ""


@pytest.mark.parametrize("row, mutation", [(r, m) for r in ROWS for m in r.mutations], ids=lambda x: x.name)
def test_catches(row, mutation):
    assert not check(row, mutation).holds
