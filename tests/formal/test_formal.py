"""Every property holds on the RTL, and can fail: on the first mutation that it must catch. `make formal` has them all."""

from __future__ import annotations

import pytest

from tests.formal.prove import check
from tests.formal.table import ROWS


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_holds(row):
    assert check(row).failed == ""


@pytest.mark.parametrize("row", [row for row in ROWS if row.mutations], ids=lambda row: row.name)
def test_can_fail(row):
    assert not check(row, row.mutations[0]).holds
