"""How messages for people are worded."""

from __future__ import annotations


def counted(count: int, noun: str, plural: str | None = None) -> str:
    """`1 block`, `2 blocks`, `1,024 entries`. `plural` where it is not the noun with an s."""
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"


def short(text: str, most: int = 80) -> str:
    """What somebody else wrote, cut to a length that fits into a message."""
    return text if len(text) <= most else f"{text[:most]}… ({len(text):,} characters)"
