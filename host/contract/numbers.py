"""Numbers as scripts and the command line write them (contract section 8)."""

from __future__ import annotations

import re

from .wording import short

TOKEN_BITS = 32
LONGEST = 100
"""Characters of a number. Those that the device takes have 20 at most; Python takes long for many thousands, or refuses them."""


def number(text: str) -> int:
    """Decimal or 0x, nothing else (contract section 8). ValueError where it is not that."""
    if not re.fullmatch(r"[0-9]+|0[xX][0-9a-fA-F]+", text):
        raise ValueError(f"{short(text)!r} is not a number in decimal or 0x, from 0 on")
    if len(text) > LONGEST:
        raise ValueError(f"{short(text)!r} does not fit into 64 bits: 0 to {(1 << 64) - 1:,}")
    return int(text, 16) if text[:2].lower() == "0x" else int(text)


def token_range(text: str) -> tuple[int, int]:
    """START:END. ValueError where it is not that."""
    parts = text.split(":")
    if len(parts) != 2:
        raise ValueError(f"{short(text)!r} is not START:END, such as 0:31 for tokens 0 to 31")
    start, end = (number(part) for part in parts)
    if max(start, end) >> TOKEN_BITS:
        raise ValueError(f"{text!r}: a token position has {TOKEN_BITS} bits, 0 to {(1 << TOKEN_BITS) - 1:,}")
    return start, end
