"""The code blocks of a page, for tests that try what it says.

A block is run where its page is tested, unless a comment before it says what that would need:

    <!-- not run: needs a network -->
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

_BLOCK = re.compile(r"^(?:<!-- not run: needs ([^\n]+) -->\n)?```(\w+)\n(.*?)^```$", re.M | re.S)


class Block(NamedTuple):
    """`needs`: what this machine lacks, or empty."""

    needs: str
    language: str
    text: str


def blocks(page: Path) -> list[Block]:
    """All blocks that name their language, in order."""
    return [Block(*found.groups("")) for found in _BLOCK.finditer(page.read_text("utf-8"))]


def code(page: Path, language: str) -> list[str]:
    """The blocks of one language that are to be run."""
    return [block.text for block in blocks(page) if block.language == language and not block.needs]


def missing(expected: str, said: str) -> list[str]:
    """The first of the expected lines that does not come in what was said, behind those before it; empty if all do. In an
    expected line, … stands for anything, and more may stand behind its end."""
    lines = iter(said.splitlines())
    for line in expected.splitlines():
        pattern = ".*".join(map(re.escape, line.strip().split("…")))
        if not any(re.match(pattern, there.strip()) for there in lines):
            return [line]
    return []
