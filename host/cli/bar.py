"""The bar that a terminal shows of long work (progress.py), and below it what is going on.

That has lines of its own, as many as it takes: beside the bar there is room for it in a wide terminal alone, and what is cut off
is a number. It is imported where a bar is shown, since rich takes time.
"""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text


class Bar(Progress):
    """The bar of `what`, gone when it is over."""

    def __init__(self, what: str):
        self._text = ""
        columns = TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
        super().__init__(*columns, console=Console(stderr=True), transient=True)
        self._task = self.add_task("", total=None)

    def move(self, done: int, total: int | None, text: str = "") -> None:
        """Let it show this (`Update` of progress.py)."""
        self._text = text
        self.update(self._task, completed=done, total=total)

    def get_renderables(self) -> Iterable[RenderableType]:
        yield from super().get_renderables()
        if self._text:
            yield Padding(Text(self._text), (0, 0, 0, 2))
