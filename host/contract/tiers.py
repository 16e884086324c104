"""The four memory tiers (contract section 1)."""

NAMES = ("T0 HBM", "T1", "T2 DRAM", "T3 NVMe")
"""What people call them, by number."""
