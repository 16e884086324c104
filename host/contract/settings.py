"""The device's settings: their reset values (contract R6) and which values are refused (R6, R16, D2).

Names are those of `commands.Set`. A setting is judged here, and put in force by whoever holds it.
"""

from __future__ import annotations

from .errors import UsageError

LIMITS = {
    "WEIGHT_R": 0xFF, "WEIGHT_F": 0xFF, "WEIGHT_S": 0xFF, "WEIGHT_D": 0xFF, "WINDOW": 0xFF,
    "EVICT_THRESH": 0xFFFF, "PREFETCH_THRESH": 0xFFFF, "CONTEND_POLICY": 1, "STRICT": 1, "POLICY": 1,
    "FILL_AGE": 0xFF,
}  # fmt: skip
"""Largest value of each setting that has no other rule."""
WHAT = {
    **dict.fromkeys(("WEIGHT_R", "WEIGHT_F", "WEIGHT_S", "WEIGHT_D"), ("a weight has 8 bits", "R6")),
    **dict.fromkeys(("EVICT_THRESH", "PREFETCH_THRESH"), ("a threshold has 16 bits", "R6")),
    "WINDOW": ("a window has 8 bits", "R6"), "CONTEND_POLICY": ("it has one bit", "R3"), "STRICT": ("it has one bit", "R22"),
    "POLICY": ("a policy is linear or ranked", "R40"), "FILL_AGE": ("an age has 8 bits", "R46"),
}  # fmt: skip
"""What each of them is, and the contract's rule."""
LINEAR, RANKED = 0, 1
"""The values of POLICY: what STEP decides by (R14 to R16, or R40 to R48)."""
TIER_BASES = ("TIER_BASE0", "TIER_BASE1", "TIER_BASE2", "TIER_BASE3")


RESET = {
    "WEIGHT_R": 1, "WEIGHT_F": 1, "WEIGHT_S": 2, "WEIGHT_D": 200, "EVICT_THRESH": 0x1000, "PREFETCH_THRESH": 0xE000,
    "WINDOW": 255,
}  # fmt: skip
"""What weights, thresholds and window are after a reset (R6)."""


def reset_values(entries: int, block_bytes: int) -> dict[str, int]:
    """Every setting by name, as after a reset. That of PTABLE_COMMIT is the bank in force (R45)."""
    return {
        **RESET, "T1_CAPACITY": entries, "EVICT_TIER": 2, "CONTEND_POLICY": 0, "STRICT": 1,
        "POLICY": LINEAR, "FILL_AGE": 1, "PTABLE_COMMIT": 0,
        **{name: tier * entries * block_bytes for tier, name in enumerate(TIER_BASES)},
    }  # fmt: skip


def rule_of(name: str, entries: int, block_bytes: int) -> str:
    """What a setting may be and by which rule, as a message says it: `a weight has 8 bits, 0 to 255 (R6)`."""
    if name in LIMITS:
        what, rule = WHAT[name]
        return f"{what}, 0 to {LIMITS[name]} ({rule})"
    if name in TIER_BASES:
        return f"a tier begins at a multiple of the {block_bytes} bytes of a block (R6)"
    return {
        "EVICT_TIER": "evicted blocks go to tier 2 or 3 (R16)",
        "T1_CAPACITY": f"tier 1 has room for 0 to {entries} blocks, the entries of this device (R16)",
        "PTABLE_COMMIT": "only 1 swaps the banks (R45)",
    }[name]


def code_of_set(name: str, value: int, entries: int, block_bytes: int, empty: bool) -> str:
    """The code with which the device answers a SET: the value is judged first, then whether the directory is `empty` (D2)."""
    if name in TIER_BASES:
        allowed = value % block_bytes == 0
    elif name == "EVICT_TIER":
        allowed = value in (2, 3)
    elif name == "T1_CAPACITY":
        allowed = value <= entries
    elif name == "PTABLE_COMMIT":
        allowed = value == 1
    elif name in LIMITS:
        allowed = value <= LIMITS[name]
    else:
        raise UsageError(f"{name} is not a setting", "settings: " + ", ".join(reset_values(entries, block_bytes)))
    if not allowed:
        return "ERR_RANGE"
    return "ERR_NOT_EMPTY" if not empty and (name in TIER_BASES or name == "EVICT_TIER") else "OK"
