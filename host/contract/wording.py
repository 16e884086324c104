"""How messages for people are worded."""

from __future__ import annotations

from collections.abc import Iterable


def counted(count: int, noun: str, plural: str | None = None) -> str:
    """`1 block`, `2 blocks`, `1,024 entries`. `plural` where it is not the noun with an s."""
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"


def meant(text: str, names: Iterable[str]) -> str:
    """What somebody who wrote `text` may have meant: `; did you mean top or hot?`. Nothing where no name is near."""
    from difflib import get_close_matches

    near = get_close_matches(text, names)
    return f"; did you mean {' or '.join(near)}?" if near else ""


def short(text: str, most: int = 80) -> str:
    """What somebody else wrote, cut to a length that fits into a message."""
    return text if len(text) <= most else f"{text[:most]}… ({len(text):,} characters)"


def beyond(name: str, value: int, most: int, rule: str, what: str = "") -> str:
    """Why a value that may be 0 to `most` was refused: `slot is 64; the buffer has 64 slots, 0 to 63 (R30)`."""
    return f"{name} is {value}; {what}{', ' if what else ''}0 to {most} ({rule})"


def width(bits: int) -> str:
    """What fits into so many bits: `it has 8 bits, 0 to 0xff`."""
    return f"it has {counted(bits, 'bit')}, 0 to {(1 << bits) - 1:#x}"
