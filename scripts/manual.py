"""Help of a script that has its module's docstring as its manual page.

    argparse.ArgumentParser(description=__doc__, formatter_class=manual.Page)

Paragraphs are filled to the terminal's width. What is indented, such as command lines, stays as it stands; where a line is too
long for the terminal, what a command does goes below it.
"""

from __future__ import annotations

import argparse
import re
import textwrap


class Page(argparse.HelpFormatter):
    def _fill_text(self, text: str, width: int, indent: str) -> str:
        paragraphs = text.strip().split("\n\n")
        return "\n\n".join(_commands(part, width) if part.startswith(" ") else textwrap.fill(part, width) for part in paragraphs)


def _commands(text: str, width: int) -> str:
    return "\n".join(line for long in text.splitlines() for line in (_broken(long, width) if len(long) > width else [long]))


def _broken(line: str, width: int) -> list[str]:
    """A command, and below it what it does, which is two spaces away from it."""
    margin = " " * (len(line) - len(line.lstrip()))
    command, *more = re.split(r" {2,}", line.strip(), maxsplit=1)
    return [
        part
        for text, first in [(command, margin), *((said, f"{margin}    ") for said in more)]
        for part in textwrap.wrap(text, width, initial_indent=first, subsequent_indent=f"{margin}    ",
                                  break_long_words=False, break_on_hyphens=False)
    ]  # fmt: skip
