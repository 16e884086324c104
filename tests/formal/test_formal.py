"""Every property holds on the RTL, and properties can fail. `make formal` breaks the RTL in every way that one must catch."""

from __future__ import annotations

import pytest

from kvfpga.transport.sim.build import rtl_root
from scripts.mutation.mutate import check_places
from tests.formal.prove import check
from tests.formal.table import ROWS

CAUGHT = {"fifo": "(bmc)", "telemetry": "(induction)"}
"""One whose first mutation shows within a few cycles from the start, and one where that takes 2^32 STEPs."""


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_holds(row):
    assert check(row).failed == ""


@pytest.mark.parametrize("row", [row for row in ROWS if row.name in CAUGHT], ids=lambda row: row.name)
def test_can_fail(row):
    assert check(row, row.mutations[0]).failed.endswith(CAUGHT[row.name])


def test_every_mutation_applies_in_exactly_one_place():
    check_places([mutation for row in ROWS for mutation in row.mutations], rtl_root() / "rtl")
