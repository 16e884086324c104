"""The fields of a directory entry as they are shown, in `dump` and from Python (contract sections 3 and 8)."""

from __future__ import annotations

DUMP_TYPES = {
    "request_id": "u2", "layer": "u1", "head": "u1", "token_start": "u4", "token_end": "u4", "tier": "u1", "phys_addr": "u8",
    "va": "u8", "priority": "u2", "access_step": "u4", "ref_count": "u1", "prefix": "?", "dirty": "?", "R": "u1", "F": "u1",
    "pinned": "?", "inflight": "?", "armed": "?",
    "class": "u1", "order": "u1",
}  # fmt: skip
"""The fields of a `dump` entry after "index", in the order of contract section 8, each with its type in numpy's letters."""
DUMP_FIELDS = tuple(DUMP_TYPES)
FLAGS = tuple(name for name, letter in DUMP_TYPES.items() if letter == "?")
"""The fields that are true or false."""
