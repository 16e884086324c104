"""Policies by name: what they program, and how large tier 1 is."""

from __future__ import annotations

import pytest

from kvfpga.contract.errors import UsageError
from kvfpga.hepc_ref import ReferenceModel
from kvfpga.lockstep.reference import Reference
from kvfpga.policy import programs


@pytest.mark.parametrize("name", programs.NAMES)
def test_a_device_takes_what_each_wants_and_is_then_of_that_policy(name):
    device = Reference(ReferenceModel(256))
    assert {result.code for result in device.execute_many(programs.settings(name, announced=True))} == {"OK"}
    settings = device.settings()
    assert settings["POLICY"] == programs.is_ranked(name)
    assert settings["WINDOW"] == (1 if programs.is_ranked(name) else 255)


def test_the_size_of_tier_1():
    assert [programs.t1_capacity(None, entries) for entries in (256, 65536)] == [256, 4096]
    assert programs.t1_capacity(0, 256) == 0
    with pytest.raises(UsageError, match="a T1 of 257 blocks on a device of 256 entries"):
        programs.t1_capacity(257, 256)
