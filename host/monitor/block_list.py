"""The list of all blocks in `kvfpga top`: sorted by any column, scrolled in both directions.

A directory has up to 65,536 entries and changes at each look, so only the lines on the screen are ever made (textual's line API);
a table of widgets or cells would be built anew each time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from rich.segment import Segment
from rich.style import Style
from textual.events import Click
from textual.geometry import Size
from textual.scroll_view import ScrollView
from textual.strip import Strip

from ..contract.entry import FLAGS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Rows = Mapping[str, NDArray[np.uint64]]


class Column(NamedTuple):
    """`text` writes a row's cell; `fields` are those it is sorted by, the first one first; `left`: it is flush left."""

    name: str
    fields: tuple[str, ...]
    text: Callable[[Rows, int], str]
    left: bool = False


def _number(rows: Rows, field: str, row: int) -> int:
    return int(rows[field][row])


def _plain(name: str, field: str) -> Column:
    return Column(name, (field,), lambda rows, row: f"{_number(rows, field, row)}")


COLUMNS = (
    _plain("block", "index"),
    _plain("priority", "priority"),
    Column("tier", ("tier",), lambda rows, row: f"T{_number(rows, 'tier', row)}"),
    Column("request", ("request_id",), lambda rows, row: f"{_number(rows, 'request_id', row):#06x}"),
    Column("l:h", ("layer", "head"), lambda rows, row: f"{_number(rows, 'layer', row)}:{_number(rows, 'head', row)}"),
    Column("tokens", ("token_start", "token_end"),
           lambda rows, row: f"{_number(rows, 'token_start', row)}:{_number(rows, 'token_end', row)}"),
    _plain("step", "access_step"),
    _plain("class", "class"),
    _plain("order", "order"),
    _plain("users", "ref_count"),
    Column("flags", FLAGS, lambda rows, row: " ".join(flag for flag in FLAGS if rows[flag][row]), left=True),
)  # fmt: skip
FIRST = 1, True
"""The column that is sorted by at the beginning, and whether the largest comes first: the hottest blocks."""


class BlockList(ScrollView, can_focus=True):
    """`show(rows)` gives it other rows; what is sorted by, and where it is scrolled to, stays."""

    DEFAULT_CSS = "BlockList { height: 1fr; }"

    def __init__(self, **options: Any):
        super().__init__(**options)
        self._rows: Rows = {}
        self._order: NDArray[np.intp] = np.empty(0, np.intp)
        self._widths = [len(column.name) + 1 for column in COLUMNS]
        self._column, self._down = FIRST

    @property
    def sorted_by(self) -> tuple[str, bool]:
        """The column's name, and whether the largest comes first."""
        return COLUMNS[self._column].name, self._down

    def show(self, rows: Rows) -> None:
        self._rows = rows
        self._widths = [self._width(column) for column in COLUMNS]
        self._sort()

    def sort(self, column: int, down: bool) -> None:
        """By the column of that number, counted round in a circle."""
        self._column, self._down = column % len(COLUMNS), down
        self._sort()

    def by_next(self, places: int) -> None:
        self.sort(self._column + places, self._down)

    def reverse(self) -> None:
        self.sort(self._column, not self._down)

    def on_click(self, event: Click) -> None:
        """On a column's name: sort by it; again: the other way round."""
        if event.y or not self._rows:
            return
        right = np.cumsum([width + 1 for width in self._widths])
        column = int(np.searchsorted(right, event.x + self.scroll_offset.x, side="right"))
        if column < len(COLUMNS):
            self.sort(column, not self._down if column == self._column else True)

    def render_line(self, y: int) -> Strip:
        cells = self._header() if y == 0 else self._cells(self.scroll_offset.y + y - 1)
        left, right = self.scroll_offset.x, self.scroll_offset.x + self.scrollable_content_region.width
        cells = self._whole(cells, left, right)
        return Strip(cells).adjust_cell_length(max(right, self.virtual_size.width)).crop(left, right)

    @staticmethod
    def _whole(cells: list[Segment], left: int, right: int) -> list[Segment]:
        """The cells of a line, but dots for those that do not lie within these columns as a whole: the beginning of a number is
        another number. Flags may be cut."""
        found, at = [], 0
        for cell in cells[:-1]:
            size = len(cell.text) - 1
            if at + size > right:
                cell = Segment("…".ljust(size + 1), cell.style)
            elif at < left:
                cell = Segment("…".rjust(size) + " ", cell.style)
            found.append(cell)
            at += size + 1
        return [*found, *cells[-1:]]

    def _sort(self) -> None:
        if self._rows:
            keys = [self._rows[field] for field in reversed(COLUMNS[self._column].fields)]  # lexsort has the first one last
            largest = np.iinfo(np.uint64).max
            self._order = np.lexsort([largest - key for key in keys] if self._down else keys)
        self.virtual_size = Size(sum(width + 1 for width in self._widths), len(self._order) + 1)
        self.refresh()

    def _width(self, column: Column) -> int:
        """That of its name, or of the widest of its cells: numbers are widest where they are largest."""
        if column.left:
            return max(len(column.name) + 1, sum(len(flag) + 1 for flag in FLAGS if self._rows and self._rows[flag].any()))
        ends = [f"{int(self._rows[field].max())}" for field in column.fields if len(self._rows.get(field, ()))]
        widest = 6 if column.name == "request" else len(":".join(ends)) + (column.name == "tier")
        return max(len(column.name) + 1, widest)  # one more for the mark of what is sorted by

    def _header(self) -> list[Segment]:
        cells = []
        for place, (column, width) in enumerate(zip(COLUMNS, self._widths)):
            mark = ("▼" if self._down else "▲") if place == self._column else ""
            text = (column.name + mark).ljust(width) if column.left else (column.name + mark).rjust(width)
            cells.append(Segment(text + " ", Style(bold=True, reverse=place == self._column)))
        return cells

    def _cells(self, line: int) -> list[Segment]:
        if line >= len(self._order):
            return []
        row = int(self._order[line])
        texts = [column.text(self._rows, row) for column in COLUMNS]
        adjusted = [t.ljust(w) if c.left else t.rjust(w) for c, t, w in zip(COLUMNS, texts, self._widths)]
        style = Style(dim=int(self._rows["tier"][row]) != 1)
        return [Segment(f"{text} ", style) for text in adjusted]
