"""Help of a script that has its module's docstring as its manual page.

    argparse.ArgumentParser(description=__doc__, formatter_class=manual.Page)

Paragraphs are filled to the terminal's width; what is indented, such as command lines, stays as it stands.
"""

from __future__ import annotations

import argparse
import textwrap


class Page(argparse.HelpFormatter):
    def _fill_text(self, text: str, width: int, indent: str) -> str:
        paragraphs = text.strip().split("\n\n")
        return "\n\n".join(part if part.startswith(" ") else textwrap.fill(part, width) for part in paragraphs)
