"""The names that a shell offers are those that there are."""

from __future__ import annotations

from kvfpga.lab import generated, names
from kvfpga.lab.policies.contenders import CONTENDERS


def test_every_policy_is_offered():
    assert sorted(names.POLICIES) == sorted(CONTENDERS)


def test_all_generated_traffic_is_offered():
    assert [f"generated-{name}" for name in names.TRAFFIC] == list(generated.NAMES)
