"""What lockstep says when hardware and reference model disagree: field by field, device beside expected.

A `Report` is plain data, so that it can be a table on a terminal, text in an exception, and JSON in a failure folder.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TextIO

from ..contract.errors import DifferenceError

if TYPE_CHECKING:
    from rich.table import Table
from ..contract.wording import counted

SHOWN = 12
"""Differences that the text of an exception lists; the report's files have all of them."""
HEX = {"phys_addr", "va", "last_va", "digest", "PASS_DIGEST", "TIER_BASE0", "TIER_BASE1", "TIER_BASE2", "TIER_BASE3"}
"""Fields that are easier to read as hex; so are numbers beyond 32 bits."""


class Difference(NamedTuple):
    """One value that differs. `where`: result, telemetry, settings, digest, entry 17, bytes of block 17 in tier 2."""

    where: str
    field: str
    device: object
    expected: object

    def texts(self) -> tuple[str, str, str, str]:
        return self.where, self.field, _text(self.field, self.device), _text(self.field, self.expected)


class Verified(NamedTuple):
    """What a full read-back looked at."""

    entries: int
    blocks: int
    block_bytes: int


@dataclass
class Report:
    """`command`: the script line after which it was seen. `number`: how many commands this process had run, this one
    included. `notes`: what else is known. `folder`, `reproduce`: set once there is a failure folder."""

    command: str
    number: int
    differences: list[Difference]
    notes: list[str] = field(default_factory=list)
    folder: Path | None = None
    reproduce: str | None = None

    def headline(self) -> str:
        return f"hardware and reference model differ in {counted(len(self.differences), 'place')} after `{self.command}`"

    def text(self, shown: int | None = None) -> str:
        """Aligned columns, the same as the table without its frame."""
        rows = [("where", "field", "device", "expected"), *(d.texts() for d in self.differences[:shown])]
        widths = [max(len(row[i]) for row in rows) for i in range(4)]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]
        if shown is not None and len(self.differences) > shown:
            lines.append(f"… and {len(self.differences) - shown} more")
        return "\n".join([self.headline(), *lines, *self.notes, *self.pointers()])

    def json(self) -> str:
        found = asdict(self) | {"folder": self.folder and str(self.folder)}
        found["differences"] = [d._asdict() for d in self.differences]
        return json.dumps(found, indent=2, default=str) + "\n"

    def make_folder(self, parent: Path) -> Path:
        """A new folder in `parent`, named by time and command, that becomes the report's. OSError where there can be none."""
        import tempfile

        parent.mkdir(parents=True, exist_ok=True)
        name = f"{time.strftime('%Y%m%d-%H%M%S')}-{self.command.split()[0]}-"
        self.folder = Path(tempfile.mkdtemp(prefix=name, dir=parent)).resolve()
        return self.folder

    def write(self) -> None:
        """report.txt and report.json into its folder, if there is one."""
        if self.folder:
            (self.folder / "report.txt").write_text(self.text() + "\n", "utf-8")
            (self.folder / "report.json").write_text(self.json())

    def table(self) -> Table:
        """The same for a terminal (rich)."""
        from rich.table import Table

        table = Table(title=self.headline(), title_justify="left", title_style="bold red")
        for name in ("where", "field", "device", "expected"):
            table.add_column(name, style={"device": "red", "expected": "green"}.get(name))
        for difference in self.differences:
            table.add_row(*difference.texts())
        return table

    def __repr__(self) -> str:
        return f"<Report: {self.headline()}>"

    def _repr_html_(self) -> str:
        from ..contract.showing import html_table

        return html_table(("where", "field", "device", "expected"), (d.texts() for d in self.differences), self.headline())

    def print(self, file: TextIO) -> None:
        """Table, notes and pointers to `file` (a text stream)."""
        from rich.console import Console

        console = Console(file=file, highlight=False, soft_wrap=True)
        console.print(self.table())
        for line in [*self.notes, *self.pointers()]:
            console.print(line, markup=False)

    def error(self) -> DifferenceError:
        """The exception that carries this report as `.report`."""
        error = DifferenceError(self.text(SHOWN), None)
        error.report = self
        return error

    def pointers(self) -> list[str]:
        """Where to read on."""
        lines = []
        if self.folder:
            lines.append(f"everything about it is in {self.folder}")
        if self.reproduce:
            lines.append(f"again, with a waveform: {self.reproduce}")
        return lines


def _text(name: str, value: object) -> str:
    if isinstance(value, int) and not isinstance(value, bool) and (name in HEX or value >= 1 << 32):
        return f"{value:#x}"
    return "none" if value is None else str(value)
