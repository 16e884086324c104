"""Help of a script that has its module's docstring as its manual page.

    argparse.ArgumentParser(description=__doc__, formatter_class=manual.Page)

Paragraphs are filled to the terminal's width. What is indented, such as command lines, stays as it stands; a line that is too
long goes on below what the command does, or further in.
"""

from __future__ import annotations

import argparse
import re
import textwrap

COMMAND = re.compile(r" +\S+(?: \S+)*  +(?=\S)")
"""A command line before the two spaces or more that part it from what it does."""
FURTHER = 4


class Page(argparse.HelpFormatter):
    def _fill_text(self, text: str, width: int, indent: str) -> str:
        paragraphs = text.strip().split("\n\n")
        return "\n\n".join(_kept(part, width) if part.startswith(" ") else textwrap.fill(part, width) for part in paragraphs)


def _kept(paragraph: str, width: int) -> str:
    return "\n".join(line if len(line) <= width else _broken(line, width) for line in paragraph.splitlines())


def _broken(line: str, width: int) -> str:
    command = COMMAND.match(line)
    below = command.end() if command else len(line) - len(line.lstrip()) + FURTHER
    return textwrap.fill(line, width, subsequent_indent=" " * below, break_long_words=False, break_on_hyphens=False)
