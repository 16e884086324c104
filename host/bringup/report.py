"""What a bring-up found: rows with a verdict, as a table and as JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from ..contract.errors import DifferenceError, TargetError
from ..contract.wording import counted

if TYPE_CHECKING:
    from rich.table import Table

PASS, FAIL, SKIPPED = "pass", "fail", "skipped"
COLOURS = {PASS: "green", FAIL: "bold red", SKIPPED: "yellow"}


@dataclass(frozen=True)
class Row:
    """One check. `detail`: what was measured or found, or why it was skipped. `look_at`: where to look when it failed.
    `figures`: the measured numbers by name, units in the name."""

    step: str
    name: str
    verdict: str
    detail: str
    look_at: str = ""
    figures: dict[str, int | float] = field(default_factory=dict)


@dataclass
class Report:
    """`differs`: hardware and reference model differed in the lockstep smoke test."""

    target: str
    rows: list[Row] = field(default_factory=list)
    differs: bool = False

    @property
    def failed(self) -> list[Row]:
        return [row for row in self.rows if row.verdict == FAIL]

    @property
    def ok(self) -> bool:
        return not self.failed

    @property
    def exit_code(self) -> int:
        """Contract section 8: 4 where hardware and reference differ, 3 for whatever else failed."""
        return DifferenceError.exit_code if self.differs else 0 if self.ok else TargetError.exit_code

    def summary(self) -> str:
        """One line."""
        counts = {verdict: sum(row.verdict == verdict for row in self.rows) for verdict in COLOURS}
        skipped = f", {counts[SKIPPED]} skipped" if counts[SKIPPED] else ""
        failed = f"{counts[FAIL]} failed" if counts[FAIL] else "all passed" if not skipped else "none failed"
        return f"bring-up of {self.target}: {counted(len(self.rows), 'check')}, {failed}{skipped}"

    def to_json(self) -> dict[str, Any]:
        return {
            "command": "bringup", "target": self.target, "ok": self.ok, "differs": self.differs,
            "rows": [asdict(row) for row in self.rows],
        }  # fmt: skip

    def table(self) -> Table:
        """The same for a terminal (rich)."""
        from rich.table import Table
        from rich.text import Text

        table = Table(title=self.summary(), title_justify="left", show_lines=not self.ok)
        for name in ("step", "check", "verdict", "found", *(["look at"] if self.failed else [])):
            table.add_column(name, overflow="fold")
        for row in self.rows:
            verdict = Text(row.verdict, COLOURS[row.verdict])
            cells: list[str | Text] = [row.step, row.name, verdict, Text(row.detail), Text(row.look_at)]
            table.add_row(*cells[: len(table.columns)])
        return table
